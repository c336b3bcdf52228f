"""The linear ops against a float64 oracle, their twin and transformers, on random problems."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from closeness import FLOAT32, error, gradient_error
from hypothesis import given
from hypothesis import strategies as st
from problems import Problem, check_against_oracle, problems
from torch import Tensor
from transformers.loss.loss_utils import ForCausalLMLoss

import oracles
from perce.objectives import get_objective, objective_names
from perce.ops import linear_logp, linear_weighted_ce, weighted_ce


@pytest.mark.parametrize("name", objective_names())
@given(problem=problems())
def test_equals_oracle(name: str, problem: Problem) -> None:
    check_against_oracle(problem, name)


@given(problem=problems(dtype=torch.bfloat16))
def test_bfloat16_inputs_are_computed_in_float32(problem: Problem) -> None:
    result = problem.op(objective="perce", logp_without=problem.logp_without)
    items = max(int((problem.labels != -100).sum()), 1)
    wanted = problem.oracle(result.weights, items)
    assert error(result.logp, wanted.logp) < FLOAT32
    assert error(result.loss.detach(), wanted.loss) < FLOAT32
    result.loss.backward()
    # Rounded to bfloat16 once, at the end: half a unit in the last of its 8 bits.
    for found, exact in (
        (problem.hidden.grad, wanted.grad_hidden),
        (problem.weight.grad, wanted.grad_weight),
    ):
        assert found.dtype == torch.bfloat16
        floor = problem.gradient_floor(result.weights, items)
        assert gradient_error(found, exact, floor) < 2**-8


def test_float16_gradients_survive_a_loss_scale() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(9, 16).half().requires_grad_()
    weight = (torch.randn(50, 16) / 50).half()
    labels = torch.randint(0, 50, (9,))
    result = linear_weighted_ce(hidden, weight, labels, objective="ce", num_items=1e5)
    (result.loss * 65536).backward()
    wanted = oracles.weighted_ce(hidden, weight, labels, torch.ones(9), 1e5 / 65536).grad_hidden
    # Saved in float16 before the scale, gradients of 1e-7 would have lost most of their bits.
    assert gradient_error(hidden.grad, wanted) < 2**-10


@given(problem=problems(), data=st.data())
def test_given_weights(problem: Problem, data: st.DataObject) -> None:
    n = len(problem.labels)
    weights = torch.tensor(data.draw(st.lists(st.floats(0, 9, width=32), min_size=n, max_size=n)))
    normalize = data.draw(st.sampled_from(["tokens", "weight"]))
    result = problem.op(weights=weights, normalize=normalize)
    counted = weights.masked_fill(problem.labels == -100, 0.0)
    divisor = float(counted.sum()) if normalize == "weight" else (problem.labels != -100).sum()
    wanted = problem.oracle(counted, float(divisor) or 1.0)
    assert result.pir is None
    assert torch.equal(result.weights, counted)
    assert error(result.loss.detach(), wanted.loss) < FLOAT32
    result.loss.backward()
    floor = problem.gradient_floor(counted, float(divisor) or 1.0)
    assert gradient_error(problem.hidden.grad, wanted.grad_hidden, floor) < FLOAT32


@pytest.mark.parametrize("name", objective_names())
@given(problem=problems(), scale=st.sampled_from([1.0, -2.5]))
def test_equals_plain_twin(name: str, problem: Problem, scale: float) -> None:
    inputs = [problem.hidden, problem.weight]
    result = problem.op(objective=name, **problem.signals)
    found = torch.autograd.grad(result.loss * scale, inputs)
    logits = oracles.head_logits(problem.hidden, problem.weight, problem.bias, **problem.head)
    twin = weighted_ce(logits, problem.labels, objective=name, **problem.signals)
    wanted = torch.autograd.grad(twin.loss * scale, inputs)
    assert error(result.logp, twin.logp) < FLOAT32
    assert error(result.weights, twin.weights) < 1e-4
    assert error(result.loss.detach(), twin.loss.detach()) < 1e-4
    by_weight = get_objective(name).normalize == "weight"
    divisor = float(result.sum_weights if by_weight else (problem.labels != -100).sum()) or 1.0
    floor = abs(scale) * problem.gradient_floor(result.weights, divisor)
    for one, other in zip(found, wanted, strict=True):
        assert gradient_error(one, other, floor) < 1e-4


@given(problem=problems())
def test_ce_equals_transformers(problem: Problem) -> None:
    if not (problem.labels != -100).any():
        return
    result = problem.op(objective="ce")
    logits = oracles.head_logits(problem.hidden, problem.weight, problem.bias, **problem.head)
    labels = problem.labels[None]
    items = (labels != -100).sum()
    theirs = ForCausalLMLoss(
        logits[None], labels, logits.shape[1], num_items_in_batch=items, shift_labels=labels
    )
    assert error(result.loss.detach(), theirs.detach()) < 1e-6
    assert error(result.loss.detach(), F.cross_entropy(logits, problem.labels).detach()) < 1e-6
    (found,) = torch.autograd.grad(result.loss, problem.hidden)
    (wanted,) = torch.autograd.grad(theirs, problem.hidden)
    floor = problem.gradient_floor(result.weights, float(items))
    assert gradient_error(found, wanted, floor) < FLOAT32


@given(problem=problems())
def test_chunks_change_nothing_but_rounding(problem: Problem) -> None:
    whole = linear_weighted_ce(problem.hidden, problem.weight, problem.labels, objective="dft")
    parts = linear_weighted_ce(
        problem.hidden,
        problem.weight,
        problem.labels,
        objective="dft",
        chunk_rows=problem.chunk_rows,
    )
    assert error(parts.loss.detach(), whole.loss.detach()) < 1e-6
    assert error(parts.logp, whole.logp) < 1e-6


@given(problem=problems())
def test_equal_hidden_states_have_no_influence(problem: Problem) -> None:
    options = {"bias": problem.bias, "chunk_rows": problem.chunk_rows, **problem.head}
    without = linear_logp(problem.hidden, problem.weight, problem.labels, **options)
    assert not without.requires_grad
    result = problem.op(objective="perce", logp_without=without)
    assert torch.equal(result.logp, without)
    assert result.pir is not None
    assert not result.pir.any()


def test_the_tolerances_reject_zeros() -> None:
    torch.manual_seed(0)
    hidden, weight, labels = torch.randn(6, 4), torch.randn(9, 4), torch.randint(0, 9, (6,))
    exact = oracles.weighted_ce(hidden, weight, labels, torch.ones(6), 6)
    for wanted in (exact.logp, exact.loss, exact.entropy):
        assert error(torch.zeros_like(wanted), wanted) > 0.5
    for wanted in (exact.grad_hidden, exact.grad_weight, exact.grad_bias):
        assert gradient_error(torch.zeros_like(wanted), wanted) > 0.5


def test_gradient_against_differences() -> None:
    torch.manual_seed(1)
    hidden = torch.randn(5, 4, requires_grad=True)
    weight, labels = torch.randn(11, 4), torch.randint(0, 11, (5,))
    weights = torch.rand(5)

    def loss(states: Tensor) -> float:
        return float(
            linear_weighted_ce(states, weight, labels, weights=weights, logit_softcap=3.0).loss
        )

    linear_weighted_ce(hidden, weight, labels, weights=weights, logit_softcap=3.0).loss.backward()
    direction = torch.randn(5, 4)
    step = 1e-2
    with torch.no_grad():
        slope = (loss(hidden + step * direction) - loss(hidden - step * direction)) / (2 * step)
    assert slope == pytest.approx(float((hidden.grad * direction).sum()), rel=2e-3)
