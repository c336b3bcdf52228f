"""The table of back ends: who computes the ops, chosen by name.

A back end is two functions on the same inputs. Adding one is adding a line to the table; the ops,
their autograd formulas and their tests stay as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import torch
from torch import Tensor

from perce.errors import KernelError, OptionError
from perce.ops import cuda_backend, torch_backend
from perce.ops.head import Head
from perce.ops.rows import Outcome, Rows, Wanted


@dataclass(frozen=True, slots=True)
class Backend:
    """Two functions: log-probabilities alone, and the weighted cross-entropy with its gradients.

    Attributes:
        logp: Log-probability of each label.
        weighted_ce: Loss, log-probabilities, weights and gradients.
        chunk_bytes: Float32 logits it holds at once unless the caller says how many rows.
        chunk_multiple: Rows it likes a chunk to be a multiple of.
    """

    logp: Callable[[Head, Rows], Tensor]
    weighted_ce: Callable[[Head, Rows, Wanted], Outcome]
    chunk_bytes: int
    chunk_multiple: int = 1

    def chunk_rows(self, vocab: int) -> int:
        """Rows of a chunk that fit the budget; at least 1."""
        rows = max(1, self.chunk_bytes // (4 * max(1, vocab)))
        return max(
            rows // self.chunk_multiple * self.chunk_multiple, min(rows, self.chunk_multiple)
        )


_TABLE: Mapping[str, Backend] = MappingProxyType(
    {
        "torch": Backend(torch_backend.logp, torch_backend.weighted_ce, torch_backend.CHUNK_BYTES),
        "cuda": Backend(
            cuda_backend.logp,
            cuda_backend.weighted_ce,
            cuda_backend.CHUNK_BYTES,
            cuda_backend.CHUNK_MULTIPLE,
        ),
    }
)


def resolve_backend(name: str, device: torch.device) -> Backend:
    """Return the back end that a user's word means on that device, ready to run.

    "auto" is "cuda" on CUDA devices and "torch" elsewhere, and also where the kernels cannot run,
    after one warning that says why.

    Raises:
        OptionError: The name is unknown, or "cuda" on a device of another type.
        KernelError: "cuda" was asked for and its kernels cannot run on this device.
    """
    if name not in ("auto", "torch", "cuda"):
        raise OptionError("backend", f"{name!r} is unknown: use 'auto', 'torch' or 'cuda'")
    kernels = cuda_backend.device
    if name == "cuda" and device.type != kernels.type:
        raise OptionError(
            "backend", f"'cuda' is for CUDA tensors, hidden is on {device}: use 'auto' or 'torch'"
        )
    if name == "torch" or device.type != kernels.type:
        return _TABLE["torch"]
    try:
        kernels.load(device.index or 0)
    except KernelError as error:
        if name == "cuda":
            raise
        _warn_once(str(error))
        return _TABLE["torch"]
    return _TABLE["cuda"]


@cache
def _warn_once(reason: str) -> None:
    warnings.warn(
        f"the ops take their torch back end, as the CUDA kernels cannot run: {reason}",
        RuntimeWarning,
        stacklevel=2,
    )


def get_backend(name: str) -> Backend:
    """Return the back end of that very name, "torch" or "cuda", ready or not."""
    return _TABLE[name]
