"""The ops as people call them: checked arguments in, named results out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from perce.errors import ObjectiveError, OptionError
from perce.objectives import Normalize, Objective, get_objective
from perce.ops.head import IGNORE_INDEX
from perce.ops.library import linear_logp_op, linear_weighted_ce_op


class WeightedCE(NamedTuple):
    """Result of a weighted cross-entropy over N response rows.

    Attributes:
        loss: float32 0-d, -sum(weights * logp) / n or / sum(weights); the only field that carries a
            gradient.
        logp: float32 [N], log-probability of each label in nats; 0 where ignored.
        pir: float32 [N], logp - logp_without; 0 where ignored; None without ``logp_without``.
        weights: float32 [N]; 0 where ignored.
        sum_weights: float32 0-d.
    """

    loss: Tensor
    logp: Tensor
    pir: Tensor | None
    weights: Tensor
    sum_weights: Tensor


def choose_objective(
    objective: str | Objective | None, weights: Tensor | None, normalize: Normalize | None
) -> tuple[Objective | None, Normalize]:
    """Settle what makes the weights and what the loss is divided by.

    Raises:
        ObjectiveError: Both an objective and weights, or an objective that is not the registered
            one.
        OptionError: An unknown ``normalize``.
    """
    if normalize not in (None, "tokens", "weight"):
        raise OptionError("normalize", f"{normalize!r} is unknown: use 'tokens' or 'weight'")
    if weights is not None:
        if objective is not None:
            raise ObjectiveError("both an objective and weights are given: give one of them")
        return None, normalize or "tokens"
    chosen = objective if isinstance(objective, Objective) else get_objective(objective or "perce")
    if get_objective(chosen.name).function is not chosen.function:
        raise ObjectiveError(
            f"objective {chosen.name!r} is not the one registered under that name: "
            "register it with register_objective(..., replace=True)"
        )
    return chosen, normalize or chosen.normalize


def finish(
    loss_sum: Tensor,
    logp: Tensor,
    pir: Tensor | None,
    weights: Tensor,
    labels: Tensor,
    normalize: Normalize,
    num_items: float | Tensor | None,
) -> WeightedCE:
    """Divide the summed loss; a batch in which nothing counts has loss 0."""
    sum_weights = weights.sum()
    if normalize == "weight":
        if num_items is not None:
            raise OptionError(
                "num_items", "means nothing with normalize='weight': leave one of them out"
            )
        divisor = sum_weights
    elif num_items is None:
        divisor = (labels != IGNORE_INDEX).sum()
    elif isinstance(num_items, Tensor):
        if num_items.dim() != 0:
            raise OptionError("num_items", f"a 0-d tensor is needed, got {list(num_items.shape)}")
        # From the CPU a copy that is not waited for, from a device one that must be.
        on_cpu = num_items.device.type == "cpu"
        divisor = num_items.to(loss_sum.device, non_blocking=on_cpu)
    else:
        if not (math.isfinite(num_items) and num_items > 0):
            raise OptionError("num_items", f"{num_items} tokens: give a number above 0")
        return WeightedCE(loss_sum / num_items, logp, pir, weights, sum_weights)
    divisor = torch.where(divisor > 0, divisor, 1.0).to(torch.float32)
    return WeightedCE(loss_sum / divisor, logp, pir, weights, sum_weights)


def check_rows(labels: Tensor, **columns: Tensor | None) -> None:
    """Check that labels are int64 [N] and that every other column has one entry a label.

    Raises:
        OptionError: Names the argument and both shapes.
    """
    if labels.dim() != 1 or labels.dtype != torch.int64:
        raise OptionError("labels", f"int64 [N] is needed, got {labels.dtype} {list(labels.shape)}")
    for name, column in columns.items():
        if column is not None and column.shape != labels.shape:
            raise OptionError(
                name, f"has shape {list(column.shape)}: {list(labels.shape)} is needed"
            )


def _check_head(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, softcap: float | None
) -> None:
    if weight.dim() != 2 or not weight.is_floating_point():
        raise OptionError(
            "weight", f"floating [V, H] is needed, got {weight.dtype} {list(weight.shape)}"
        )
    if hidden.shape != (len(labels), weight.shape[1]) or not hidden.is_floating_point():
        wanted = [len(labels), weight.shape[1]]
        raise OptionError(
            "hidden", f"floating {wanted} is needed, got {hidden.dtype} {list(hidden.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise OptionError("bias", f"has shape {list(bias.shape)}: {[len(weight)]} is needed")
    if softcap is not None and not softcap > 0:
        raise OptionError("logit_softcap", f"{softcap}: give a number above 0, or None for no cap")


def _check_devices(hidden: Tensor, **tensors: Tensor | None) -> None:
    for name, tensor in {"hidden": hidden, **tensors}.items():
        # By what it has: torch.distributed takes long to import.
        if hasattr(tensor, "full_tensor"):
            raise OptionError(
                name,
                "is a DTensor: call the op inside the forward of the module that holds it, where "
                "FSDP2 has it whole, or pass its full_tensor()",
            )
        if tensor is not None and tensor.device != hidden.device:
            raise OptionError(
                name, f"is on {tensor.device}, hidden on {hidden.device}: move it there"
            )


def _chunk_rows(chunk_rows: int | None) -> int:
    """The op's own word for the default is 0."""
    if chunk_rows is None:
        return 0
    if chunk_rows < 1:
        raise OptionError("chunk_rows", f"{chunk_rows}: give at least 1")
    return chunk_rows


