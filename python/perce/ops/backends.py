"""The table of back ends: who computes the ops, chosen by name.

A back end is two functions on the same inputs. Adding one is adding a line to the table; the ops,
their autograd formulas and their tests stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from perce.errors import OptionError
from perce.ops import torch_backend
from perce.ops.head import Head
from perce.ops.rows import Outcome, Rows, Wanted


@dataclass(frozen=True, slots=True)
class Backend:
    """Two functions: log-probabilities alone, and the weighted cross-entropy with its gradients."""

    logp: Callable[[Head, Rows], Tensor]
    weighted_ce: Callable[[Head, Rows, Wanted], Outcome]


_TABLE: Mapping[str, Backend] = MappingProxyType(
    {"torch": Backend(torch_backend.logp, torch_backend.weighted_ce)}
)


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
    return _TABLE[name]
