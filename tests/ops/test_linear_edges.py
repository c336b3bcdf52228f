"""The linear ops where something is missing, empty, extreme or split."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from closeness import FLOAT32, error, gradient_error
from torch import Tensor

import oracles
from perce.ops import linear_logp, linear_weighted_ce, weighted_ce
from perce.ops.head import BLOCK_BYTES, row_blocks


@pytest.mark.parametrize("trainable", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 0, 0)])
def test_only_wanted_gradients(trainable: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    tensors = [torch.randn(7, 3), torch.randn(13, 3), torch.randn(13)]
    for tensor, wanted in zip(tensors, trainable, strict=True):
        tensor.requires_grad_(bool(wanted))
    hidden, weight, bias = tensors
    labels = torch.randint(0, 13, (7,))
    result = linear_weighted_ce(hidden, weight, labels, bias=bias, objective="ce", chunk_rows=3)
    assert result.loss.requires_grad == any(trainable)
    if any(trainable):
        result.loss.backward()
    exact = oracles.weighted_ce(hidden, weight, labels, torch.ones(7), 7, bias=bias)
    for tensor, wanted, gradient in zip(tensors, trainable, exact[3:], strict=True):
        if wanted:
            assert gradient_error(tensor.grad, gradient) < FLOAT32
        else:
            assert tensor.grad is None


@pytest.mark.parametrize("items", [40, 40.0, torch.tensor(40), torch.tensor(40.0)])
def test_num_items_is_the_divisor(items: float | Tensor) -> None:
    torch.manual_seed(3)
    hidden, weight = torch.randn(8, 3), torch.randn(5, 3)
    labels = torch.tensor([0, 1, 2, 3, 4, -100, 0, 1])
    own = linear_weighted_ce(hidden, weight, labels, objective="ce").loss
    step = linear_weighted_ce(hidden, weight, labels, objective="ce", num_items=items).loss
    assert float(step) == pytest.approx(float(own) * 7 / 40, rel=1e-6)
    assert step.dim() == 0
    assert step.dtype == torch.float32


def test_micro_batches_add_up_to_the_step() -> None:
    torch.manual_seed(4)
    hidden = torch.randn(20, 6, requires_grad=True)
    weight, labels, without = torch.randn(30, 6), torch.randint(0, 30, (20,)), -torch.rand(20) * 6
    labels[[3, 4, 11]] = -100
    whole = linear_weighted_ce(hidden, weight, labels, logp_without=without)
    (wanted,) = torch.autograd.grad(whole.loss, hidden)
    total = 0.0
    for part in (slice(0, 3), slice(3, 5), slice(5, 14), slice(14, 20)):
        result = linear_weighted_ce(
            hidden[part], weight, labels[part], logp_without=without[part], num_items=17
        )
        result.loss.backward()
        total += float(result.loss.detach())
    assert total == pytest.approx(float(whole.loss.detach()), rel=1e-6)
    assert gradient_error(hidden.grad, wanted) < 1e-6


@pytest.mark.parametrize("normalize", ["tokens", "weight"])
def test_a_batch_in_which_nothing_counts(normalize: Any) -> None:
    hidden = torch.randn(3, 2, requires_grad=True)
    labels = torch.full((3,), -100)
    result = linear_weighted_ce(
        hidden, torch.randn(4, 2), labels, objective="ce", normalize=normalize
    )
    result.loss.backward()
    assert float(result.loss.detach()) == 0
    assert not hidden.grad.any()
    empty = linear_weighted_ce(hidden[:0], torch.randn(4, 2), labels[:0], objective="ce")
    assert float(empty.loss.detach()) == 0


def test_a_softcap_keeps_the_gradient_of_a_hopeless_target() -> None:
    """Its exponential underflows, 175 nats under the maximum, and its slope must not."""
    hidden = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[400.0], [-100.0], [50.0]], requires_grad=True)
    labels = torch.tensor([1])
    result = linear_weighted_ce(hidden, weight, labels, objective="ce", logit_softcap=100.0)
    result.loss.backward()
    exact = oracles.weighted_ce(hidden, weight, labels, torch.ones(1), 1, logit_softcap=100.0)
    assert exact.logp < -170
    assert gradient_error(hidden.grad, exact.grad_hidden) < FLOAT32
    assert gradient_error(weight.grad, exact.grad_weight) < FLOAT32


def test_a_weight_of_zero_silences_an_impossible_token() -> None:
    logits = torch.tensor([[0.0, -torch.inf], [0.0, 1.0]])
    labels, weights = torch.tensor([1, 0]), torch.tensor([0.0, 1.0])
    twin = weighted_ce(logits, labels, weights=weights)
    head = {"bias": logits[0], "weights": weights}
    linear = linear_weighted_ce(torch.ones(2, 1), torch.zeros(2, 1), labels, **head)
    assert twin.logp[0] == linear.logp[0] == -torch.inf
    assert float(twin.loss) == pytest.approx(-float(twin.logp[1]) / 2)
    assert float(linear.loss) == pytest.approx(-float(linear.logp[1]) / 2)


def test_large_offsets_cancel_nothing() -> None:
    hidden = torch.eye(2)
    weight = torch.tensor([[0.0, 0.0], [1.0, 0.5], [0.25, 0.0]])
    labels = torch.tensor([1, 0])
    near = linear_logp(hidden, weight, labels)
    far = linear_logp(hidden, weight, labels, bias=torch.full((3,), 2.0**20))
    assert torch.equal(near, far)


def test_a_forbidden_token_has_probability_zero() -> None:
    bias = torch.tensor([0.0, -torch.inf, 0.0])
    hidden = torch.randn(2, 4, requires_grad=True)
    weight, labels = torch.randn(3, 4), torch.tensor([0, 2])
    result = linear_weighted_ce(hidden, weight, labels, bias=bias, objective="entce")
    result.loss.backward()
    kept = weight[[0, 2]]
    wanted = oracles.weighted_ce(hidden, kept, torch.tensor([0, 1]), result.weights, 2)
    assert error(result.weights, wanted.entropy) < FLOAT32
    assert gradient_error(hidden.grad, wanted.grad_hidden) < FLOAT32


def test_rows_are_cut_for_a_cpus_cache_only() -> None:
    shape = (6, BLOCK_BYTES // 4 // 2)
    assert list(row_blocks(torch.empty(shape))) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    # On a device a launch is dearer than what the cache saves.
    assert list(row_blocks(torch.empty(shape, device="meta"))) == [slice(0, 6)]
    assert not list(row_blocks(torch.empty(0, 3, device="meta")))
