"""The ledger's state: against a dictionary, over ranks, over crashes, and in what it refuses."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_runs import DictLedger, Ranks, Step, batch, steps
from perce.errors import LedgerError, StoreError
from perce.ledger import ScoreLedger, exchange
from perce.ledger.layout import CHECKPOINT_FILE, LedgerInfo, journal_path
from perce.tokens import PreparedData
from tiny import tiny_data, tiny_records

RECORDS = 12
decays = st.sampled_from([0.0, 0.25, 0.5, 0.9])
everything = [list(range(RECORDS))]


@contextmanager
def run_folder(factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for one example: Hypothesis runs many in one test."""
    with TemporaryDirectory(dir=factory.getbasetemp()) as folder:
        yield Path(folder) / "run"


def plain(n: int = 4) -> list[Step]:
    """One epoch a step."""
    return [Step(number, [everything], exchange=True) for number in range(1, n + 1)]


@given(st.data(), decays)
def test_one_rank_is_the_dictionary(
    data: PreparedData, tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject, decay: float
) -> None:
    plan = draw.draw(steps(RECORDS, 1))
    oracle = DictLedger(data, decay).run(plan)
    with run_folder(tmp_path_factory) as run:
        ranks = Ranks.create(run / "ledger", data, 1, decay).run(plan)
        oracle.check(ranks.ledgers[0])
        ranks.close()
        oracle.check(ScoreLedger.open(run, data))


@given(st.data(), decays, st.integers(2, 3), st.sampled_from([1, 200, 1 << 24]))
def test_any_number_of_ranks_is_one_rank(
    data: PreparedData,
    tmp_path_factory: pytest.TempPathFactory,
    draw: st.DataObject,
    decay: float,
    world_size: int,
    block_bytes: int,
) -> None:
    plan = draw.draw(steps(RECORDS, world_size))
    oracle = DictLedger(data, decay).run(plan)
    with run_folder(tmp_path_factory) as run, pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "BLOCK_BYTES", block_bytes)
        ranks = Ranks.create(run / "ledger", data, world_size, decay).run(plan)
        for ledger in ranks.ledgers:
            oracle.check(ledger)
        ranks.close()
        oracle.check(ScoreLedger.open(run, data))


@given(st.data(), st.integers(1, 3), st.integers(1, 3))
def test_killed_anywhere_and_resumed_is_never_killed(
    data: PreparedData,
    tmp_path_factory: pytest.TempPathFactory,
    draw: st.DataObject,
    before: int,
    after: int,
) -> None:
    plan = draw.draw(steps(RECORDS, before, epochs=2))
    checkpoint = draw.draw(st.sampled_from([s for s in plan if s.exchange])).number
    rest = draw.draw(steps(RECORDS, after, epochs=2))
    rest = [Step(checkpoint + i, s.ranks, s.exchange) for i, s in enumerate(rest, start=1)]
    with run_folder(tmp_path_factory) as run:
        snapshot = run / f"checkpoint-{checkpoint}" / CHECKPOINT_FILE
        ranks = Ranks.create(run / "ledger", data, before, 0.5)
        journals = [journal_path(run / "ledger", rank) for rank in range(before)]
        sizes: list[int] = []

        def save(step: Step) -> None:
            if step.number == checkpoint:
                snapshot.parent.mkdir()
                ranks.ledgers[0].write_snapshot(snapshot, checkpoint)
                sizes.extend(path.stat().st_size for path in journals)

        ranks.run(plan, save)
        # What came after the checkpoint reached the disk to any extent, or not at all.
        for path, size in zip(journals, sizes, strict=True):
            os.truncate(path, draw.draw(st.integers(size, path.stat().st_size)))

        oracle = DictLedger(data, 0.5).run(s for s in plan if s.number <= checkpoint)
        oracle.check(ScoreLedger.open(run / f"checkpoint-{checkpoint}", data))
        resumed = Ranks.resume(run / "ledger", data, after, snapshot)
        for ledger in resumed.ledgers:
            oracle.check(ledger)
        resumed.run(rest)
        oracle.run(rest)
        for ledger in resumed.ledgers:
            oracle.check(ledger)
        resumed.close()
        opened = ScoreLedger.open(run, data)
        oracle.check(opened)
        assert (opened.info.first_step, opened.info.resumed_at) == (0, checkpoint)
        seen = [
            pair
            for block in opened.history()
            for pair in zip(block.steps.tolist(), block.records.tolist(), strict=True)
        ]
        assert sorted(seen) == sorted(oracle.history)


