"""A fix for vLLM's CPU build: requests for the base model get the base model.

vLLM marks a batch's rows that have no adapter with the index -1. Its GPU kernels skip those. The
CPU build of 0.32 indexes the stacked weights with it, ``lora_ops.bgmv_shrink``, and so gives such
rows the adapter in the last slot. 0.33 masks them as is done here, after the product with A: what
is zero there stays zero after B.

Only for layers that have A and B: the validator refuses adapters of embeddings, which have B alone
on this path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from perce_serving.engine.versions import release

if TYPE_CHECKING:
    import torch

_AFFECTED = (0, 32, 0)

Shrink = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor", "torch.Tensor", float], None]


def is_affected(version: str, *, cpu: bool) -> bool:
    """Whether this build of vLLM mistakes the base model's rows for the last adapter's."""
    return cpu and release(version) == _AFFECTED


def apply() -> None:
    """Mend the operator in this process; twice is as once."""
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    if not hasattr(lora_ops.bgmv_shrink, "mended"):
        mended = _mended(lora_ops.bgmv_shrink)
        # `lora_ops.sgmv_shrink` finds it in its module; `punica_cpu` has imported it by name.
        lora_ops.bgmv_shrink = mended
        punica_cpu.bgmv_shrink = mended


def _mended(shrink: Shrink) -> Shrink:
    """``shrink`` whose output is zero in the rows without an adapter."""

    # Parameter names as in vLLM; torch.compile reads this function too.
    def bgmv_shrink(
        inputs: torch.Tensor,
        lora_b_weights: torch.Tensor,
        output_tensor: torch.Tensor,
        lora_indices_tensor: torch.Tensor,
        scaling: float = 1.0,
    ) -> None:
        shrink(inputs, lora_b_weights, output_tensor, lora_indices_tensor, scaling)
        output_tensor.masked_fill_((lora_indices_tensor < 0).unsqueeze(-1), 0)

    bgmv_shrink.mended = shrink  # type: ignore[attr-defined]
    return bgmv_shrink
