"""Which tokens became personal, and when."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from perce.ledger.history import F32, Visits
from perce.ledger.ragged import I64

NEVER = -1
"""In place of a step, where a token never became personal."""

THRESHOLD = 0.5
"""A token is called personal where the moving average of its PIR, in nats, is above this."""


def became_personal(
    history: Iterable[Visits],
    offsets: I64,
    average: F32,
    *,
    decay: float,
    threshold: float = THRESHOLD,
    first_step: int = 0,
) -> I64:
    """First step at which each token's moving average of PIR was above a threshold.

    Args:
        history: the visits, in the order of steps.
        offsets: int64 [n + 1], where each record's response begins.
        average: float32 [N], the moving averages before the history, NaN where there is none;
            brought forward in place.
        decay: share of its old value that the average keeps at each visit.
        threshold: in nats.
        first_step: the step of ``average``, which stands for tokens that were personal then.

    Returns:
        int64 [N], :data:`NEVER` (-1) for tokens that never were.
    """
    since = np.where(average > threshold, np.int64(first_step), np.int64(NEVER))
    # As the core computes it, in float32 throughout: the same bits as the state's.
    keep = np.float32(decay)
    take = np.float32(1) - keep
    for block in history:
        for visits in block.rounds():
            index = visits.tokens(offsets)
            old = average[index]
            new = np.where(np.isnan(old), visits.pir, keep * old + take * visits.pir)
            average[index] = new
            passed = (new > threshold) & (since[index] == NEVER)
            steps = np.repeat(visits.steps, visits.lengths)
            since[index[passed]] = steps[passed]
    return since
