"""The ops as torch.library custom ops: opaque to torch.compile, with fakes and autograd formulas.

The forward computes the gradients; the backward only scales them. Autocast reaches inside a custom
op and would round the logits to bfloat16, so it is switched off here, and so is whatever else would
make products less exact than their factors.
"""

# No `from __future__ import annotations` here: torch reads the ops' schemas from real annotations.
# ruff: noqa: ARG001 - a fake has the op's signature and looks at shapes alone

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from perce.objectives import Objective, get_objective
from perce.ops.backends import resolve_backend
from perce.ops.head import Head
from perce.ops.labels import check_labels
from perce.ops.precision import exact_products
from perce.ops.rows import Outcome, Rows, Wanted

_Tensors = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""The fields of :class:`perce.ops.rows.Outcome`; a schema knows no named tuples."""


def _head(weight: Tensor, bias: Tensor | None, scale: float, softcap: float | None) -> Head:
    return Head(weight.detach(), None if bias is None else bias.detach(), scale, softcap)


def _objective(name: str, params: list[float]) -> Objective | None:
    if not name:
        return None
    objective = get_objective(name)
    return objective.with_options(**dict(zip(objective.options, params, strict=True)))


@torch.library.custom_op("perce::linear_weighted_ce", mutates_args=())
def linear_weighted_ce_op(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor | None,
    logp_without: Tensor | None,
    logp_reference: Tensor | None,
    segment: Tensor | None,
    objective: str,
    params: list[float],
    logit_scale: float,
    logit_softcap: float | None,
    chunk_rows: int,
    grad_hidden: bool,
    grad_weight: bool,
    grad_bias: bool,
    backend: str,
) -> _Tensors:
    """An :class:`perce.ops.rows.Outcome`; ``objective`` is "" when ``weights`` are given.

    ``chunk_rows`` 0 is what fits the back end's budget; ``backend`` is what the user asked for: the
    device it means may have to load code, which no compiler should trace.
    """
    chosen = resolve_backend(backend, hidden.device)
    rows = Rows(
        hidden=hidden.detach(),
        labels=labels,
        chunk_rows=chunk_rows or chosen.chunk_rows(len(weight)),
        objective=_objective(objective, params),
        weights=weights,
        logp_without=logp_without,
        logp_reference=logp_reference,
        segment=segment,
    )
    with torch.autocast(hidden.device.type, enabled=False), exact_products(), torch.no_grad():
        head = _head(weight, bias, logit_scale, logit_softcap)
        wanted = Wanted(grad_hidden, grad_weight, grad_bias)
        return chosen.weighted_ce(head, rows, wanted)


@linear_weighted_ce_op.register_fake
def _(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    weights: Tensor | None,
    logp_without: Tensor | None,
    logp_reference: Tensor | None,
    segment: Tensor | None,
    objective: str,
    params: list[float],
    logit_scale: float,
    logit_softcap: float | None,
    chunk_rows: int,
    grad_hidden: bool,
    grad_weight: bool,
    grad_bias: bool,
    backend: str,
) -> _Tensors:
    def new(*shape: int) -> Tensor:
        return hidden.new_empty(shape, dtype=torch.float32)

    # Not len(): it would turn a dynamic size into a number, and every batch would compile anew.
    n = labels.shape[0]
    return Outcome(
        loss_sum=new(),
        logp=new(n),
        pir=new(0 if logp_without is None else n),
        weights=new(n),
        grad_hidden=new(*hidden.shape) if grad_hidden else new(0),
        grad_weight=new(*weight.shape) if grad_weight else new(0),
        grad_bias=new(weight.shape[0]) if grad_bias else new(0),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outcome) -> None:
    outcome = Outcome(*output)
    ctx.mark_non_differentiable(*outcome[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(outcome.grad_hidden, outcome.grad_weight, outcome.grad_bias)
    hidden, weight, bias = inputs[:3]
    ctx.dtypes = hidden.dtype, weight.dtype, None if bias is None else bias.dtype


@once_differentiable
def _backward(ctx: Any, grad_loss: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    grads: list[Tensor | None] = [None] * 17
    if grad_loss is not None:
        for i, (saved, dtype) in enumerate(zip(ctx.saved_tensors, ctx.dtypes, strict=True)):
            if ctx.needs_input_grad[i]:
                # Written in the wanted dtype at once: a scaled float32 copy of a head's gradient
                # would be 2.5 GB at 152k x 4096.
                scaled = torch.empty_like(saved, dtype=dtype)
                grads[i] = torch.mul(saved, grad_loss, out=scaled)
    return tuple(grads)


linear_weighted_ce_op.register_autograd(_backward, setup_context=_setup_context)


@torch.library.custom_op("perce::linear_logp", mutates_args=())
def linear_logp_op(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    logit_scale: float,
    logit_softcap: float | None,
    chunk_rows: int,
    backend: str,
) -> Tensor:
    """Log-probability of each label, float32 [N]."""
    check_labels(labels, len(weight))
    chosen = resolve_backend(backend, hidden.device)
    rows = Rows(
        hidden=hidden.detach(),
        labels=labels,
        chunk_rows=chunk_rows or chosen.chunk_rows(len(weight)),
    )
    with torch.autocast(hidden.device.type, enabled=False), exact_products(), torch.no_grad():
        head = _head(weight, bias, logit_scale, logit_softcap)
        return chosen.logp(head, rows)


@linear_logp_op.register_fake
def _(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    logit_scale: float,
    logit_softcap: float | None,
    chunk_rows: int,
    backend: str,
) -> Tensor:
    return hidden.new_empty(labels.shape[0], dtype=torch.float32)
