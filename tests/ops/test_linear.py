"""The linear ops against a float64 oracle, their twin and transformers, and their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.loss.loss_utils import ForCausalLMLoss

import oracles
from perce.errors import LabelError, ObjectiveError, OptionError
from perce.objectives import get_objective, objective_names
from perce.ops import WeightedCE, linear_logp, linear_weighted_ce, weighted_ce

FLOAT32 = 2e-5
"""Error allowed in float32, relative to the largest value there is."""


def error(found: Tensor, wanted: Tensor, floor: float = 1.0) -> float:
    """Largest difference relative to the largest value, or to ``floor`` where all are smaller.

    The floor is the size of what was subtracted: a log-probability near 0 is the difference of
    logits near 1, a gradient near 0 that of probabilities near 1.
    """
    if not wanted.numel():
        return 0.0
    scale = max(float(wanted.abs().max()), floor)
    return float((found.double() - wanted.double()).abs().max()) / scale


def gradient_error(found: Tensor | None, wanted: Tensor, floor: float = 0.1) -> float:
    assert found is not None
    return error(found, wanted, floor)


@dataclass(repr=False)
class Problem:
    """Random rows in front of a random head."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    labels: Tensor
    logp_without: Tensor
    logp_reference: Tensor
    segment: Tensor
    head: dict[str, Any]
    chunk_rows: int

    @property
    def signals(self) -> dict[str, Any]:
        return {
            "logp_without": self.logp_without,
            "logp_reference": self.logp_reference,
            "segment": self.segment,
        }

    def gradient_floor(self, weights: Tensor, divisor: float) -> float:
        """A tenth of the largest gradient there can be; a saturated softcap leaves less of it."""
        largest = max(1.0, *(float(t.detach().abs().max()) for t in (self.hidden, self.weight)))
        return 0.1 * largest * self.head["logit_scale"] * float(weights.max()) / divisor + 1e-9

    def op(self, **options: Any) -> WeightedCE:
        return linear_weighted_ce(
            self.hidden,
            self.weight,
            self.labels,
            bias=self.bias,
            chunk_rows=self.chunk_rows,
            **self.head,
            **options,
        )

    def oracle(self, weights: Tensor, divisor: float) -> oracles.HeadResult:
        return oracles.weighted_ce(
            self.hidden, self.weight, self.labels, weights, divisor, bias=self.bias, **self.head
        )


@st.composite
def problems(draw: st.DrawFn, dtype: torch.dtype = torch.float32) -> Problem:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    n, width = draw(st.integers(1, 19)), draw(st.integers(1, 9))
    vocab = draw(st.sampled_from([2, 3, 17, 64, 129]))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    spread = draw(st.sampled_from([0.1, 1.0, 4.0]))
    labels = torch.randint(0, vocab, (n,), generator=generator)
    ignored = draw(st.sampled_from([0.0, 0.3, 1.0]))
    labels[torch.rand(n, generator=generator) < ignored] = -100
    return Problem(
        hidden=(normal(n, width) * spread).to(dtype).requires_grad_(),
        weight=normal(vocab, width).to(dtype).requires_grad_(),
        bias=normal(vocab).to(dtype).requires_grad_() if draw(st.booleans()) else None,
        labels=labels,
        logp_without=-3 * normal(n).abs(),
        logp_reference=-3 * normal(n).abs(),
        segment=torch.randint(0, draw(st.integers(1, 4)), (n,), generator=generator),
        head={
            "logit_scale": draw(st.sampled_from([1.0, 0.25, 3.0])),
            "logit_softcap": draw(st.sampled_from([None, 2.0, 30.0])),
        },
        chunk_rows=draw(st.integers(1, n + 3)),
    )


def expected_weights(problem: Problem, name: str, result: WeightedCE) -> Tensor:
    """The oracle's weights from the op's own log-probabilities, which are checked beside it."""
    entropy = problem.oracle(torch.ones(len(problem.labels)), 1.0).entropy
    counted = [i for i, label in enumerate(problem.labels.tolist()) if label != -100]
    tokens = [
        oracles.TokenSignals(
            float(result.logp[i]),
            float(problem.logp_without[i]),
            float(problem.logp_reference[i]),
            float(entropy[i]),
        )
        for i in counted
    ]
    weights = torch.zeros(len(problem.labels), dtype=torch.float64)
    segment = [int(problem.segment[i]) for i in counted]
    found = oracles.objective_weights(name, tokens, segment)
    weights[counted] = torch.tensor(found, dtype=torch.float64)
    return weights


