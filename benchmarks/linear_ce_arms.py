"""The rivals of benchmarks/linear_ce.py: ways from hidden states to a cross-entropy's gradients.

Each arm is a function of (hidden [N, H], weight [V, H], labels [N], logp_without [N]) that returns
the loss, which carries a gradient. A rival that cannot be imported is told of, and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from perce.ops import linear_weighted_ce

Arm = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def perce(hidden: Tensor, weight: Tensor, labels: Tensor, logp_without: Tensor) -> Tensor:
    """PerCE: log-probabilities, PIR and weights on top of what the others do."""
    return linear_weighted_ce(hidden, weight, labels, logp_without=logp_without).loss


def perce_ce(hidden: Tensor, weight: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    """Plain cross-entropy by our op: what the others compute."""
    return linear_weighted_ce(hidden, weight, labels, objective="ce").loss


def plain(hidden: Tensor, weight: Tensor, labels: Tensor, _: Tensor) -> Tensor:
    """Whole logits, as most training code has them."""
    return F.cross_entropy(F.linear(hidden, weight).float(), labels)


def arms(device: str) -> Iterator[tuple[str, Arm | None]]:
    """All arms for a device by name; None where the rival is not installed."""
    yield "perce", perce
    yield "perce, CE", perce_ce
    yield "plain PyTorch", plain
    yield "F.linear_cross_entropy", _torch_chunked()
    if device == "cuda":
        yield "Liger", _liger()
        yield "CCE", _cce()
        yield "QuACK", _quack()


def _torch_chunked() -> Arm | None:
    """Torch's own, from 2.13 on, in its chunked form; without options it makes whole logits."""
    if not hasattr(F, "linear_cross_entropy"):
        return None
    options = torch.nn.LinearCrossEntropyOptions()
    return lambda hidden, weight, labels, _: F.linear_cross_entropy(
        hidden, weight, labels, options=options
    )


def _liger() -> Arm | None:
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError:
        return None
    loss = LigerFusedLinearCrossEntropyLoss()
    return lambda hidden, weight, labels, _: loss(weight, hidden, labels)


def _cce() -> Arm | None:
    try:
        from cut_cross_entropy import linear_cross_entropy
    except ImportError:
        return None
    return lambda hidden, weight, labels, _: linear_cross_entropy(hidden, weight, labels)


def _quack() -> Arm | None:
    try:
        from quack.linear_cross_entropy import chunked_linear_cross_entropy
    except ImportError:
        return None
    return lambda hidden, weight, labels, _: chunked_linear_cross_entropy(hidden, weight, labels)
