"""The table of tokens, in both formats, and the counts by user."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ledger_runs import DictLedger, batch
from perce.data.pieces import TokenizerFile, pieces
from perce.errors import LedgerError, ModelError, OptionError
from perce.ledger import ScoreLedger, export
from perce.ledger.summary import summarise
from perce.tokens import PreparedData
from tiny import tiny_tokenizer

VISITED = [0, 1, 2, 3, 5, 8]
THRESHOLD = 0.25


@pytest.fixture(scope="module")
def oracle(data: PreparedData) -> DictLedger:
    """Half of the records, some of them twice."""
    found = DictLedger(data, 0.5)
    for step, records in ((1, VISITED), (2, VISITED[:3]), (7, VISITED[1:4])):
        found.update(step, records, (THRESHOLD,))
    return found


@pytest.fixture(scope="module")
def ledger(
    oracle: DictLedger, data: PreparedData, tmp_path_factory: pytest.TempPathFactory
) -> ScoreLedger:
    folder = tmp_path_factory.mktemp("exported")
    with ScoreLedger.create(folder / "ledger", data) as writing:
        for step, records in ((1, VISITED), (2, VISITED[:3]), (7, VISITED[1:4])):
            writing.update(*batch(step, records, data))
    return ScoreLedger.open(folder)


def expected_rows(oracle: DictLedger, *, texts: bool) -> list[dict]:
    data, tokenizer = oracle.data, tiny_tokenizer()
    rows = []
    for record in range(len(data)):
        start, end = data.response_offsets[record : record + 2].tolist()
        ids = data.response_ids[start:end].tolist()
        words = pieces(tokenizer, ids) if texts else [None] * len(ids)
        for position, token in enumerate(range(start, end)):
            since = oracle.since.get((token, THRESHOLD))
            rows.append(
                {
                    "record": record,
                    "id": data.record_ids[record],
                    "user": data.user_ids[record],
                    "position": position,
                    "token_id": ids[position],
                    "piece": words[position],
                    "pir": None if token not in oracle.pir else float(oracle.pir[token]),
                    "logp_without": None if token not in oracle.pir else float(oracle.logp[token]),
                    "visits": oracle.visits.get(record, 0),
                    "last_step": oracle.last_step.get(record),
                    "personal_since": since,
                }
            )
    return rows


@pytest.mark.parametrize("block_tokens", [1, 20, 1 << 20])
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("texts", [True, False])
def test_every_token_with_all_its_figures(
    ledger: ScoreLedger,
    oracle: DictLedger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    block_tokens: int,
    suffix: str,
    texts: bool,
) -> None:
    monkeypatch.setattr(export, "BLOCK_TOKENS", block_tokens)
    out = tmp_path / f"ledger{suffix}"
    tokenizer = tiny_tokenizer()
    rows = ledger.export(
        out,
        threshold=THRESHOLD,
        pieces=(lambda ids: pieces(tokenizer, ids)) if texts else None,
    )
    if suffix == ".parquet":
        table = pq.read_table(out)
    else:
        with pa.ipc.open_file(out) as reader:
            table = reader.read_all()
    assert table.schema == export.SCHEMA
    assert table.to_pylist() == expected_rows(oracle, texts=texts)
    assert rows == table.num_rows
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_places_that_cannot_be(ledger: ScoreLedger, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"name a file \.parquet or \.arrow"):
        ledger.export(tmp_path / "ledger.csv")
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "in"):
        with pytest.raises(LedgerError, match=r"cannot be written: (Not a dir|File exists)"):
            ledger.export(folder / "ledger.parquet")
    (tmp_path / "ledger.arrow").mkdir()
    with pytest.raises(LedgerError, match="cannot be written: Is a directory"):
        ledger.export(tmp_path / "ledger.arrow")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "ledger.arrow"]


def test_a_disk_that_fills_up(
    ledger: ScoreLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "ledger.parquet"
    out.write_text("what was there")
    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    with pytest.raises(LedgerError, match="No space left on device; make room"):
        ledger.export(out)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert out.read_text() == "what was there"


def test_counts_by_user(ledger: ScoreLedger, oracle: DictLedger, data: PreparedData) -> None:
    rows = expected_rows(oracle, texts=False)
    summary = summarise(ledger, threshold=THRESHOLD)
    counts = {}
    for user in set(data.user_ids):
        mine = [row for row in rows if row["user"] == user]
        seen = [row for row in mine if row["visits"]]
        steps = [row["personal_since"] for row in mine if row["personal_since"] is not None]
        counts[user] = (
            data.user_ids.count(user),
            len({row["record"] for row in seen}),
            len(seen),
            sum(row["pir"] > THRESHOLD for row in seen),
            len(steps),
            min(steps, default=None),
        )
        (ours,) = (c for c in summary.users if c.user == user)
        assert (
            (ours.records, ours.visited, ours.tokens, ours.personal, ours.ever, ours.first_step)
        ) == counts[user]
        np.testing.assert_allclose(ours.mean_pir, np.mean([row["pir"] for row in seen]), rtol=1e-6)
        (alone,) = summarise(ledger, threshold=THRESHOLD, user=user).users
        assert alone == ours
    shares = [c.personal / c.tokens for c in summary.users]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) > 1
    total = summary.total
    assert (total.user, total.records, total.visited) == ("all", len(data), len(VISITED))
    assert [total.tokens, total.personal, total.ever] == [
        sum(counts[user][i] for user in counts) for i in (2, 3, 4)
    ]


@pytest.mark.parametrize("user", [None, "u1"])
@pytest.mark.parametrize("top", [1, 5, 1000])
def test_the_most_personal_tokens(
    ledger: ScoreLedger, oracle: DictLedger, user: str | None, top: int
) -> None:
    personal = [
        row
        for row in expected_rows(oracle, texts=False)
        if row["visits"] and row["pir"] > THRESHOLD and user in (None, row["user"])
    ]
    personal.sort(key=lambda row: -row["pir"])
    ours = summarise(ledger, threshold=THRESHOLD, user=user, top=top).tokens
    assert [
        (t.user, t.record, t.record_id, t.position, t.token_id, t.pir, t.since, t.visits)
        for t in ours
    ] == [
        (
            *(row[name] for name in ("user", "record", "id", "position", "token_id", "pir")),
            row["personal_since"],
            row["visits"],
        )
        for row in personal[:top]
    ]
    assert len(personal) > 5


def test_a_user_who_is_not_there(ledger: ScoreLedger) -> None:
    with pytest.raises(OptionError, match="'nobody' has no record in"):
        summarise(ledger, user="nobody")


def test_a_ledger_without_a_visit(data: PreparedData, tmp_path: Path) -> None:
    ScoreLedger.create(tmp_path / "ledger", data).close()
    opened = ScoreLedger.open(tmp_path)
    summary = summarise(opened)
    assert (summary.total.tokens, summary.tokens) == (0, [])
    assert np.isnan(summary.total.mean_pir)
    assert opened.quantiles() == []
    assert opened.quantiles(every=10) == []
    opened.export(tmp_path / "empty.parquet")
    assert pq.read_table(tmp_path / "empty.parquet")["pir"].null_count == int(
        data.response_offsets[-1]
    )


def test_a_saved_tokenizer_gives_the_texts_of_transformers(
    tmp_path: Path, data: PreparedData
) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    saved = TokenizerFile(tmp_path)
    data.check_tokenizer(saved)
    for start, end in zip(data.response_offsets, data.response_offsets[1:], strict=False):
        ids = data.response_ids[start:end].tolist()
        assert pieces(saved, ids) == pieces(tokenizer, ids)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"cannot load tokenizer\.json"):
        TokenizerFile(tmp_path)
