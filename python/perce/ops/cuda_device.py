"""What the CUDA back end asks of a device: products summed in float32, and the row kernels.

Everything here takes tensors and gives their addresses to the kernels in ``perce._core``, on
torch's current stream. Nothing waits for the device, and nothing but :meth:`CudaDevice.load` loads
code, so that whole steps can be captured in a CUDA graph.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from perce import _core
from perce.ops.head import Head


class CudaDevice:
    """The kernels on CUDA tensors.

    The back end's only way to a device: tests put another one in its place, with the host build of
    the same kernels behind it.
    """

    type = "cuda"
    """Type of the torch devices it serves."""

    kernels: Any = _core
    """What loads and launches: ``cuda_load``, ``cuda_weighted_rows``, ``cuda_logp_rows``."""

    def load(self, index: int) -> None:
        """Make the kernels ready on a device; cheap once they are.

        Raises:
            KernelError: Names what is missing: the kernels in this build, the driver, the device,
                or the kernels for a device of this age.
        """
        self.kernels.cuda_load(index)

    def stream(self, tensor: Tensor) -> int:
        """Address of the stream that torch now works on, on the tensor's device."""
        return torch.cuda.current_stream(tensor.device).cuda_stream

    def multiply(self, left: Tensor, right: Tensor, out: Tensor, *, add: bool = False) -> None:
        """Write ``left @ right`` into float32 ``out``, or add it there.

        Args:
            left: [M, K], float32, bfloat16 or float16; rows may be further apart than K.
            right: [K, N], the dtype of ``left``.
            out: float32 [M, N]; rows may be further apart than N.
            add: Add to ``out`` in the product's own pass, without a copy of its size.
        """
        if left.dtype == torch.float32:
            if add:
                torch.addmm(out, left, right, out=out)
            else:
                torch.mm(left, right, out=out)
        elif add:
            torch.addmm(out, left, right, out_dtype=torch.float32, out=out)
        else:
            torch.mm(left, right, out_dtype=torch.float32, out=out)

    def logp_rows(
        self,
        head: Head,
        logits: Tensor,
        labels: Tensor,
        *,
        logp: Tensor,
        entropy: Tensor | None = None,
    ) -> None:
        """Write the labels' log-probabilities and the rows' entropies; ``logits`` stay as they are.

        Args:
            head: Its bias, a contiguous float32 tensor here, scale and softcap are yet to come onto
                ``logits``.
            logits: [C, V], hidden @ weight.T; rows may be further apart than V.
            labels: int64 [C]; -100 gives 0, any other that is no column NaN.
            logp: float32 [C], written.
            entropy: float32 [C], written, or None.
        """
        self.kernels.cuda_logp_rows(
            **self._rows(head, logits, labels), logp=logp.data_ptr(), entropy=_address(entropy)
        )

    def weighted_rows(
        self,
        head: Head,
        logits: Tensor,
        labels: Tensor,
        *,
        objective: str,
        params: tuple[float, float],
        logp_without: Tensor | None,
        weights_given: Tensor | None,
        logp: Tensor,
        weights: Tensor,
        grad: Tensor | None,
    ) -> None:
        """Log-probabilities, weights, and the gradient of sum(-weight * logp) to ``logits``.

        Args:
            head: As for :meth:`logp_rows`.
            logits: As for :meth:`logp_rows`; the gradient may take their place.
            labels: As for :meth:`logp_rows`.
            objective: What makes the weights: "given" or a name of :data:`KERNEL_OBJECTIVES`.
            params: Its options in the order of its signature.
            logp_without: float32 [C], for the objectives that need it.
            weights_given: float32 [C], for "given".
            logp: float32 [C], written.
            weights: float32 [C], written.
            grad: [C, V] of any of the three dtypes, written, or None. It may share memory with
                ``logits`` if rows of both start at the same addresses.
        """
        self.kernels.cuda_weighted_rows(
            **self._rows(head, logits, labels),
            grad=_address(grad),
            grad_dtype=_dtype(logits if grad is None else grad),
            grad_stride=0 if grad is None else grad.stride(0),
            logp_without=_address(logp_without),
            weights_given=_address(weights_given),
            logp=logp.data_ptr(),
            weights=weights.data_ptr(),
            entropy=0,
            objective=objective,
            params=params,
        )

    def _rows(self, head: Head, logits: Tensor, labels: Tensor) -> dict[str, Any]:
        """What both kernels are told."""
        return {
            "device": logits.device.index or 0,
            "stream": self.stream(logits),
            "n_rows": len(logits),
            "vocab": logits.shape[1],
            "logits": logits.data_ptr(),
            "logits_dtype": _dtype(logits),
            "logits_stride": logits.stride(0),
            "labels": labels.data_ptr(),
            "bias": _address(head.bias),
            "logit_scale": head.scale,
            "logit_softcap": head.softcap or 0.0,
        }


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
