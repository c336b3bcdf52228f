"""Whether a ledger's files are whole, and whether its journals lead to its snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perce._core import JournalReader, Scores
from perce.errors import LedgerError
from perce.ledger.history import History
from perce.ledger.layout import (
    CHECKPOINT_FILE,
    LedgerInfo,
    find_checkpoints,
    find_journals,
    find_ledger,
)
from perce.ledger.ragged import I64
from perce.ledger.replay import base_state, replay, same_state
from perce.tokens import PreparedData


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of one file, and whether that is damage.

    The torn tail that a killed process leaves in its journal is none: resuming cuts it off and
    computes it again.
    """

    text: str
    damage: bool = False


def verify(path: str | Path, data: PreparedData | str | Path | None = None) -> Iterator[Finding]:
    """Check every frame of every journal, then every snapshot against the journals' replay.

    Args:
        path: the folder of a run, of its ledger, or of one of its checkpoints: then only its
            snapshot is checked beside the journals.
        data: the ledger's data, or their prepared folder; by default where they were in training.

    Yields:
        One finding a file, as soon as it is known.

    Raises:
        LedgerError: there is no ledger, or its data, without which a snapshot cannot be read, is
            gone or other.
    """
    place = find_ledger(path)
    info = LedgerInfo.read(place.folder)
    whole = True
    for journal in find_journals(place.folder).values():
        finding = _check_journal(journal)
        whole = whole and not finding.damage
        yield finding
    data = info.open_data(data)
    checkpoints = find_checkpoints(place.folder)
    if place.checkpoint is not None:
        chosen = place.checkpoint.resolve()
        checkpoints = [(step, file) for step, file in checkpoints if file == chosen]
    yield from _check_snapshots(place.folder, info, data, checkpoints, whole=whole)


def _check_journal(path: Path) -> Finding:
    visits = tokens = last = 0
    first = None
    try:
        reader = JournalReader([str(path)])
        for steps, _, lengths, _, _ in reader:
            first = int(steps[0]) if first is None else first
            last = int(steps[-1])
            visits += len(steps)
            tokens += int(lengths.sum())
    except LedgerError as error:
        return Finding(str(error), damage=True)
    held = "no visits" if first is None else f"{visits:,} visits in steps {first} to {last}"
    torn = int(reader.torn_bytes[0])
    tail = f"; {torn:,} bytes of a torn tail, which resuming cuts off" if torn else ""
    return Finding(f"{path.name}: {held}, {tokens:,} tokens, every checksum right{tail}")


def _check_snapshots(
    folder: Path,
    info: LedgerInfo,
    data: PreparedData,
    checkpoints: list[tuple[int, Path]],
    *,
    whole: bool,
) -> Iterator[Finding]:
    offsets: I64 = np.ascontiguousarray(data.response_offsets)
    if not whole:
        for _, file in checkpoints:
            yield _read(file, offsets)
        return
    try:
        state = base_state(folder, info, offsets)
    except LedgerError as error:
        yield Finding(str(error), damage=True)
        return
    waiting = list(checkpoints)
    end = 0
    for block in History(folder, after=info.first_step):
        done = 0
        while waiting and waiting[0][0] < block.steps[-1]:
            cut = int(np.searchsorted(block.steps, waiting[0][0], side="right"))
            replay(state, [block.part(done, cut)])
            done = cut
            yield _compare(waiting.pop(0), state, info, offsets)
        replay(state, [block.part(done, len(block))])
        end = int(block.steps[-1])
    for checkpoint in waiting:
        yield _compare(checkpoint, state, info, offsets, journals_end=end)


def _compare(
    checkpoint: tuple[int, Path],
    state: Scores,
    info: LedgerInfo,
    offsets: I64,
    *,
    journals_end: int | None = None,
) -> Finding:
    """Compare a snapshot with a replay to its step, or to where the journals end before it."""
    step, file = checkpoint
    name = _name(file)
    try:
        stored, stored_step = Scores.read_snapshot(str(file), offsets)
    except LedgerError as error:
        return Finding(str(error), damage=True)
    if stored_step == step and same_state(stored, state):
        return Finding(f"{name}: equal to the journals' replay to step {step}, bit for bit")
    if step < info.first_step:
        return Finding(
            f"{name}: whole; not compared, as the journals begin after step {info.first_step}"
        )
    if journals_end is not None and journals_end < step:
        where = f"the journals end at step {journals_end}"
        if info.resumed_at is not None and info.resumed_at < step:
            return Finding(
                f"{name}: whole; not compared, as {where}: the run went on from step "
                f"{info.resumed_at} after it was written"
            )
        return Finding(f"{name}: cannot be compared, as {where}, before it", damage=True)
    return Finding(
        f"{name}: differs from the journals' replay to step {step}; do not resume from it",
        damage=True,
    )


def _read(file: Path, offsets: I64) -> Finding:
    """Check a snapshot by itself, where there is nothing to compare it with."""
    try:
        Scores.read_snapshot(str(file), offsets)
    except LedgerError as error:
        return Finding(str(error), damage=True)
    return Finding(f"{_name(file)}: whole; not compared, as the journals are damaged")


def _name(file: Path) -> str:
    return f"{file.parent.name}/{CHECKPOINT_FILE}"
