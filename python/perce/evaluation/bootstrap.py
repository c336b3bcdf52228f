"""Paired bootstrap over users: how far a difference depends on which users were asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
"""Coverage of every interval."""

_CHUNK = 2**22  # resampled user counts held at once


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its percentile interval; no bounds (None) with fewer than two users."""

    value: float
    low: float | None
    high: float | None


def paired_bootstrap(
    sums: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of the mean difference over all items, with users resampled whole.

    The statistic is ``sum(sums) / sum(counts)``: a user weighs as much as the items they have. A
    resample draws as many users as there are, with replacement. Both arms saw the same users, so
    the differences are taken before resampling.

    Args:
        sums: float64 [U], each user's sum of differences over their items.
        counts: int64 [U], each user's number of items; 0 is allowed.
        resamples: how many resamples.
        seed: of NumPy's default generator.

    Returns:
        The mean difference with the 2.5 and 97.5 % quantiles of its resamples.

    Raises:
        ValueError: there are no items at all.
    """
    has_items = counts > 0
    sums, counts = sums[has_items], counts[has_items]
    users = len(counts)
    if users == 0:
        raise ValueError("no user has an item")
    value = float(sums.sum() / counts.sum())
    if users < 2:
        return Interval(value, None, None)
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _CHUNK // users)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.multinomial(users, np.full(users, 1 / users), size=size)
        means[start : start + size] = (drawn @ sums) / (drawn @ counts)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))