def _column(column: Tensor | None) -> Tensor | None:
    return None if column is None else column.detach().to(torch.float32)


def linear_weighted_ce(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    objective: str | Objective | None = None,
    weights: Tensor | None = None,
    logp_without: Tensor | None = None,
    logp_reference: Tensor | None = None,
    segment: Tensor | None = None,
    num_items: float | Tensor | None = None,
    normalize: Normalize | None = None,
    logit_scale: float = 1.0,
    logit_softcap: float | None = None,
    chunk_rows: int | None = None,
    backend: str = "auto",
) -> WeightedCE:
    """Weighted cross-entropy from hidden states; the logits exist one chunk at a time.

    Loss, log-probabilities, PIR, weights and all gradients come out of one pass, from float32
    logits whatever the dtype of the inputs and whatever autocast says. The backward scales the
    gradients and recomputes nothing. Weights are constants to the gradient. It holds float32
    gradients of ``hidden`` (and of ``weight``, if it trains) until the backward.

    On CUDA, ``hidden`` and ``weight`` of one low precision meet in tensor cores, and the logits'
    gradient is rounded to that precision before it meets them again; any other pair is computed in
    float32 throughout, ten times slower on a large device.

    Args:
        hidden: [N, H], floating: the states that predict the N response tokens.
        weight: [V, H], floating: the head. Its gradient is computed only if it requires one.
        labels: int64 [N]; -100 ignores a row: log-probability, weight and gradient 0.
        bias: [V] or None.
        objective: What makes the weights, by name or as :class:`~perce.objectives.Objective`;
            "perce" unless ``weights`` are given.
        weights: float [N], finite and at least 0, instead of an objective.
        logp_without: float32 [N], the same labels without the profile, from :func:`linear_logp`.
        logp_reference: float32 [N], the same labels under a frozen reference.
        segment: int64 [N], the record of each row, for objectives of record scope.
        num_items: What the loss is divided by: the response tokens of the whole optimizer step.
            Default: the labels of this call that are not -100. A 0-d tensor is used without waiting
            for the device.
        normalize: "tokens" divides by ``num_items``, "weight" by this call's sum of weights.
            Default: the objective's own.
        logit_scale: Factor of the logits, before the softcap.
        logit_softcap: c in c * tanh(logit / c), or None.
        chunk_rows: Rows of logits in memory at once. Default: as many as fit in 128 MiB ("torch")
            or in 1.25 GB ("cuda": 2048 rows at a vocabulary of 152k).
        backend: "cuda" (our kernels; CUDA tensors), "torch" (any device) or "auto": "cuda" for CUDA
            tensors where its kernels can run, and a warning where they cannot.

    Returns:
        :class:`WeightedCE`; only ``loss`` carries a gradient.

    Raises:
        ObjectiveError: An unknown objective, a missing signal, negative weights.
        LabelError: A label outside the vocabulary (on the CPU; elsewhere that row, and so the loss,
            is NaN).
        OptionError: A shape, dtype, device or option that cannot work.
        KernelError: ``backend="cuda"`` where the kernels cannot run.
    """
    columns = {
        "weights": weights,
        "logp_without": logp_without,
        "logp_reference": logp_reference,
        "segment": segment,
    }
    check_rows(labels, **columns)
    _check_head(hidden, weight, bias, labels, logit_softcap)
    _check_devices(hidden, weight=weight, bias=bias, labels=labels, **columns)
    chosen, normalize = choose_objective(objective, weights, normalize)
    grad = torch.is_grad_enabled()
    loss_sum, logp, pir, used, _, _, _ = linear_weighted_ce_op(
        hidden,
        weight,
        bias,
        labels,
        _column(weights),
        _column(logp_without),
        _column(logp_reference),
        segment,
        "" if chosen is None else chosen.name,
        [] if chosen is None else list(chosen.options.values()),
        float(logit_scale),
        None if logit_softcap is None else float(logit_softcap),
        _chunk_rows(chunk_rows),
        grad and hidden.requires_grad,
        grad and weight.requires_grad,
        grad and bias is not None and bias.requires_grad,
        backend,
    )
    return finish(
        loss_sum,
        logp.detach(),
        None if logp_without is None else pir.detach(),
        used.detach(),
        labels,
        normalize,
        num_items,
    )


def linear_logp(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    bias: Tensor | None = None,
    logit_scale: float = 1.0,
    logit_softcap: float | None = None,
    chunk_rows: int | None = None,
    backend: str = "auto",
) -> Tensor:
    """Log-probability of each label, float32 [N], without gradient.

    Arguments are those of :func:`linear_weighted_ce`. It takes the very same way to the logits, bit
    for bit, so that equal hidden states give a PIR of exactly 0.

    Raises:
        LabelError: A label outside the vocabulary (on the CPU; elsewhere that row is NaN).
        OptionError: A shape, dtype, device or option that cannot work.
        KernelError: ``backend="cuda"`` where the kernels cannot run.
    """
    check_rows(labels)
    _check_head(hidden, weight, bias, labels, logit_softcap)
    _check_devices(hidden, weight=weight, bias=bias, labels=labels)
    logp: Tensor = linear_logp_op(
        hidden.detach(),
        weight.detach(),
        None if bias is None else bias.detach(),
        labels,
        float(logit_scale),
        None if logit_softcap is None else float(logit_softcap),
        _chunk_rows(chunk_rows),
        backend,
    )
    return logp
