"""Slow, obvious float64 oracles of losses and objectives, for tests and as a benchmark's peer.

Nothing here shares code with the package: logits are whole, weights come from Python loops,
gradients from autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

IGNORE_INDEX = -100


class TokenSignals(NamedTuple):
    """The signals of one token, as Python floats (nats)."""

    logp_with: float
    logp_without: float = 0.0
    logp_reference: float = 0.0
    entropy: float = 0.0


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _pir(token: TokenSignals) -> float:
    return token.logp_with - token.logp_without


def _p_gap(token: TokenSignals) -> float:
    return math.exp(token.logp_with) - math.exp(token.logp_without)


TOKEN_WEIGHTS: dict[str, Callable[..., float]] = {
    "ce": lambda token: 1.0,
    "perce": lambda token, clip_min=0.8, clip_max=5.0: _clip(_pir(token), clip_min, clip_max),
    "longce": lambda token, gamma=5.0: min(math.exp(_pir(token)), gamma),
    "entce": lambda token: max(token.entropy, 0.0),
    "dft": lambda token: math.exp(token.logp_with),
    "nextquill": lambda token, alpha=0.9, threshold=0.05: (
        alpha if _p_gap(token) > threshold else 1 - alpha
    ),
}


def lossce_weights(tokens: Sequence[TokenSignals], top_k: float = 60.0) -> list[float]:
    """Rho-1 within a record: 1 on the ceil(top_k %) tokens of highest excess loss, ties too."""
    excess = [token.logp_reference - token.logp_with for token in tokens]
    kept = math.ceil(len(tokens) * top_k / 100)
    last = sorted(excess, reverse=True)[kept - 1]
    return [float(e >= last) for e in excess]


def objective_weights(
    name: str, tokens: Sequence[TokenSignals], segment: Sequence[int], **options: float
) -> list[float]:
    """Weights of N tokens under one of the package's objectives."""
    if name != "lossce":
        return [TOKEN_WEIGHTS[name](token, **options) for token in tokens]
    weights = [0.0] * len(tokens)
    for record in set(segment):
        rows = [i for i, s in enumerate(segment) if s == record]
        for i, w in zip(rows, lossce_weights([tokens[i] for i in rows], **options), strict=True):
            weights[i] = w
    return weights


class HeadResult(NamedTuple):
    """float64 results of a head over N rows."""

    logp: Tensor
    entropy: Tensor
    loss: Tensor
    grad_hidden: Tensor
    grad_weight: Tensor
    grad_bias: Tensor


def head_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    logit_scale: float = 1.0,
    logit_softcap: float | None = None,
) -> Tensor:
    """Logits [N, V], in the dtype of the inputs."""
    logits = hidden @ weight.T
    if bias is not None:
        logits = logits + bias
    logits = logits * logit_scale
    if logit_softcap is not None:
        logits = logit_softcap * torch.tanh(logits / logit_softcap)
    return logits


def weighted_ce(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    weights: Tensor,
    divisor: float,
    *,
    bias: Tensor | None = None,
    logit_scale: float = 1.0,
    logit_softcap: float | None = None,
) -> HeadResult:
    """Loss and gradients of sum(-w * logp) / divisor, w constant, in float64 by autograd."""
    h = hidden.detach().double().requires_grad_()
    w = weight.detach().double().requires_grad_()
    b = torch.zeros(len(weight), device=weight.device) if bias is None else bias
    b = b.detach().double().requires_grad_()
    every = torch.log_softmax(head_logits(h, w, b, logit_scale, logit_softcap), 1)
    counted = labels != IGNORE_INDEX
    logp = torch.stack([every[i, max(label, 0)] * (label >= 0) for i, label in enumerate(labels)])
    loss = -(weights.detach().double() * logp).sum() / divisor
    grads = torch.autograd.grad(loss, (h, w, b))
    entropy = -(every.exp() * every).sum(1).masked_fill(~counted, 0.0)
    return HeadResult(logp.detach(), entropy.detach(), loss.detach(), *grads)


def fixed_point(p: float, values: int, clip_min: float, clip_max: float) -> float:
    """PerCE's optimum on a slot of ``values`` choices that follows the profile with probability p.

    p* = pW / (pW + (1 - p) m) with W = clip(ln(p* K), m, M): found by iteration, from above.
    """
    found = 1.0
    for _ in range(10_000):
        w = _clip(math.log(found * values), clip_min, clip_max)
        found = p * w / (p * w + (1 - p) * clip_min)
    return found
