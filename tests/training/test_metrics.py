from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perce.objectives import get_objective
from perce.ops import WeightedCE
from perce.pairs import PairLoader
from perce.training.metrics import IntervalMetrics
from tiny import random_store


def results(seed: int, ranks: int, batches: int):
    """Batches and random results for each rank; a rank's last batch is a repeat now and then."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for rank in range(ranks):
        loader = PairLoader(
            random_store([(3, 2, 4), (2, 2, 6), (4, 1, 1)][: batches + 1], seed=seed),
            packing=False,
            per_device_train_batch_size=1,
            rank=rank,
            world_size=ranks,
        )
        mine = []
        for batch in loader:
            counted = (batch.labels != -100).float()
            pir = torch.randn(len(counted), generator=generator) * 3 * counted
            logp = -torch.rand(len(counted), generator=generator) * counted
            weights = pir.clamp(0.8, 5.0) * counted
            mine.append((batch, WeightedCE(-logp.sum(), logp, pir, weights, weights.sum())))
        found.append(mine)
    return found


@given(seed=st.integers(0, 999), ranks=st.integers(1, 3), batches=st.integers(1, 2))
def test_ranks_and_batches_together_give_the_figures_of_all_tokens(seed, ranks, batches) -> None:
    everything = results(seed, ranks, batches)
    objective = get_objective("perce")
    sums = []

    def collect(mine):
        sums.append(mine)
        return mine

    for mine in everything:
        metrics = IntervalMetrics()
        for batch, result in mine:
            metrics.add(batch, result, objective)
        metrics.drain(collect)
    # What another rank has is added to each rank's own.
    logs = IntervalMetrics().drain(lambda mine: torch.stack(sums).sum(0))

    pairs = [pair for mine in everything for pair in mine]
    counted = [batch.labels != -100 for batch, _ in pairs]
    pir, logp, weights = (
        torch.cat([getattr(r, name)[c] for (_, r), c in zip(pairs, counted, strict=True)]).numpy()
        for name in ("pir", "logp", "weights")
    )
    assert logs["ce"] == pytest.approx(-logp.mean(), abs=1e-5)
    assert logs["weight_mean"] == pytest.approx(weights.mean(), abs=1e-5)
    assert logs["weight_at_min"] == pytest.approx((weights <= 0.8).mean())
    assert logs["weight_at_max"] == pytest.approx((weights >= 5.0).mean())
    for name, quantile in (("pir_p05", 0.05), ("pir_p50", 0.5), ("pir_p95", 0.95)):
        exact = np.quantile(pir, quantile, method="inverted_cdf")
        assert logs[name] == pytest.approx(exact, rel=0.005, abs=2**-20)


def test_an_interval_begins_anew_after_it_was_logged() -> None:
    metrics = IntervalMetrics()
    for batch, result in results(0, 1, 2)[0]:
        metrics.add(batch, result, get_objective("perce"))
    assert metrics.drain(lambda mine: mine)
    assert metrics.drain(lambda mine: mine) == {}


def test_time_spent_elsewhere_does_not_count() -> None:
    metrics = IntervalMetrics()
    metrics.exclude(1e6)
    for batch, result in results(0, 1, 2)[0]:
        metrics.add(batch, result, get_objective("perce"))
    # More time is left out than has passed: the interval is as short as an interval can be.
    assert metrics.drain(lambda mine: mine)["tokens_per_second"] > 1e6
