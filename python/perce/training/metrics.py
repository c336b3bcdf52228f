"""What is logged beside the loss: weights, PIR and throughput over a logging interval."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from perce import _core
from perce.objectives import Objective
from perce.ops import WeightedCE
from perce.pairs import PairBatch

QUANTILES = {"pir_p05": 0.05, "pir_p50": 0.50, "pir_p95": 0.95}

BINS = 4097
"""Bins of the core's histogram, whose layout is fixed: counts of all ranks add up."""

Total = Callable[[Tensor], Tensor]
"""Sums a tensor over the ranks; every rank calls it at the same point."""


class IntervalMetrics:
    """Sums over the micro-batches since the last log entry.

    Results stay on their device until :meth:`drain`, which is the only place that waits for it:
    4 bytes a response token of the interval, for the quantiles of PIR.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._sums: list[Tensor] = []
        self._pir: list[Tensor] = []
        self._tokens = 0
        self._waited = 0.0
        self._started = time.perf_counter()

    def wait(self, seconds: float) -> None:
        """Count time spent waiting for data."""
        self._waited += seconds

    def exclude(self, seconds: float) -> None:
        """Leave out time spent on other things than training: evaluating, saving."""
        self._started += seconds

    def add(self, batch: PairBatch, result: WeightedCE, objective: Objective) -> None:
        """Count one micro-batch.

        Args:
            batch: what was trained on.
            result: per-token log-probabilities, weights and PIR.
            objective: whose bounds say what clipped means.
        """
        counted = batch.labels != -100
        weights = result.weights[counted]
        low, high = objective.bounds
        self._sums.append(
            torch.stack(
                [
                    counted.sum().float(),
                    weights.sum(),
                    (weights <= low).sum().float(),
                    (weights >= high).sum().float(),
                    -result.logp[counted].sum(),
                ]
            )
        )
        if result.pir is not None:
            self._pir.append(result.pir[counted])
        self._tokens += int(batch.with_profile.input_ids.shape[0])

    def drain(self, total: Total) -> dict[str, float]:
        """Return the interval's metrics over all ranks, and begin the next interval.

        Args:
            total: sums over ranks.

        Returns:
            ``ce`` (plain cross-entropy in nats a token), ``weight_mean``, ``weight_at_min`` and
            ``weight_at_max`` (shares of tokens at the objective's bounds), ``pir_p05``,
            ``pir_p50``, ``pir_p95`` (nats, to 0.5 %; absent where no PIR was computed),
            ``tokens_per_second`` (with-profile tokens) and ``data_wait`` (share of the time).
        """
        seconds = max(time.perf_counter() - self._started, 1e-9)
        counts = np.zeros(BINS, dtype=np.int64)
        if self._pir:
            values = torch.cat(self._pir).to("cpu", torch.float32)
            _core.histogram(np.ascontiguousarray(values.numpy()), counts)
        sums = torch.zeros(8, dtype=torch.float64)
        if self._sums:
            sums[:5] = torch.stack(self._sums).double().sum(0)
        shares = [self._tokens, self._waited / seconds, 1.0]
        sums[5:] = torch.tensor(shares, dtype=torch.float64)
        both = total(torch.cat([sums, torch.from_numpy(counts).double()])).cpu()
        self._reset()
        n, weight, at_min, at_max, nll, tokens, waited, ranks = both[:8].tolist()
        counts = both[8:].to(torch.int64).numpy()
        if n == 0:
            return {}
        logs = {
            "ce": nll / n,
            "weight_mean": weight / n,
            "weight_at_min": at_min / n,
            "weight_at_max": at_max / n,
        }
        if counts.any():
            found = _core.quantiles(counts, np.array(list(QUANTILES.values())))
            logs |= dict(zip(QUANTILES, found.tolist(), strict=True))
        logs["tokens_per_second"] = tokens / seconds
        logs["data_wait"] = waited / ranks
        return logs
