"""``perce ledger``: what its four actions print and write, and bad input."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from perce.ledger import ScoreLedger
from perce.ledger.layout import CHECKPOINT_FILE, journal_path
from perce.tokens import PreparedData
from tiny import tiny_data, tiny_records, tiny_tokenizer

Run = Callable[..., tuple[int, str, str]]
Fails = Callable[..., str]

HOSTILE = '[red]u2[/red]\n\x1b[31m\u202e"../x'


def visit(step: int, record: int, data: PreparedData) -> tuple:
    """PIR rises with step and position; the sixth record's first token stands out."""
    n = int(np.diff(data.response_offsets)[record])
    pir = np.linspace(0, 0.2 * step, n, dtype=np.float32)
    if record == 5:
        pir[0] = 1.5 * step
    return step, np.array([record]), pir, np.full(n, -2, np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``prepared`` and ``run``, trained for three steps with a checkpoint after the second."""
    folder = tmp_path_factory.mktemp("ledger-cli")
    users = {"u2": HOSTILE, "u3": "日" * 60}
    records = [replace(r, user_id=users.get(r.user_id, r.user_id)) for r in tiny_records(8)]
    records[5] = replace(records[5], response="né Tee")
    data = tiny_data(folder / "prepared", records)
    (folder / "run" / "checkpoint-2").mkdir(parents=True)
    with ScoreLedger.create(folder / "run" / "ledger", data) as ledger:
        for step in (1, 2, 3):
            for record in range(7):
                ledger.update(*visit(step, record, data))
            if step == 2:
                ledger.write_snapshot(folder / "run" / "checkpoint-2" / CHECKPOINT_FILE, 2)
    tiny_tokenizer().save_pretrained(folder / "run")
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be broken; its data stays where it is."""
    return shutil.copytree(trained / "run", tmp_path / "run")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│ \n").split("│")]


def test_show(trained: Path, run: Run) -> None:
    run_folder, data = trained / "run", PreparedData.open(trained / "prepared")
    code, out, err = run("ledger", "show", run_folder, "--top", 3)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == (
        f"{run_folder / 'ledger'}: 7 of 8 records visited, 21 visits up to step 3, decay 0.5"
    )
    assert lines[1] == f"data: {data.path}"
    rows = [cells(line) for line in lines if line.startswith("│")]
    u1 = data.user_ids.index("u1")
    assert u1 == 1
    tokens = int(np.diff(data.response_offsets)[[1, 5]].sum())
    pir = ScoreLedger.open(run_folder).pir()
    mine = np.concatenate([pir[slice(*data.response_offsets[i : i + 2])] for i in (1, 5)])
    assert rows[0] == [
        *("u1", "2", str(tokens), f"1 ({1 / tokens:.1%})", f"1 ({1 / tokens:.1%})"),
        *(f"{mine.mean():+.3f}", "1"),
    ]
    assert "and 1 more, less personal (--top lists more)" in lines
    assert [row[0] for row in rows if row[0].startswith("all")] == ["all 4"]
    top = rows[-1]
    assert top[:3] == ["u1", "r5", "[n]é Tee<|end"]
    # 1.5, then 0.5 * 1.5 + 0.5 * 3, then half of that and half of 4.5.
    assert top[3:] == ["0", "+3.38", "1", "3"]
    assert out.count("r5") == 1


def test_show_a_user_in_a_checkpoint_at_a_threshold(trained: Path, run: Run) -> None:
    code, out, _ = run(
        *("ledger", "show", trained / "run" / "checkpoint-2", "--user", "u1"),
        *("--threshold", "2", "--data", trained / "prepared"),
    )
    assert code == 0
    assert "up to step 2" in out
    rows = [cells(line) for line in out.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == ["u1", "u1"]
    assert rows[0][-1] == "2"
    assert rows[1][3:] == ["0", "+2.25", "2", "2"]
    code, out, _ = run("ledger", "show", trained / "run", "--threshold", "50")
    assert "No token is personal now: no moving average of PIR is above 50." in out


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_hostile_names_break_no_line(
    trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, out, _ = run("ledger", "show", trained / "run", "--threshold", "0.1")
    assert code == 0
    assert "\x1b" not in out
    assert "\u202e" not in out
    if columns == "200":
        assert "[red]u2[/red]⏎⟨U+001B⟩" in out
        assert out.count("日日日") > 1
    code, out, _ = run("ledger", "show", trained / "run", "--user", HOSTILE)
    assert code == 0


def test_without_a_tokenizer_ids_are_shown(copy: Path, trained: Path, run: Run) -> None:
    (copy / "tokenizer.json").unlink()
    code, out, _ = run("ledger", "show", copy, "--top", 1)
    data = PreparedData.open(trained / "prepared")
    assert code == 0
    assert f"id {data.record(5).response_ids[0]}" in out
    assert "No tokenizer is saved with this run: --model gives the tokens' texts." in out
    code, again, _ = run("ledger", "show", copy, "--top", 1, "--model", trained / "run")
    assert code == 0
    assert "[n]é Tee" in again


def test_quantiles(trained: Path, run: Run) -> None:
    data = PreparedData.open(trained / "prepared")
    tokens = int(data.response_offsets[7])
    code, out, _ = run("ledger", "quantiles", trained / "run")
    assert code == 0
    rows = [cells(line) for line in out.splitlines() if line.startswith("│")]
    assert [row[:3] for row in rows] == [
        [str(visit), f"{visit}-{visit}", str(tokens)] for visit in (1, 2, 3)
    ]
    one = np.concatenate([visit(3, record, data)[2] for record in range(7)])
    assert rows[2][3] == f"{np.mean(one > 0.5):.1%}"
    shown = np.array([float(cell) for cell in rows[2][4:]])
    exact = np.quantile(one, [0.05, 0.25, 0.5, 0.75, 0.95, 0.99], method="inverted_cdf")
    np.testing.assert_allclose(shown, exact, rtol=0.005, atol=0.0051)
    code, out, _ = run("ledger", "quantiles", trained / "run", "--every", 2)
    rows = [cells(line) for line in out.splitlines() if line.startswith("│")]
    assert [row[:2] for row in rows] == [["1-2", str(2 * tokens)], ["3-3", str(tokens)]]


def test_export(trained: Path, tmp_path: Path, run: Run) -> None:
    out_file = tmp_path / "in" / "ledger.parquet"
    code, out, _ = run("ledger", "export", trained / "run", "--out", out_file)
    table = pq.read_table(out_file)
    assert code == 0
    assert out == f"ledger: {out_file} ({table.num_rows:,} tokens of 8 records)\n"
    data = PreparedData.open(trained / "prepared")
    first = table.filter(table["record"].to_numpy() == 0)
    assert "".join(first["piece"].to_pylist()).startswith(data.record(0).record.response)
    assert table["personal_since"].drop_null().to_pylist() == [1]


def test_verify(trained: Path, copy: Path, run: Run) -> None:
    data = PreparedData.open(trained / "prepared")
    tokens = 3 * int(data.response_offsets[7])
    code, out, _ = run("ledger", "verify", copy)
    assert code == 0
    assert out.splitlines() == [
        f"ok  journal-0.log: 21 visits in steps 1 to 3, {tokens} tokens, every checksum right",
        "ok  checkpoint-2/ledger.bin: equal to the journals' replay to step 2, bit for bit",
    ]
    journal = journal_path(copy / "ledger", 0)
    content = bytearray(journal.read_bytes())
    content[50] ^= 16
    journal.write_bytes(content)
    code, out, _ = run("ledger", "verify", copy)
    assert code == 1
    lines = out.splitlines()
    assert lines[0].startswith(f"DAMAGED  {journal} is damaged at byte ")
    assert lines[1:] == [
        "ok  checkpoint-2/ledger.bin: whole; not compared, as the journals are damaged"
    ]


def test_a_torn_tail_is_said(copy: Path, run: Run) -> None:
    journal = journal_path(copy / "ledger", 0)
    os.truncate(journal, journal.stat().st_size - 3)
    code, out, _ = run("ledger", "show", copy, "--top", 1)
    assert code == 0
    assert "note: journal-0.log ends in " in out
    assert "20 visits" in out
    code, out, _ = run("ledger", "verify", copy)
    assert code == 0
    assert "bytes of a torn tail, which resuming cuts off" in out


def test_bad_input_is_one_line(trained: Path, tmp_path: Path, fails: Fails) -> None:
    run_folder = trained / "run"
    assert "no such folder" in fails("ledger", "show", tmp_path / "absent")
    assert "holds no ledger: give the folder of a run" in fails("ledger", "verify", tmp_path)
    assert "--top: 0 is below 1" in fails("ledger", "show", run_folder, "--top", 0)
    assert "--user: 'nobody' has no record" in fails(
        "ledger", "show", run_folder, "--user", "nobody"
    )
    assert "every: 0 is below 1" in fails("ledger", "quantiles", run_folder, "--every", 0)
    assert ".parquet or .arrow" in fails(
        "ledger", "export", run_folder, "--out", tmp_path / "x.csv"
    )
    assert "no prepared data" in fails("ledger", "show", run_folder, "--data", tmp_path)
    other = tiny_data(tmp_path / "other", tiny_records(seed=9)).path
    assert "other data than this ledger's" in fails("ledger", "show", run_folder, "--data", other)


def test_data_that_is_gone(tmp_path: Path, fails: Fails, run: Run) -> None:
    data = tiny_data(tmp_path / "prepared")
    ScoreLedger.create(tmp_path / "run" / "ledger", data).close()
    shutil.move(tmp_path / "prepared", tmp_path / "moved")
    for action in ("show", "quantiles"):
        assert "the data of this ledger is gone" in fails("ledger", action, tmp_path / "run")
    code, out, err = run("ledger", "verify", tmp_path / "run")
    assert code == 2
    assert out.startswith("ok  journal-0.log: no visits")
    assert "say where it is now (--data)" in err
    code, _, _ = run("ledger", "verify", tmp_path / "run", "--data", tmp_path / "moved")
    assert code == 0


def test_no_torch_is_loaded(trained: Path) -> None:
    code = (
        "import sys\n"
        "from perce.cli import main\n"
        f"main(['ledger', 'show', {str(trained / 'run')!r}])\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "token in its response" in done.stdout


def test_an_action_is_needed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("ledger")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == (
        "perce ledger: the following arguments are required: ACTION; see perce ledger --help\n"
    )
