"""The one path from hidden states to logits, and back, that every op takes.

PIR is a difference of two log-probabilities, so both must come from the same arithmetic in float32:
log-probabilities from bfloat16 logits are off by 0.05 to 0.12 nats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

IGNORE_INDEX = -100
"""Label of a row that counts nothing, as in PyTorch."""

SLICE_BYTES = 32 << 20
"""Float32 bytes of one slice of a low-precision weight; a whole float32 copy is 2.5 GB at 152k x
4096."""

BLOCK_BYTES = 4 << 20
"""Bytes of logits a row-wise step touches at once on a CPU, so that its passes find them in the
cache; enough that the largest vocabularies still have several rows in it, for the threads."""


class RowStatistics(NamedTuple):
    """What :func:`exponentiate_rows` learned about C rows; float32 [C] each."""

    logp: Tensor
    total: Tensor
    peak: Tensor
    entropy: Tensor | None


@dataclass(frozen=True, slots=True)
class Head:
    """An output head: logits = softcap * tanh(scale * (hidden @ weight.T + bias) / softcap).

    Attributes:
        weight: [V, H], any floating dtype.
        bias: [V], any floating dtype, or None.
        scale: Factor of the logits (Cohere's logit_scale, one over Granite's logits_scaling).
        softcap: Gemma's final logit softcap, or None.
    """

    weight: Tensor
    bias: Tensor | None
    scale: float
    softcap: float | None

    def weight_slices(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the weight in float32, in slices of the vocabulary where that takes a copy."""
        if self.weight.dtype == torch.float32:
            yield slice(None), self.weight
            return
        vocab, width = self.weight.shape
        step = max(1, SLICE_BYTES // (4 * max(1, width)))
        for start in range(0, vocab, step):
            rows = slice(start, min(start + step, vocab))
            yield rows, self.weight[rows].float()

    def logits_into(self, hidden: Tensor, out: Tensor) -> None:
        """Write the logits of float32 ``hidden`` [C, H] into float32 ``out`` [C, V]."""
        for columns, weight in self.weight_slices():
            torch.mm(hidden, weight.t(), out=out[:, columns])
        if self.bias is not None:
            out.add_(self.bias.float())
        if self.softcap is not None:
            out.mul_(self.scale / self.softcap).tanh_().mul_(self.softcap)
        elif self.scale != 1.0:
            out.mul_(self.scale)


def row_blocks(logits: Tensor) -> Iterator[slice]:
    """Yield slices of rows that fit in a core's cache; elsewhere all rows, as launches are dear."""
    rows, vocab = logits.shape
    on_cpu = logits.device.type == "cpu"
    step = max(1, BLOCK_BYTES // (4 * max(1, vocab)) if on_cpu else rows)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def exponentiate_rows(logits: Tensor, target: Tensor, *, entropy: bool = False) -> RowStatistics:
    """Overwrite ``logits`` [C, V] with exp(logits - row maximum) and return the rows' statistics.

    The log-probability is (target - maximum) - log(sum), never (maximum + log(sum)) subtracted from
    the target: the latter cancels at large offsets. Both terms are at most 0, so it cannot come out
    above 0.

    Args:
        logits: float32 [C, V], overwritten.
        target: int64 [C], column of each row's target.
        entropy: Compute the entropy of each row, too.
    """
    logp, total, peak = (logits.new_empty(len(logits)) for _ in range(3))
    entropies = logits.new_empty(len(logits)) if entropy else None
    for rows in row_blocks(logits):
        block = logits[rows]
        torch.amax(block, 1, out=peak[rows])
        block.sub_(peak[rows, None])
        shifted = block.gather(1, target[rows, None]).squeeze(1)
        block.exp_()
        torch.sum(block, 1, out=total[rows])
        log_total = total[rows].log()
        logp[rows] = shifted - log_total
        if entropies is not None:
            # xlogy is 0 at 0, where a logit underflowed.
            entropies[rows] = log_total - torch.xlogy(block, block).sum(1) / total[rows]
    return RowStatistics(logp, total, peak, entropies)


def gradient_rows(
    head: Head, exponentials: Tensor, target: Tensor, statistics: RowStatistics, weights: Tensor
) -> None:
    """Overwrite exponentials [C, V] with the gradient of sum(-w * logp) to hidden @ weight.T.

    That is scale * w * (softmax - onehot), times 1 - tanh^2 under a softcap.
    """
    scaled = weights * head.scale
    factor = (scaled / statistics.total)[:, None]
    for rows in row_blocks(exponentials):
        block = exponentials[rows]
        slope = None
        if head.softcap is not None:
            # The capped logit is log(exponential) + peak. Where the exponential underflowed, the
            # gradient is 0 for any finite slope, which the clamp keeps it; but not the target's,
            # whose capped logit is known from its log-probability.
            shifted = block.log()
            own = statistics.logp[rows] + statistics.total[rows].log()
            shifted.scatter_(1, target[rows, None], own[:, None])
            tanh = shifted.add_(statistics.peak[rows, None]).div_(head.softcap).clamp_(-1, 1)
            slope = tanh.square_().neg_().add_(1)
        block.mul_(factor[rows])
        block.scatter_add_(1, target[rows, None], -scaled[rows, None])
        if slope is not None:
            block.mul_(slope)
