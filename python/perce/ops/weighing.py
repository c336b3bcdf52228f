"""Weights, whatever the back end: which may come in, and how an objective is asked for them.

Values are checked on the CPU only: on a device, looking at them would wait for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from perce.errors import ObjectiveError
from perce.objectives import Objective, Signals
from perce.ops.head import IGNORE_INDEX
from perce.ops.rows import Rows


def check_given_weights(weights: Tensor) -> None:
    """Raise ObjectiveError for the first weight that is negative or not finite (on the CPU)."""
    if weights.device.type == "cpu":
        _complain(weights, (weights < 0) | ~weights.isfinite(), "given weights")


def check_made_weights(weights: Tensor, objective: Objective) -> None:
    """Raise ObjectiveError for the first negative weight an objective made (on the CPU).

    One that is not finite shows in the loss: an objective of signals that are not finite either.
    """
    if weights.device.type == "cpu":
        _complain(weights, weights < 0, f"objective {objective.name!r} returned")


def _complain(weights: Tensor, bad: Tensor, whose: str) -> None:
    if bool(bad.any()):
        position = int(bad.nonzero()[0, 0])
        raise ObjectiveError(
            f"{whose}: {float(weights[position]):g} at position {position}: "
            "weights are finite and at least 0"
        )


def column_part(column: Tensor | None, part: slice) -> Tensor | None:
    """Some rows of a column that may be missing."""
    return None if column is None else column[part]


def make_weights(
    objective: Objective, rows: Rows, part: slice, logp: Tensor, entropy: Tensor | None
) -> Tensor:
    """Weights of some rows under the objective; 0 where ignored."""
    ignored = rows.labels[part] == IGNORE_INDEX
    segment = column_part(rows.segment, part)
    signals = Signals(
        logp_with=logp,
        logp_without=column_part(rows.logp_without, part),
        logp_reference=column_part(rows.logp_reference, part),
        entropy=entropy,
        # An ignored row belongs to no record: it must not take a place among its tokens.
        segment=None if segment is None else segment.masked_fill(ignored, -1),
    )
    return objective(signals).masked_fill(ignored, 0.0)


def loss_sum(weights: Tensor, logp: Tensor) -> Tensor:
    """-sum(weights * logp), 0-d; a weight of 0 silences a log-probability of -inf."""
    return -torch.where(weights == 0, 0.0, weights * logp).sum()


def influence(rows: Rows, logp: Tensor) -> Tensor:
    """PIR [N], 0 where ignored; empty where no log-probabilities without the profile are given."""
    if rows.logp_without is None:
        return logp.new_zeros(0)
    return (logp - rows.logp_without).masked_fill(rows.labels == IGNORE_INDEX, 0.0)
