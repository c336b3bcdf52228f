"""The back end of CUDA tensors: two products a chunk, and one kernel between them.

A chunk's logits are a product with a float32 result; the kernel reads each row, makes
log-probability and weight, and writes the gradient over the row it came from, in the dtype of the
inputs; a second product makes the hidden states' gradient (a third one the head's, if it trains).
Inputs that are both bfloat16 or both float16 are multiplied as they are; any others in float32.

An objective of ours is evaluated inside the kernel. Another one needs a look at the chunk first:
log-probabilities, weights by its own function, then the kernel with given weights. One of record
scope needs a look at all chunks, and so a product more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from perce import objectives
from perce.objectives import Objective
from perce.ops.cuda_device import CudaDevice
from perce.ops.head import Head
from perce.ops.labels import check_labels
from perce.ops.rows import Outcome, Rows, Wanted
from perce.ops.weighing import (
    check_given_weights,
    check_made_weights,
    influence,
    loss_sum,
    make_weights,
)

CHUNK_BYTES = 1_250_000_000
"""Float32 logits in memory at once: products of 2048 rows at a vocabulary of 152k are as fast as
whole ones."""

CHUNK_MULTIPLE = 128
"""Rows of a tile of a large product: a chunk of whole tiles leaves none half empty."""

ROW_ALIGNMENT = 8
"""Float32 elements; a row of any vocabulary then starts where 32-byte reads may."""

KERNEL_OBJECTIVES: Mapping[Callable[..., object], str] = MappingProxyType(
    {
        objectives._ce: "ce",
        objectives._perce: "perce",
        objectives._longce: "longce",
        objectives._entce: "entce",
        objectives._dft: "dft",
        objectives._nextquill: "nextquill",
    }
)
"""What the kernel calls the objectives it knows; by function, as a name may be registered anew."""

device = CudaDevice()
"""The way to the kernels."""


def logp(head: Head, rows: Rows) -> Tensor:
    """Log-probability of each row's label, float32 [N]; 0 where ignored."""
    return _look(*_prepared(head, rows), entropy=False)[0]


def weighted_ce(head: Head, rows: Rows, wanted: Wanted) -> Outcome:
    """Weighted cross-entropy and the wanted gradients of its sum, in one pass over the chunks."""
    head, rows = _prepared(head, rows)
    check_labels(rows.labels, len(head.weight))
    n, width = rows.hidden.shape
    objective, given = rows.objective, rows.weights
    if given is not None:
        check_given_weights(given)
    elif objective is not None and objective.scope == "record":
        seen = _look(head, rows, entropy="entropy" in objective.needs)
        given = make_weights(objective, rows, slice(None), *seen)

    def new(*shape: int) -> Tensor:
        # Each element is written by the first chunk; without rows there is none.
        made = rows.hidden.new_empty if n else rows.hidden.new_zeros
        return made(shape, dtype=torch.float32)

    logp, weights = new(n), new(n)
    grad_hidden = new(n, width) if wanted.hidden else new(0)
    grad_weight = new(*head.weight.shape) if wanted.weight else new(0)
    grad_bias = new(len(head.weight)) if wanted.bias else new(0)
    for part, hidden, logits in _chunks(head, rows):
        grad = _over(logits, hidden.dtype) if any(wanted) else None
        _weigh(head, rows, part, logits, given, logp=logp[part], weights=weights[part], grad=grad)
        if grad is None:
            continue
        if wanted.hidden:
            for columns, weight in _weight_slices(head, hidden.dtype):
                out = grad_hidden[part]
                device.multiply(grad[:, columns], weight, out, add=bool(columns.start))
        if wanted.weight:
            device.multiply(grad.t(), hidden, grad_weight, add=part.start > 0)
        if wanted.bias:
            total = grad.sum(0, dtype=torch.float32)
            grad_bias = grad_bias.add_(total) if part.start else total
    if objective is not None:
        check_made_weights(weights, objective)
    return Outcome(
        loss_sum(weights, logp),
        logp,
        influence(rows, logp),
        weights,
        grad_hidden,
        grad_weight,
        grad_bias,
    )