@pytest.mark.parametrize("name", objective_names())
@given(problem=problems())
def test_equals_oracle(name: str, problem: Problem) -> None:
    result = problem.op(objective=name, **problem.signals)
    counted = problem.labels != -100
    items = max(int(counted.sum()), 1)
    by_weight = get_objective(name).normalize == "weight"
    divisor = float(result.weights.sum()) or 1.0 if by_weight else items
    # The gradient is that of fixed weights: the oracle holds them constant.
    wanted = problem.oracle(result.weights, divisor)
    assert error(result.logp, wanted.logp) < FLOAT32
    assert result.logp.max() <= 0
    assert error(result.weights, expected_weights(problem, name, result)) < 1e-4
    assert result.pir is not None
    pir = (wanted.logp - problem.logp_without).masked_fill(~counted, 0.0)
    assert error(result.pir, pir) < FLOAT32
    assert error(result.loss.detach(), wanted.loss) < FLOAT32
    assert error(result.sum_weights, result.weights.double().sum()) < FLOAT32
    result.loss.backward()
    floor = problem.gradient_floor(result.weights, divisor)
    assert gradient_error(problem.hidden.grad, wanted.grad_hidden, floor) < FLOAT32
    assert gradient_error(problem.weight.grad, wanted.grad_weight, floor) < FLOAT32
    if problem.bias is not None:
        assert gradient_error(problem.bias.grad, wanted.grad_bias, floor) < FLOAT32
    for tensor in (result.logp, result.pir, result.weights, result.sum_weights):
        assert not tensor.requires_grad
        assert tensor.dtype == torch.float32
    assert not result.logp[~counted].any()
    assert not result.weights[~counted].any()
    assert not problem.hidden.grad[~counted].any()


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


def _call(**changes: Any) -> WeightedCE:
    arguments: dict[str, Any] = {
        "hidden": torch.randn(3, 2),
        "weight": torch.randn(5, 2),
        "labels": torch.tensor([0, 4, -100]),
        "objective": "ce",
    }
    return linear_weighted_ce(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            LabelError,
            {"labels": torch.tensor([0, 1, 5])},
            "label 5 at position 2: the vocabulary has 5",
        ),
        (LabelError, {"labels": torch.tensor([0, -1, 0])}, "label -1 at position 1"),
        (OptionError, {"labels": torch.zeros(3)}, r"labels: int64 \[N\] is needed"),
        (OptionError, {"labels": torch.zeros(4, dtype=torch.int64)}, r"hidden: floating \[4, 2\]"),
        (OptionError, {"weight": torch.randn(5, 3)}, r"hidden: floating \[3, 3\]"),
        (OptionError, {"weight": torch.randn(5)}, r"weight: floating \[V, H\]"),
        (OptionError, {"bias": torch.randn(4)}, r"bias: has shape \[4\]: \[5\]"),
        (OptionError, {"logp_without": torch.zeros(2)}, r"logp_without: has shape \[2\]: \[3\]"),
        (OptionError, {"segment": torch.zeros(2)}, "segment: has shape"),
        (OptionError, {"backend": "cuda"}, "this build of perce has no CUDA kernels"),
        (OptionError, {"backend": "tpu"}, "'tpu' is unknown: use 'auto', 'torch' or 'cuda'"),
        (OptionError, {"chunk_rows": 0}, "chunk_rows: 0"),
        (OptionError, {"logit_softcap": 0.0}, "logit_softcap: 0.0"),
        (OptionError, {"num_items": 0}, "num_items: 0 tokens"),
        (OptionError, {"num_items": torch.ones(1)}, r"num_items: a 0-d tensor .* got \[1\]"),
        (OptionError, {"num_items": 3, "normalize": "weight"}, "num_items: means nothing"),
        (OptionError, {"normalize": "mean"}, "normalize: 'mean' is unknown"),
        (ObjectiveError, {"objective": "percy"}, "no objective 'percy'; objectives: ce, perce"),
        (ObjectiveError, {"objective": "perce"}, "'perce' needs logp_without: pass .*linear_logp"),
        (ObjectiveError, {"objective": "lossce"}, "'lossce' needs logp_reference"),
        (ObjectiveError, {"weights": torch.ones(3)}, "both an objective and weights"),
        (
            ObjectiveError,
            {"objective": None, "weights": torch.tensor([1.0, -1.0, 0.0])},
            "given weights: -1 at position 1",
        ),
        (
            ObjectiveError,
            {"objective": None, "weights": torch.tensor([1.0, 1.0, torch.nan])},
            "given weights: nan at position 2",
        ),
    ],
)
def test_bad_input(kind: type[Exception], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        _call(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [[0, 1, 5], [0, -1, 0]])
def test_bad_labels_everywhere(labels: list[int]) -> None:
    bad = torch.tensor(labels)
    with pytest.raises(LabelError):
        linear_logp(torch.randn(3, 2), torch.randn(5, 2), bad)
    with pytest.raises(LabelError):
        weighted_ce(torch.randn(3, 5), bad, objective="ce")


def test_needs_are_worded_alike_by_the_twin() -> None:
    with pytest.raises(ObjectiveError, match="'perce' needs logp_without"):
        weighted_ce(torch.randn(3, 5), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(OptionError, match=r"logits: floating \[3, V\]"):
        weighted_ce(torch.randn(2, 5), torch.zeros(3, dtype=torch.int64), objective="ce")