def test_a_killed_run_can_be_read_and_says_what_was_torn(
    data: PreparedData, tmp_path: Path
) -> None:
    ledger = ScoreLedger.create(tmp_path / "ledger", data)
    ledger.update(*batch(1, [3, 4], data))
    journal = journal_path(tmp_path / "ledger", 0)
    whole = journal.stat().st_size
    ledger.update(*batch(2, [5], data))
    ledger.close()
    assert ScoreLedger.open(tmp_path, data).notes == []
    os.truncate(journal, whole + 7)
    oracle = DictLedger(data, 0.5)
    oracle.update(1, [3, 4])
    opened = ScoreLedger.open(tmp_path, data)
    oracle.check(opened)
    (note,) = opened.notes
    assert note == (
        "journal-0.log ends in 7 bytes of a frame that was never finished; they are left out, and "
        "gone once the run is resumed"
    )


def checkpoint_of(folder: Path, data: PreparedData, *, n: int = 4) -> Path:
    """A run of ``n`` steps with a checkpoint after the second; its snapshot."""
    (folder / "checkpoint-2").mkdir(parents=True)
    snapshot = folder / "checkpoint-2" / CHECKPOINT_FILE
    with ScoreLedger.create(folder / "ledger", data) as ledger:
        for step in range(1, n + 1):
            ledger.update(*batch(step, everything[0], data))
            if step == 2:
                ledger.write_snapshot(snapshot, 2)
    return snapshot