def _prepared(head: Head, rows: Rows) -> tuple[Head, Rows]:
    """Columns as the kernels read them: one entry behind the other, in float32."""

    def column(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.float().contiguous()

    return replace(head, bias=column(head.bias)), replace(
        rows,
        labels=rows.labels.contiguous(),
        weights=column(rows.weights),
        logp_without=column(rows.logp_without),
        logp_reference=column(rows.logp_reference),
    )


def _weight_slices(head: Head, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """The weight as it is, or in float32 slices of the vocabulary."""
    if head.weight.dtype == dtype:
        yield slice(0, len(head.weight)), head.weight
    else:
        yield from head.weight_slices()


def _chunks(head: Head, rows: Rows) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield (rows, hidden [C, H] as multiplied, raw logits [C, V]); one buffer serves all."""
    n, vocab = len(rows.labels), len(head.weight)
    dtype = rows.hidden.dtype
    if dtype != head.weight.dtype or dtype not in (torch.bfloat16, torch.float16):
        dtype = torch.float32
    padded = -(-vocab // ROW_ALIGNMENT) * ROW_ALIGNMENT
    buffer = rows.hidden.new_empty((min(rows.chunk_rows, n), padded), dtype=torch.float32)
    for start in range(0, n, rows.chunk_rows):
        part = slice(start, min(start + rows.chunk_rows, n))
        hidden = rows.hidden[part].to(dtype)
        logits = buffer[: len(hidden), :vocab]
        for columns, weight in _weight_slices(head, dtype):
            device.multiply(hidden, weight.t(), logits[:, columns])
        yield part, hidden, logits


def _over(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """A [C, V] of that dtype in the memory of float32 logits, each row at the start of its own."""
    return logits.view(dtype)[:, : logits.shape[1]]


def _look(head: Head, rows: Rows, *, entropy: bool) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities and, if wanted, entropies of all rows: a pass without gradients."""
    logp = rows.hidden.new_empty(len(rows.labels), dtype=torch.float32)
    entropies = torch.empty_like(logp) if entropy else None
    for part, _, logits in _chunks(head, rows):
        own = None if entropies is None else entropies[part]
        device.logp_rows(head, logits, rows.labels[part], logp=logp[part], entropy=own)
    return logp, entropies


def _weigh(
    head: Head,
    rows: Rows,
    part: slice,
    logits: Tensor,
    given: Tensor | None,
    *,
    logp: Tensor,
    weights: Tensor,
    grad: Tensor | None,
) -> None:
    """Log-probabilities, weights and gradient of a chunk, under given weights or the objective."""
    objective = rows.objective
    name, params = "given", (0.0, 0.0)
    chosen = None if given is None else given[part]
    if given is None and objective is not None:
        known = KERNEL_OBJECTIVES.get(objective.function)
        if known is None:
            chosen = _chunk_weights(head, rows, part, logits, objective, logp)
        else:
            first, second, *_ = (*objective.options.values(), 0.0, 0.0)
            name, params = known, (first, second)
    device.weighted_rows(
        head,
        logits,
        rows.labels[part],
        objective=name,
        params=params,
        logp_without=None if rows.logp_without is None else rows.logp_without[part],
        weights_given=chosen,
        logp=logp,
        weights=weights,
        grad=grad,
    )


def _chunk_weights(
    head: Head, rows: Rows, part: slice, logits: Tensor, objective: Objective, logp: Tensor
) -> Tensor:
    """Weights by an objective the kernel does not know, from a look at the chunk's rows."""
    entropy = torch.empty_like(logp) if "entropy" in objective.needs else None
    device.logp_rows(head, logits, rows.labels[part], logp=logp, entropy=entropy)
    return make_weights(objective, rows, part, logp, entropy).contiguous()
