"""What goes into a back end and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from perce.objectives import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """N response rows and what is known about them.

    Attributes:
        hidden: [N, H], any floating dtype.
        labels: int64 [N]; -100 ignores a row.
        objective: Makes the weights, or None if ``weights`` are given.
        weights: float32 [N], or None.
        logp_without: float32 [N] or None.
        logp_reference: float32 [N] or None.
        segment: int64 [N] or None.
        chunk_rows: Rows of logits in memory at once.
    """

    hidden: Tensor
    labels: Tensor
    chunk_rows: int
    objective: Objective | None = None
    weights: Tensor | None = None
    logp_without: Tensor | None = None
    logp_reference: Tensor | None = None
    segment: Tensor | None = None


class Wanted(NamedTuple):
    """Which gradients to compute."""

    hidden: bool
    weight: bool
    bias: bool


class Outcome(NamedTuple):
    """Result of a weighted cross-entropy; all float32.

    Attributes:
        loss_sum: 0-d, -sum(weights * logp).
        logp: [N].
        pir: [N], or empty without ``logp_without``.
        weights: [N].
        grad_hidden: [N, H], gradient of ``loss_sum``, or empty if not wanted.
        grad_weight: [V, H], or empty.
        grad_bias: [V], or empty.
    """

    loss_sum: Tensor
    logp: Tensor
    pir: Tensor
    weights: Tensor
    grad_hidden: Tensor
    grad_weight: Tensor
    grad_bias: Tensor
