"""Damage of every kind is found, and what is no damage is not called so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_runs import Ranks, Step, batch
from perce._core import JournalWriter
from perce.errors import LedgerError
from perce.ledger import History, ScoreLedger
from perce.ledger.layout import CHECKPOINT_FILE, journal_path
from perce.ledger.verify import Finding, verify
from perce.tokens import PreparedData

RECORDS = 12


def train(folder: Path, data: PreparedData, *, world_size: int = 1, last: int = 5) -> Path:
    """A run with checkpoints after steps 2, 4 and the last one."""
    ranks = Ranks.create(folder / "ledger", data, world_size, 0.5)

    def save(step: Step) -> None:
        if step.number in (2, 4, last):
            place = folder / f"checkpoint-{step.number}"
            place.mkdir()
            ranks.ledgers[0].write_snapshot(place / CHECKPOINT_FILE, step.number)

    order = list(range(RECORDS))
    steps = [
        Step(number, [[order[rank::world_size]] for rank in range(world_size)], exchange=True)
        for number in range(1, last + 1)
    ]
    ranks.run(steps, save).close()
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: PreparedData) -> Path:
    return train(tmp_path_factory.mktemp("trained") / "run", data, world_size=2)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return shutil.copytree(trained, tmp_path / "run")


def texts(findings: list[Finding]) -> list[str]:
    return [("DAMAGE " if finding.damage else "") + finding.text for finding in findings]


@pytest.mark.parametrize("block_tokens", [1, 1 << 20])
def test_a_whole_ledger(
    run: Path, data: PreparedData, monkeypatch: pytest.MonkeyPatch, block_tokens: int
) -> None:
    # Blocks may end within a step, and at a checkpoint's.
    monkeypatch.setitem(History.__init__.__kwdefaults__, "block_tokens", block_tokens)
    tokens = [5 * int(np.diff(data.response_offsets)[rank::2].sum()) for rank in range(2)]
    journals = [
        f"journal-{rank}.log: 30 visits in steps 1 to 5, {tokens[rank]:,} tokens, every checksum "
        "right"
        for rank in range(2)
    ]
    checkpoints = [
        f"checkpoint-{n}/ledger.bin: equal to the journals' replay to step {n}, bit for bit"
        for n in (2, 4, 5)
    ]
    for place in (run, run / "ledger"):
        assert texts(list(verify(place, data))) == journals + checkpoints
    assert texts(list(verify(run / "checkpoint-4"))) == [*journals, checkpoints[1]]


def test_a_torn_tail_is_told_but_is_no_damage(run: Path, data: PreparedData) -> None:
    with journal_path(run / "ledger", 1).open("ab") as stream:
        stream.write(b"\xffPIR\x06")
    found = texts(list(verify(run, data)))
    assert found[1].endswith(
        "every checksum right; 5 bytes of a torn tail, which resuming cuts off"
    )
    assert not any(text.startswith("DAMAGE") for text in found)
    assert len(found) == 5


@given(st.data())
def test_any_flipped_bit_is_found(
    trained: Path, data: PreparedData, tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject
) -> None:
    names = ["ledger/journal-0.log", "ledger/journal-1.log", "checkpoint-4/ledger.bin"]
    name = draw.draw(st.sampled_from(names))
    content = bytearray((trained / name).read_bytes())
    # In a journal's last frame a flipped bit looks like a torn tail: the replay tells them apart.
    at = draw.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << draw.draw(st.integers(0, 7))
    run = shutil.copytree(trained, tmp_path_factory.mktemp("flipped") / "run")
    (run / name).write_bytes(content)
    damaged = [finding.text for finding in verify(run, data) if finding.damage]
    assert damaged
    assert Path(name).name in damaged[0] or "checkpoint-5" in damaged[0]


def test_snapshots_beside_a_damaged_journal_are_still_read(run: Path, data: PreparedData) -> None:
    journal = journal_path(run / "ledger", 0)
    content = bytearray(journal.read_bytes())
    content[40] ^= 1
    journal.write_bytes(content)
    os.truncate(run / "checkpoint-4" / CHECKPOINT_FILE, 30)
    found = texts(list(verify(run, data)))
    assert found[0].startswith(f"DAMAGE {journal} is damaged at byte ")
    assert found[2:] == [
        "checkpoint-2/ledger.bin: whole; not compared, as the journals are damaged",
        found[3],
        "checkpoint-5/ledger.bin: whole; not compared, as the journals are damaged",
    ]
    assert found[3].startswith(
        f"DAMAGE {run / 'checkpoint-4' / CHECKPOINT_FILE} is torn or damaged"
    )


def test_a_journal_that_lost_its_end(run: Path, data: PreparedData) -> None:
    for rank in range(2):
        JournalWriter(str(journal_path(run / "ledger", rank)), keep_to=3).close()
    found = texts(list(verify(run, data)))
    assert found[2].startswith("checkpoint-2/ledger.bin: equal")
    assert found[3:] == [
        f"DAMAGE checkpoint-{n}/ledger.bin: cannot be compared, as the journals end at step 3, "
        "before it"
        for n in (4, 5)
    ]


def test_one_rank_s_visits_missing(run: Path, data: PreparedData) -> None:
    journal_path(run / "ledger", 1).unlink()
    found = texts(list(verify(run, data)))
    assert found[1:] == [
        f"DAMAGE checkpoint-{n}/ledger.bin: differs from the journals' replay to step {n}; do not "
        "resume from it"
        for n in (2, 4, 5)
    ]


def test_a_checkpoint_from_before_the_last_resume(tmp_path: Path, data: PreparedData) -> None:
    run = train(tmp_path / "run", data)
    with ScoreLedger.resume(
        run / "ledger", data, snapshot=run / "checkpoint-2" / CHECKPOINT_FILE
    ) as ledger:
        ledger.update(*batch(3, range(RECORDS), data))
    found = texts(list(verify(run, data)))
    assert found[1].startswith("checkpoint-2/ledger.bin: equal")
    assert found[2:] == [
        f"checkpoint-{n}/ledger.bin: whole; not compared, as the journals end at step 3: the run "
        "went on from step 2 after it was written"
        for n in (4, 5)
    ]


def test_a_history_that_begins_late(tmp_path: Path, data: PreparedData) -> None:
    old = train(tmp_path / "old", data)
    run = tmp_path / "run"
    snapshot = old / "checkpoint-4" / CHECKPOINT_FILE
    with ScoreLedger.resume(run / "ledger", data, snapshot=snapshot) as ledger:
        ledger.update(*batch(5, range(RECORDS), data))
    shutil.copytree(old / "checkpoint-2", run / "checkpoint-2")
    shutil.copytree(old / "checkpoint-5", run / "checkpoint-5")
    found = texts(list(verify(run, data)))
    assert found[1:] == [
        "checkpoint-2/ledger.bin: whole; not compared, as the journals begin after step 4",
        "checkpoint-5/ledger.bin: equal to the journals' replay to step 5, bit for bit",
    ]
    base = run / "ledger" / "snapshot.bin"
    base.write_bytes(snapshot.read_bytes()[:-1])
    assert any(finding.damage and str(base) in finding.text for finding in verify(run, data))
    shutil.copy(old / "checkpoint-2" / CHECKPOINT_FILE, base)
    with pytest.raises(LedgerError, match="is of step 2, the journals begin after step 4"):
        ScoreLedger.open(run, data)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda run: shutil.rmtree(run / "ledger"),
        lambda run: (run / "ledger" / "ledger.json").unlink(),
    ],
)
def test_no_ledger(run: Path, break_it: Callable[[Path], None]) -> None:
    break_it(run)
    with pytest.raises(LedgerError, match="holds no ledger"):
        list(verify(run))
