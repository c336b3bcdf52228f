"""The paired bootstrap against a plain loop, and against what an interval must do."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce.evaluation import Interval, paired_bootstrap
from perce.evaluation import bootstrap as module

users = st.lists(
    st.tuples(st.floats(-5, 5, allow_subnormal=False), st.integers(0, 9)), min_size=2, max_size=8
).filter(lambda pairs: sum(count > 0 for _, count in pairs) >= 2)


def columns(pairs: list[tuple[float, int]]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([count for _, count in pairs], dtype=np.int64)
    sums = np.array([mean * count for mean, count in pairs])
    return sums, counts


def plain(sums: np.ndarray, counts: np.ndarray, *, resamples: int, seed: int) -> Interval:
    """The definition: draw users one by one, add up what they bring."""
    kept = [(s, c) for s, c in zip(sums.tolist(), counts.tolist(), strict=True) if c]
    drawn = np.random.default_rng(seed).multinomial(
        len(kept), np.full(len(kept), 1 / len(kept)), size=resamples
    )
    means = []
    for row in drawn.tolist():
        total = sum(times * s for times, (s, _) in zip(row, kept, strict=True))
        items = sum(times * c for times, (_, c) in zip(row, kept, strict=True))
        means.append(total / items)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(sum(s for s, _ in kept) / sum(c for _, c in kept), float(low), float(high))


@given(users)
def test_equals_the_plain_loop(pairs: list[tuple[float, int]]) -> None:
    sums, counts = columns(pairs)
    ours = paired_bootstrap(sums, counts, resamples=200, seed=3)
    theirs = plain(sums, counts, resamples=200, seed=3)
    assert ours.value == pytest.approx(theirs.value, abs=1e-9)
    assert ours.low == pytest.approx(theirs.low, abs=1e-9)
    assert ours.high == pytest.approx(theirs.high, abs=1e-9)


@given(users, st.integers(1, 50))
def test_the_result_does_not_depend_on_the_chunks(
    pairs: list[tuple[float, int]], chunk: int
) -> None:
    sums, counts = columns(pairs)
    whole = paired_bootstrap(sums, counts, resamples=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        parts = paired_bootstrap(sums, counts, resamples=100)
    assert astuple(parts) == pytest.approx(astuple(whole), abs=1e-12)


@given(users, st.floats(-3, 3))
def test_a_shift_shifts_and_a_sign_turns(pairs: list[tuple[float, int]], shift: float) -> None:
    sums, counts = columns(pairs)
    plainly = paired_bootstrap(sums, counts, resamples=100)
    shifted = paired_bootstrap(sums + shift * counts, counts, resamples=100)
    turned = paired_bootstrap(-sums, counts, resamples=100)
    assert plainly.low is not None
    assert plainly.high is not None
    assert shifted.value == pytest.approx(plainly.value + shift, abs=1e-9)
    assert shifted.low == pytest.approx(plainly.low + shift, abs=1e-9)
    assert turned.low == pytest.approx(-plainly.high, abs=1e-9)


def test_equal_users_leave_no_doubt() -> None:
    interval = paired_bootstrap(np.full(5, 0.5), np.full(5, 2))
    assert interval == Interval(0.25, 0.25, 0.25)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        means = rng.normal(1.0, 1.0, 60)
        interval = paired_bootstrap(means * 4, np.full(60, 4), resamples=300, seed=trial)
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= 1.0 <= interval.high
    # 95 % of 200 within three standard errors; an 80 % interval would cover 160.
    assert 176 <= covered <= 199


def test_one_user_has_no_interval_and_none_no_value() -> None:
    assert paired_bootstrap(np.array([2.0, 0.0]), np.array([4, 0])) == Interval(0.5, None, None)
    with pytest.raises(ValueError, match="no user"):
        paired_bootstrap(np.zeros(2), np.zeros(2, np.int64))
