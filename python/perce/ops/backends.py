"""The table of back ends: who computes the ops, chosen by name.

A back end is two functions on the same inputs. Adding one is adding a line to the table; the ops,
their autograd formulas and their tests stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from perce.errors import OptionError
from perce.objectives import Objective
from perce.ops.head import Head


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


@dataclass(frozen=True, slots=True)
class Backend:
    """Two functions: log-probabilities alone, and the weighted cross-entropy with its gradients."""

    logp: Callable[[Head, Rows], Tensor]
    weighted_ce: Callable[[Head, Rows, Wanted], Outcome]


def _table() -> Mapping[str, Backend]:
    from perce.ops import torch_backend

    return MappingProxyType({"torch": Backend(torch_backend.logp, torch_backend.weighted_ce)})


def resolve_backend(name: str) -> str:
    """Return the back end's own name for what a user asked for.

    Raises:
        OptionError: The name is unknown, or this build does not have that back end.
    """
    if name in ("auto", "torch"):
        return "torch"
    if name == "cuda":
        raise OptionError(
            "backend", "this build of perce has no CUDA kernels: use 'auto' or 'torch'"
        )
    raise OptionError("backend", f"{name!r} is unknown: use 'auto', 'torch' or 'cuda'")


def get_backend(name: str) -> Backend:
    """Return the back end of that resolved name."""
    return _table()[name]
