"""The CUDA back end's less trodden ways, each as a check on a device of one's choice."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import torch
from large_head import check_accuracy, large_head
from torch import Tensor

from perce import objectives
from perce.objectives import Scope, Signals, register_objective
from perce.ops import head, linear_logp, linear_weighted_ce


def check_an_objective_of_the_users_own(device: str, scope: Scope) -> None:
    """Weights by PyTorch's operations between two launches."""
    given = large_head(1031, n=20, width=32, dtype=torch.bfloat16, device=device)
    with mock.patch.dict(objectives._TABLE):

        @register_objective("own", needs=["logp_without", "entropy"], scope=scope)
        def own(signals: Signals) -> Tensor:
            return signals.require("entropy") + signals.pir.abs()

        check_accuracy(given, "own", chunk_rows=8)


def check_a_head_of_another_precision(device: str) -> None:
    """A bfloat16 head below float32 states: float32 slices of the vocabulary, one after another."""
    low = large_head(1031, n=20, width=32, dtype=torch.bfloat16, device=device)
    given = replace(low, hidden=(low.hidden.detach().float() * 1.1).requires_grad_())
    with mock.patch.object(head, "SLICE_BYTES", 4 * 32 * 300):
        check_accuracy(given, "perce", chunk_rows=8)


def check_nothing_counts(device: str, n: int) -> None:
    """No row, or none that counts: loss and gradients 0."""
    hidden, weight, bias = (
        torch.randn(shape, device=device, requires_grad=True) for shape in ((n, 2), (4, 2), (4,))
    )
    labels = torch.full((n,), -100, device=device)
    result = linear_weighted_ce(hidden, weight, labels, bias=bias, objective="ce")
    result.loss.backward()
    assert float(result.loss.detach()) == 0
    assert not any(tensor.grad.any() for tensor in (hidden, weight, bias))
    assert linear_logp(hidden, weight, labels).shape == (n,)
