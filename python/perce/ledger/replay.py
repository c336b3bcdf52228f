"""The state that a ledger's journals lead to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from perce._core import Scores
from perce.errors import LedgerError
from perce.ledger.history import Visits
from perce.ledger.layout import BASE_FILE, LedgerInfo
from perce.ledger.ragged import I64


def base_state(folder: Path, info: LedgerInfo, offsets: I64) -> Scores:
    """The state before the journals' first step.

    Args:
        folder: the ledger's folder.
        info: its ``ledger.json``.
        offsets: int64 [n + 1], where each record's response begins.

    Raises:
        LedgerError: the state is not that of a fresh run, and its snapshot is gone or corrupt.
    """
    if info.first_step == 0:
        return Scores(offsets, info.decay)
    path = folder / BASE_FILE
    scores, step = Scores.read_snapshot(str(path), offsets)
    if step != info.first_step:
        raise LedgerError(
            f"{path} is of step {step}, the journals begin after step {info.first_step}: resume "
            "from a checkpoint",
            str(path),
        )
    return scores


def replay(scores: Scores, history: Iterable[Visits]) -> None:
    """Bring a state forward by the visits of a history.

    Raises:
        LedgerError: a journal is damaged, or names records or lengths that the data does not have.
    """
    for visits in history:
        scores.replay(visits.steps, visits.records, visits.lengths, visits.pir, visits.logp_without)


def same_state(one: Scores, other: Scores) -> bool:
    """Whether two states are equal bit for bit."""
    return (
        np.array_equal(one.visits(), other.visits())
        and np.array_equal(one.last_step(), other.last_step())
        # As bits: NaN marks tokens without a value, and equals itself here.
        and np.array_equal(one.pir().view(np.uint32), other.pir().view(np.uint32))
        and np.array_equal(one.logp_without().view(np.uint32), other.logp_without().view(np.uint32))
    )
