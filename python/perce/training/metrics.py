"""What is logged beside the loss: weights, PIR and throughput over a logging interval."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from perce.objectives import Objective
from perce.ops import WeightedCE
from perce.pairs import PairBatch

QUANTILES = {"pir_p05": 0.05, "pir_p50": 0.50, "pir_p95": 0.95}

Gather = Callable[[dict[str, Any]], list[dict[str, Any]]]
"""Collects one dictionary from every rank, on every rank."""


class IntervalMetrics:
    """Sums over the micro-batches since the last log entry.

    Results stay on their device until :meth:`drain`, which is the only place that waits for it.
    Holds 4 bytes a response token of the interval for the quantiles of PIR.
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

    def drain(self, gather: Gather) -> dict[str, float]:
        """Return the interval's metrics over all ranks, and begin the next interval.

        Args:
            gather: collects over ranks; every rank must call at the same point.

        Returns:
            ``ce`` (plain cross-entropy in nats a token), ``weight_mean``, ``weight_at_min`` and
            ``weight_at_max`` (shares of tokens at the objective's bounds), ``pir_p05``,
            ``pir_p50``, ``pir_p95`` (nats; absent without a profile-free pass),
            ``tokens_per_second`` (with-profile tokens) and ``data_wait`` (share of the time).
        """
        seconds = max(time.perf_counter() - self._started, 1e-9)
        mine = {
            "sums": torch.stack(self._sums).double().sum(0).tolist() if self._sums else [0.0] * 5,
            "pir": torch.cat(self._pir).cpu().numpy() if self._pir else np.empty(0, np.float32),
            "tokens": self._tokens,
            "wait": self._waited / seconds,
        }
        ranks = gather(mine)
        self._reset()
        n, weight, at_min, at_max, nll = np.sum([rank["sums"] for rank in ranks], axis=0)
        if n == 0:
            return {}
        logs = {
            "ce": nll / n,
            "weight_mean": weight / n,
            "weight_at_min": at_min / n,
            "weight_at_max": at_max / n,
        }
        pir = np.concatenate([rank["pir"] for rank in ranks])
        if len(pir):
            values = np.quantile(pir, list(QUANTILES.values()))
            logs |= dict(zip(QUANTILES, values, strict=True))
        logs["tokens_per_second"] = sum(rank["tokens"] for rank in ranks) / seconds
        logs["data_wait"] = float(np.mean([rank["wait"] for rank in ranks]))
        return {name: float(value) for name, value in logs.items()}
