"""Heads of any vocabulary on any device, and how far the ops may be from float64 on them.

The yardstick is the plain way with float32 logits: the same products, log-softmax, the gradient of
the logits rounded once to the inputs' dtype. The ops may be at most twice as far from float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from perce.objectives import Signals, get_objective
from perce.ops import linear_logp, linear_weighted_ce

FLOAT32_BIT = torch.finfo(torch.float32).eps


@dataclass(repr=False)
class LargeHead:
    """Rows in front of a head, some of them ignored; logits of a few nats around 0."""

    hidden: Tensor
    weight: Tensor
    labels: Tensor
    signals: dict[str, Tensor]

    @property
    def columns(self) -> dict[str, Any]:
        return {
            "hidden": self.hidden,
            "weight": self.weight,
            "labels": self.labels,
            **self.signals,
        }


def large_head(
    vocab: int, *, n: int, width: int, dtype: torch.dtype, device: str, spread: float = 3.0
) -> LargeHead:
    """A head of that vocabulary; the same numbers on every call on a device."""
    generator = torch.Generator(device).manual_seed(vocab)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    labels = torch.randint(0, vocab, (n,), generator=generator, device=device)
    labels[:2] = torch.tensor([0, vocab - 1], device=device)
    labels[2::5] = -100
    return LargeHead(
        hidden=normal(n, width).to(dtype).requires_grad_(),
        weight=(normal(vocab, width) * spread / width**0.5).to(dtype).requires_grad_(),
        labels=labels,
        signals={
            "logp_without": -12 + 2 * normal(n),
            "logp_reference": -12 + 2 * normal(n),
            "segment": torch.arange(n, device=device) // 7,
        },
    )


class Results(NamedTuple):
    """What the ops are compared in."""

    logp: Tensor
    entropy: Tensor
    grad_hidden: Tensor
    grad_weight: Tensor


def product(left: Tensor, right: Tensor) -> Tensor:
    """A product with a float32 result, of half-precision factors as a device multiplies them."""
    if left.is_cuda and left.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()


def plain(head: LargeHead, weights: Tensor) -> Results:
    """The plain way: float32 logits, softmax, gradient of sum(-w * logp) in the inputs' dtype."""
    hidden, weight = head.hidden.detach(), head.weight.detach()
    every = torch.log_softmax(product(hidden, weight.t()), 1)
    gradient, logp, entropy = _from_log_softmax(every, head.labels, weights)
    gradient = gradient.to(hidden.dtype)
    return Results(logp, entropy, product(gradient, weight), product(gradient.t(), hidden))


def exact(head: LargeHead, weights: Tensor) -> Results:
    """The same in float64."""
    hidden, weight = head.hidden.detach().double(), head.weight.detach().double()
    every = torch.log_softmax(hidden @ weight.t(), 1)
    gradient, logp, entropy = _from_log_softmax(every, head.labels, weights)
    return Results(logp, entropy, gradient @ weight, gradient.t() @ hidden)


def _from_log_softmax(every: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    ignored = labels == -100
    target = labels.masked_fill(ignored, 0)[:, None]
    logp = every.gather(1, target).squeeze(1).masked_fill(ignored, 0.0)
    probability = every.exp()
    entropy = -(probability * every).sum(1)
    probability.scatter_add_(1, target, probability.new_full(target.shape, -1.0))
    return probability.mul_(weights[:, None]), logp, entropy


def distance(found: Tensor, wanted: Tensor) -> float:
    """Euclidean, relative to what is wanted."""
    return float((found.double() - wanted).norm() / wanted.norm())


def check_accuracy(head: LargeHead, name: str, *, chunk_rows: int | None = None) -> None:
    """Log-probabilities, weights and gradients under an objective, against the yardstick."""
    objective = get_objective(name)
    options = {"normalize": "tokens", "num_items": 1, "chunk_rows": chunk_rows}
    result = linear_weighted_ce(**head.columns, objective=name, **options)
    result.loss.backward()
    weights = result.weights
    wanted, yardstick = exact(head, weights), plain(head, weights)
    found = (result.logp, head.hidden.grad, head.weight.grad)
    for one, best, usual in zip(
        found, (wanted.logp, *wanted[2:]), (yardstick.logp, *yardstick[2:]), strict=True
    ):
        # A gradient is returned in its input's dtype, the yardstick's like ours. The last bit of
        # float32 is a matter of luck.
        assert distance(one, best) <= 2 * distance(usual.to(one.dtype), best) + FLOAT32_BIT
    signals = {
        key: value.masked_fill(head.labels == -100, -1) if key == "segment" else value
        for key, value in head.signals.items()
    }
    expected = objective(
        Signals(logp_with=wanted.logp.float(), entropy=wanted.entropy.float(), **signals)
    )
    expected = expected.masked_fill(head.labels == -100, 0.0)
    assert torch.allclose(weights, expected, rtol=1e-4, atol=1e-4)
    assert weights.any()


def check_influence(head: LargeHead) -> None:
    """PIR within 1e-4 nats of float64's, from two passes over different states."""
    other = LargeHead(head.hidden.detach().flip(1), head.weight, head.labels, {})
    none = torch.zeros(len(head.labels), device=head.labels.device)
    without = linear_logp(other.hidden, other.weight, other.labels)
    result = linear_weighted_ce(head.hidden, head.weight, head.labels, logp_without=without)
    wanted = exact(head, none).logp - exact(other, none).logp
    assert result.pir is not None
    assert float((result.pir - wanted).abs().max()) < 1e-4
    assert float(wanted.abs().max()) > 1
    same = linear_logp(head.hidden, head.weight, head.labels)
    result = linear_weighted_ce(head.hidden, head.weight, head.labels, logp_without=same)
    assert not result.pir.any()