def test_a_checkpoint_in_a_new_place_begins_a_history(
    data: PreparedData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = checkpoint_of(tmp_path / "old", data)
    oracle = DictLedger(data, 0.5).run(plain(2))
    ledger = ScoreLedger.resume(tmp_path / "new" / "ledger", data, snapshot=snapshot)
    assert "the history of scores begins at step 2 here" in caplog.text
    oracle.check(ledger)
    ledger.update(*batch(3, [7, 8], data))
    oracle.update(3, [7, 8])
    ledger.close()
    opened = ScoreLedger.open(tmp_path / "new", data)
    oracle.check(opened)
    assert [len(block) for block in opened.history()] == [2]
    # And resumed once more, the history that there is goes on.
    later = tmp_path / "new" / "checkpoint-3" / CHECKPOINT_FILE
    later.parent.mkdir()
    shutil.copy(snapshot, later)  # to be overwritten: a file in the way is no obstacle
    again = ScoreLedger.resume(tmp_path / "new" / "ledger", data, snapshot=snapshot)
    again.update(*batch(3, [7, 8], data))
    again.write_snapshot(later, 3)
    again.close()
    caplog.clear()
    ScoreLedger.resume(tmp_path / "new" / "ledger", data, snapshot=later).close()
    assert caplog.text == ""
    assert LedgerInfo.read(tmp_path / "new" / "ledger").first_step == 2
    oracle.check(ScoreLedger.open(tmp_path / "new", data))


def test_journals_of_another_run_do_not_become_this_ones(
    data: PreparedData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = checkpoint_of(tmp_path, data)
    with ScoreLedger.create(tmp_path / "ledger", data) as other:
        other.update(*batch(1, [0], data))
        other.update(*batch(5, [1], data))
    ScoreLedger.resume(tmp_path / "ledger", data, snapshot=snapshot).close()
    assert "its journals do not lead to this checkpoint" in caplog.text
    opened = ScoreLedger.open(tmp_path, data)
    DictLedger(data, 0.5).run(plain(2)).check(opened)
    assert list(opened.history()) == []


def test_a_damaged_journal_is_set_aside(
    data: PreparedData, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = checkpoint_of(tmp_path, data)
    journal = journal_path(tmp_path / "ledger", 0)
    flipped = bytearray(journal.read_bytes())
    flipped[60] ^= 1
    journal.write_bytes(flipped)
    ScoreLedger.resume(tmp_path / "ledger", data, snapshot=snapshot).close()
    assert "it is kept as journal-0.log.set-aside" in caplog.text
    assert (tmp_path / "ledger" / "journal-0.log.set-aside").read_bytes() == flipped
    DictLedger(data, 0.5).run(plain(2)).check(ScoreLedger.open(tmp_path, data))


def test_a_fresh_run_replaces_an_older_ledger(data: PreparedData, tmp_path: Path) -> None:
    Ranks.create(tmp_path / "ledger", data, 3, 0.5).run(
        [Step(1, [[[0]], [[1]], [[2]]], exchange=True)]
    ).close()
    snapshot = checkpoint_of(tmp_path / "other", data)
    ScoreLedger.resume(tmp_path / "ledger", data, snapshot=snapshot).close()
    ScoreLedger.create(tmp_path / "ledger", data, decay=0.25).close()
    assert sorted(path.name for path in (tmp_path / "ledger").iterdir()) == [
        "journal-0.log",
        "ledger.json",
    ]
    DictLedger(data, 0.25).check(ScoreLedger.open(tmp_path, data))


def test_covers_and_stored_log_probs(data: PreparedData, tmp_path: Path) -> None:
    with ScoreLedger.create(tmp_path, data) as ledger:
        both = np.array([2, 9])
        assert ledger.covers(np.empty(0, np.int64))
        assert not ledger.covers(both)
        ledger.update(*batch(1, [9], data))
        assert ledger.covers(both[1:])
        assert not ledger.covers(both)
        ledger.update(*batch(1, [2], data))
        assert ledger.covers(both)
        start, end = data.response_offsets[9:11]
        index = np.arange(start, end)[::-1].copy()
        np.testing.assert_array_equal(ledger.logp_without(index), batch(1, [9], data)[3][::-1])


def test_what_cannot_be_taken_in_changes_nothing(data: PreparedData, tmp_path: Path) -> None:
    with ScoreLedger.create(tmp_path, data) as ledger:
        ledger.update(*batch(2, [1], data))
        step, records, pir, logp = batch(3, [4, 5], data)
        broken, endless = pir.copy(), logp.copy()
        broken[1], endless[1] = np.nan, np.inf
        for message, arguments in {
            "record 4: pir at position 1 of the response": (step, records, broken, logp),
            "record 4: logp_without at position 1": (
                step,
                records,
                pir,
                np.where(broken == pir, logp, np.inf),
            ),
            "pir has length": (step, records, pir[1:], logp),
            "step 1 lies before step 2": (1, records, pir, logp),
            "records 4 to 12 are not all among the ledger's 12": (
                step,
                np.array([4, 12]),
                pir,
                logp,
            ),
            "records -1 to 4 are not all among": (step, np.array([-1, 4]), pir, logp),
        }.items():
            with pytest.raises(LedgerError, match=message):
                ledger.update(*arguments)
        with pytest.raises(LedgerError, match="not all among"):
            ledger.covers(np.array([12]))
    oracle = DictLedger(data, 0.5)
    oracle.update(2, [1])
    oracle.check(ledger)
    oracle.check(ScoreLedger.open(tmp_path, data))


def test_a_ledger_opened_to_read_takes_nothing_in(data: PreparedData, tmp_path: Path) -> None:
    snapshot = checkpoint_of(tmp_path, data)
    for opened in (ScoreLedger.open(tmp_path, data), ScoreLedger.open(snapshot.parent, data)):
        for call in (
            lambda o=opened: o.update(*batch(9, [1], data)),
            lambda o=opened: o.exchange(lambda block: [block]),
            lambda o=opened: o.write_snapshot(tmp_path / "s", 9),
            opened.sync,
        ):
            with pytest.raises(LedgerError, match="open for reading only"):
                call()
    assert not (tmp_path / "s").exists()


def test_a_snapshot_of_other_data_or_a_torn_one_is_refused(
    data: PreparedData, tmp_path: Path
) -> None:
    snapshot = checkpoint_of(tmp_path, data)
    other = tiny_data(tmp_path / "other", tiny_records(seed=5))
    with pytest.raises(LedgerError, match="is of other data"):
        ScoreLedger.resume(tmp_path / "ledger", other, snapshot=snapshot)
    os.truncate(snapshot, snapshot.stat().st_size - 1)
    for call in (
        lambda: ScoreLedger.resume(tmp_path / "ledger", data, snapshot=snapshot),
        lambda: ScoreLedger.open(snapshot.parent, data),
    ):
        with pytest.raises(LedgerError, match="torn or damaged") as error:
            call()
        assert error.value.path == str(snapshot)
    # The refusal came before anything was cut.
    assert len(next(iter(ScoreLedger.open(tmp_path, data).history()))) == 4 * RECORDS


def test_places_and_data(data: PreparedData, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(tmp_path / "run", data).parent
    whole, part = DictLedger(data, 0.5).run(plain(4)), DictLedger(data, 0.5).run(plain(2))
    for place, oracle in {
        tmp_path / "run": whole,
        tmp_path / "run" / "ledger": whole,
        checkpoint: part,
    }.items():
        for where in (None, data, data.path, data.path.parent):
            opened = ScoreLedger.open(place, where)
            oracle.check(opened)
            assert opened.data.path.resolve() == data.path.resolve()
        assert sum(map(len, opened.history())) == len(oracle.history)
    shutil.copytree(checkpoint, tmp_path / "elsewhere" / "checkpoint-2")
    with pytest.raises(LedgerError, match=r"lies outside its run's folder.*--data"):
        ScoreLedger.open(tmp_path / "elsewhere" / "checkpoint-2")
    alone = ScoreLedger.open(tmp_path / "elsewhere" / "checkpoint-2", data)
    part.check(alone)
    assert list(alone.history()) == []
    tiny_data(tmp_path / "prepared", tiny_records(seed=7), split="train")
    with pytest.raises(LedgerError, match="holds other data than this ledger's"):
        ScoreLedger.open(tmp_path / "run", tmp_path / "prepared")
    with pytest.raises(StoreError, match="no prepared data"):
        ScoreLedger.open(tmp_path / "run", tmp_path)
    with pytest.raises(LedgerError, match="no such folder"):
        ScoreLedger.open(tmp_path / "absent")
    with pytest.raises(LedgerError, match="holds no ledger"):
        ScoreLedger.open(tmp_path)


def test_data_that_is_gone(tmp_path: Path) -> None:
    data = tiny_data(tmp_path / "prepared")
    checkpoint_of(tmp_path / "run", data)
    (tmp_path / "prepared").rename(tmp_path / "moved")
    with pytest.raises(LedgerError, match=r"the data of this ledger is gone: .*\(--data\)"):
        ScoreLedger.open(tmp_path / "run")
    ScoreLedger.open(tmp_path / "run", tmp_path / "moved")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: info | {"format_version": 2}, "has format version 2, this perce reads 1"),
        (lambda info: {k: v for k, v in info.items() if k != "decay"}, "too much of decay"),
        (lambda info: [info], "is corrupt"),
        (lambda info: info | {"data_path": None}, "is corrupt: data_path is None"),
        (lambda info: info | {"decay": "half"}, "is corrupt: decay is 'half'"),
        (lambda info: info | {"first_step": 1.5}, r"is corrupt: first_step is 1\.5"),
    ],
)
def test_a_broken_info_file(
    data: PreparedData, tmp_path: Path, change: object, message: str
) -> None:
    ScoreLedger.create(tmp_path, data).close()
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(LedgerError, match=message):
        ScoreLedger.open(tmp_path)
    path.write_text("{")
    with pytest.raises(LedgerError, match="is corrupt"):
        ScoreLedger.open(tmp_path)


def test_a_place_that_cannot_be_written(data: PreparedData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be written: Not a directory"):
        ScoreLedger.create(tmp_path / "file" / "ledger", data)


def test_a_decay_that_cannot_be(data: PreparedData, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="decay 1 is out of range"):
        ScoreLedger.create(tmp_path / "ledger", data, decay=1.0)
    assert not (tmp_path / "ledger").exists()
