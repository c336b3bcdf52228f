"""Problems for the row kernels, how to run them, and what must come out, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from oracles import TOKEN_WEIGHTS, TokenSignals

F64 = npt.NDArray[np.float64]

PARAMS = {"perce": (0.8, 5.0), "longce": (5.0, 0.0), "nextquill": (0.9, 0.05)}
OBJECTIVES = ("given", "ce", "perce", "longce", "entce", "dft", "nextquill")
DTYPES = (
    # logits, gradient
    (torch.float32, torch.float32),
    (torch.float32, torch.bfloat16),
    (torch.float32, torch.float16),
    (torch.bfloat16, torch.bfloat16),
    (torch.float16, torch.float16),
)
UNTOUCHED = 0x5A


class Launches(Protocol):
    """``perce._core``, or the host build."""

    def cuda_weighted_rows(self, **arguments: object) -> None: ...
    def cuda_logp_rows(self, **arguments: object) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Rows of logits [n, V] and what is asked of them.

    Rows are ``offset + V + padding`` elements apart and start ``offset`` elements into their
    memory, so that they may be misaligned; ``in_place`` puts the gradient over the logits.
    """

    logits: Tensor
    labels: Tensor
    logp_without: Tensor
    given: Tensor
    objective: str = "ce"
    grad_dtype: torch.dtype = torch.float32
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float = 0.0
    offset: int = 0
    padding: int = 0
    in_place: bool = False


@dataclass(frozen=True)
class Results:
    """What comes out: logp, weights, entropy [n], gradient [n, V]."""

    logp: F64
    weights: F64
    entropy: F64
    grad: F64


def problem(logits: Tensor, labels: list[int], **options: object) -> Problem:
    """A problem with plain signals where none are given."""
    n = len(logits)
    signals = {"logp_without": torch.full((n,), -6.0), "given": torch.linspace(0.5, 2.0, n)}
    return Problem(logits=logits, labels=torch.tensor(labels), **{**signals, **options})  # type: ignore[arg-type]


def _rows(memory: Tensor, dtype: torch.dtype, like: Problem, stride: int, offset: int) -> Tensor:
    return memory.view(dtype).as_strided(tuple(like.logits.shape), (stride, 1), offset)


def _written_only_inside(memory: Tensor, rows: Tensor) -> bool:
    inside = torch.zeros(len(memory), dtype=torch.bool)
    size = rows.element_size()
    for row in range(len(rows)):
        start = (rows.storage_offset() + row * rows.stride(0)) * size
        inside[start : start + rows.shape[1] * size] = True
    return bool((memory[~inside] == UNTOUCHED).all())


def run(kernels: Launches, of: Problem) -> Results:
    """Run the weighted kernel; asserts, too, that it wrote nowhere but in its rows."""
    n, vocab = of.logits.shape
    stride = of.offset + vocab + of.padding
    dtype = of.logits.dtype
    room = 16 * (n * stride * dtype.itemsize // 16 + 2)
    memory = torch.full((room,), UNTOUCHED, dtype=torch.uint8)
    logits = _rows(memory, dtype, of, stride, of.offset)
    logits.copy_(of.logits)
    ratio = dtype.itemsize // of.grad_dtype.itemsize if of.in_place else 1
    other = memory if of.in_place else torch.full_like(memory, UNTOUCHED)
    grad = _rows(other, of.grad_dtype, of, stride * ratio, of.offset * ratio)
    logp, weights, entropy = (torch.full((n,), 7.0) for _ in range(3))
    common = {
        "device": 0,
        "stream": 0,
        "n_rows": n,
        "vocab": vocab,
        "logits": logits.data_ptr(),
        "logits_dtype": str(dtype).removeprefix("torch."),
        "logits_stride": stride,
        "labels": of.labels.data_ptr(),
        "bias": 0 if of.bias is None else of.bias.data_ptr(),
        "logit_scale": of.scale,
        "logit_softcap": of.softcap,
    }
    read_logp, read_entropy = (torch.full((n,), 7.0) for _ in range(2))
    kernels.cuda_logp_rows(**common, logp=read_logp.data_ptr(), entropy=read_entropy.data_ptr())
    kernels.cuda_weighted_rows(
        **common,
        grad=grad.data_ptr(),
        grad_dtype=str(of.grad_dtype).removeprefix("torch."),
        grad_stride=grad.stride(0) if n > 1 else stride * ratio,
        logp_without=of.logp_without.data_ptr(),
        weights_given=of.given.data_ptr(),
        logp=logp.data_ptr(),
        weights=weights.data_ptr(),
        entropy=entropy.data_ptr(),
        objective=of.objective,
        params=PARAMS.get(of.objective, (0.0, 0.0)),
    )
    assert _written_only_inside(memory, logits)
    assert of.in_place or _written_only_inside(other, grad)
    # Both kernels read a row by the same text.
    assert torch.equal(read_logp.view(torch.int32), logp.view(torch.int32))
    assert torch.equal(read_entropy.view(torch.int32), entropy.view(torch.int32))
    return Results(*(t.double().numpy() for t in (logp, weights, entropy, grad)))


def expected(of: Problem) -> Results:
    """The results in float64, row by row; logits finite, labels valid or -100."""
    n, vocab = of.logits.shape
    logp, weights, entropy = np.zeros((3, n))
    grad = np.zeros((n, vocab))
    for row in range(n):
        label = int(of.labels[row])
        if label == -100:
            continue
        z = of.logits[row].double().numpy()
        z = of.scale * (z if of.bias is None else z + of.bias.double().numpy())
        slope = np.ones(vocab)
        if of.softcap:
            tanh = np.tanh(z / of.softcap)
            z, slope = of.softcap * tanh, 1 - tanh**2
        every = z - z.max() - math.log(np.exp(z - z.max()).sum())
        logp[row] = every[label]
        entropy[row] = -(np.exp(every) * every).sum()
        weights[row] = float(of.given[row])
        if of.objective != "given":
            without = float(of.logp_without[row])
            signals = TokenSignals(logp[row], logp_without=without, entropy=entropy[row])
            weights[row] = TOKEN_WEIGHTS[of.objective](signals)
        onehot = np.arange(vocab) == label
        grad[row] = weights[row] * of.scale * slope * (np.exp(every) - onehot)
    return Results(logp, weights, entropy, grad)
