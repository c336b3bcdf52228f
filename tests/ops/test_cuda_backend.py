"""The whole CUDA back end on CPU tensors: the host build of its kernels stands for a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from closeness import FLOAT32, error, gradient_error
from host_device import NOWHERE, on_host
from hypothesis import given
from hypothesis import strategies as st
from problems import Problem, check_against_oracle, problems
from torch import Tensor

import oracles
from perce import objectives
from perce.objectives import Signals, get_objective, objective_names, register_objective
from perce.ops import WeightedCE, cuda_backend, linear_logp, linear_weighted_ce
from perce.ops.library import linear_logp_op, linear_weighted_ce_op

HALF_GRADIENTS = {torch.bfloat16: 2**-7, torch.float16: 2**-10}
"""Three roundings of half a bit: two factors of a product's sum, and the result."""


@pytest.fixture(autouse=True)
def _host() -> Iterator[None]:
    with on_host():
        yield


class Launches:
    """Passes launches on and keeps what they were told."""

    def __init__(self) -> None:
        self.kernels = cuda_backend.device.kernels
        self.seen: list[dict[str, Any]] = []

    def cuda_weighted_rows(self, **arguments: Any) -> None:
        self.seen.append(arguments)
        self.kernels.cuda_weighted_rows(**arguments)

    def cuda_logp_rows(self, **arguments: Any) -> None:
        self.seen.append(arguments)
        self.kernels.cuda_logp_rows(**arguments)

    @property
    def objectives(self) -> list[str]:
        """What each launch was for."""
        return [launch.get("objective", "logp") for launch in self.seen]


@pytest.fixture
def launches() -> Iterator[Launches]:
    spy = Launches()
    with mock.patch.object(cuda_backend.device, "kernels", spy):
        yield spy


@pytest.fixture
def register() -> Iterator[Any]:
    before = dict(objectives._TABLE)
    yield register_objective
    objectives._TABLE.clear()
    objectives._TABLE.update(before)


@pytest.mark.parametrize("name", objective_names())
@given(problem=problems())
def test_equals_oracle(name: str, problem: Problem) -> None:
    with NOWHERE:
        check_against_oracle(problem, name)


@pytest.mark.parametrize("dtype", HALF_GRADIENTS)
@given(data=st.data(), name=st.sampled_from(objective_names()))
def test_half_precision_equals_oracle(dtype: torch.dtype, data: Any, name: str) -> None:
    check_against_oracle(data.draw(problems(dtype=dtype)), name, HALF_GRADIENTS[dtype])


@given(problem=problems(), name=st.sampled_from(objective_names()))
def test_equals_the_torch_back_end(problem: Problem, name: str) -> None:
    inputs = [problem.hidden, problem.weight, *([] if problem.bias is None else [problem.bias])]
    ours, theirs = (
        problem.op(objective=name, backend=backend, **problem.signals)
        for backend in ("cuda", "torch")
    )
    for one, other in zip(ours, theirs, strict=True):
        assert error(one.detach(), other.detach()) < FLOAT32
    gradients = (torch.autograd.grad(result.loss, inputs) for result in (ours, theirs))
    divisor = float(ours.sum_weights) if get_objective(name).normalize == "weight" else 1.0
    floor = problem.gradient_floor(ours.weights, divisor or 1.0)
    for one, other in zip(*gradients, strict=True):
        assert gradient_error(one, other, floor) < FLOAT32


@given(problem=problems(), data=st.data())
def test_given_weights(problem: Problem, data: st.DataObject) -> None:
    n = len(problem.labels)
    weights = torch.tensor(data.draw(st.lists(st.floats(0, 9, width=32), min_size=n, max_size=n)))
    result = problem.op(weights=weights, num_items=7)
    counted = weights.masked_fill(problem.labels == -100, 0.0)
    assert torch.equal(result.weights, counted)
    wanted = problem.oracle(counted, 7.0)
    assert error(result.loss.detach(), wanted.loss) < FLOAT32
    result.loss.backward()
    floor = problem.gradient_floor(counted, 7.0)
    assert gradient_error(problem.hidden.grad, wanted.grad_hidden, floor) < FLOAT32


@given(
    problem=problems(), dtypes=st.sampled_from([("bfloat16", "float32"), ("float32", "float16")])
)
def test_mixed_precisions_are_computed_in_float32(problem: Problem, dtypes: Any) -> None:
    hidden, weight = (
        tensor.detach().to(getattr(torch, dtype)).requires_grad_()
        for tensor, dtype in zip((problem.hidden, problem.weight), dtypes, strict=True)
    )
    result = linear_weighted_ce(hidden, weight, problem.labels, objective="ce", num_items=3)
    wanted = oracles.weighted_ce(hidden, weight, problem.labels, result.weights, 3.0)
    assert error(result.logp, wanted.logp) < FLOAT32
    result.loss.backward()
    floor = problem.gradient_floor(result.weights, 3.0)
    for tensor, gradient in ((hidden, wanted.grad_hidden), (weight, wanted.grad_weight)):
        # Rounded once, at the very end.
        rounding = torch.finfo(tensor.dtype).eps if tensor.dtype != torch.float32 else 0.0
        assert gradient_error(tensor.grad, gradient, floor) < FLOAT32 + 10 * rounding


@given(problem=problems())
def test_equal_hidden_states_have_no_influence(problem: Problem) -> None:
    options = {"bias": problem.bias, "chunk_rows": problem.chunk_rows, **problem.head}
    without = linear_logp(problem.hidden, problem.weight, problem.labels, **options)
    result = problem.op(objective="perce", logp_without=without)
    assert torch.equal(result.logp, without)
    assert result.pir is not None
    assert not result.pir.any()


def example(dtype: torch.dtype = torch.float32, *, n: int = 13, vocab: int = 37) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(0, vocab, (n,), generator=generator)
    labels[4] = -100
    return {
        "hidden": torch.randn(n, 8, generator=generator).to(dtype).requires_grad_(),
        "weight": torch.randn(vocab, 8, generator=generator).to(dtype).requires_grad_(),
        "labels": labels,
        "logp_without": -3 * torch.rand(n, generator=generator),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_gradient_takes_the_place_of_the_logits(dtype: torch.dtype, launches: Launches) -> None:
    linear_weighted_ce(**example(dtype), chunk_rows=4).loss.backward()
    assert len(launches.seen) == 4
    assert len({launch["logits"] for launch in launches.seen}) == 1
    for launch in launches.seen:
        assert launch["grad"] == launch["logits"]
        assert launch["grad_dtype"] == str(dtype).removeprefix("torch.")
        assert launch["grad_stride"] * dtype.itemsize == launch["logits_stride"] * 4
        assert launch["logits_stride"] % cuda_backend.ROW_ALIGNMENT == 0
        assert launch["logits_stride"] - launch["vocab"] < cuda_backend.ROW_ALIGNMENT


@pytest.mark.parametrize("trainable", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 0, 0)])
def test_only_wanted_gradients(trainable: tuple[int, ...], launches: Launches) -> None:
    torch.manual_seed(2)
    tensors = [torch.randn(7, 3), torch.randn(13, 3), torch.randn(13)]
    for tensor, wanted in zip(tensors, trainable, strict=True):
        tensor.requires_grad_(bool(wanted))
    hidden, weight, bias = tensors
    labels = torch.randint(0, 13, (7,))
    with mock.patch.object(
        cuda_backend.device, "multiply", wraps=cuda_backend.device.multiply
    ) as mm:
        result = linear_weighted_ce(hidden, weight, labels, bias=bias, objective="ce", chunk_rows=3)
    # The logits of three chunks, and nothing that nobody asked for.
    assert mm.call_count == 3 * (1 + trainable[0] + trainable[1])
    assert all(bool(launch["grad"]) == any(trainable) for launch in launches.seen)
    if any(trainable):
        result.loss.backward()
    exact = oracles.weighted_ce(hidden, weight, labels, torch.ones(7), 7, bias=bias)
    for tensor, wanted, gradient in zip(tensors, trainable, exact[3:], strict=True):
        if wanted:
            assert gradient_error(tensor.grad, gradient) < FLOAT32
        else:
            assert tensor.grad is None


def test_columns_and_matrices_of_any_stride() -> None:
    inputs = example()
    strided = {
        "hidden": inputs["hidden"].detach().repeat_interleave(2, 0)[::2].requires_grad_(),
        "weight": inputs["weight"].detach().t().contiguous().t().requires_grad_(),
        "labels": torch.stack([inputs["labels"]] * 3, 1)[:, 1],
        "logp_without": torch.stack([inputs["logp_without"]] * 2, 1)[:, 0],
    }
    bias = torch.linspace(-1, 1, 74)
    wanted = linear_weighted_ce(**inputs, bias=bias[::2].contiguous(), chunk_rows=4)
    found = linear_weighted_ce(**strided, bias=bias[::2], chunk_rows=4)
    assert torch.equal(found.weights, wanted.weights)
    for name in ("hidden", "weight"):
        (one,) = torch.autograd.grad(found.loss, strided[name], retain_graph=True)
        (other,) = torch.autograd.grad(wanted.loss, inputs[name], retain_graph=True)
        assert error(one, other) < 1e-6


@pytest.mark.parametrize("scope", ["token", "record"])
def test_an_objective_of_the_users_own(scope: Any, register: Any, launches: Launches) -> None:
    @register("own", needs=["logp_without", "entropy"], scope=scope)
    def own(signals: Signals, power: float = 0.5) -> Tensor:
        weights = signals.require("entropy") ** power + signals.pir.abs()
        return weights if scope == "token" else weights - weights.min() + 1

    inputs = example()
    result = linear_weighted_ce(**inputs, objective="own", segment=torch.zeros(13), chunk_rows=5)
    # Each chunk is looked at first; of a record, all chunks before the first.
    turns = ["logp", "given"] * 3 if scope == "token" else ["logp"] * 3 + ["given"] * 3
    assert launches.objectives == turns
    wanted = linear_weighted_ce(**inputs, objective="own", segment=torch.zeros(13), backend="torch")
    assert error(result.weights, wanted.weights) < FLOAT32
    assert error(result.loss.detach(), wanted.loss.detach()) < FLOAT32


def test_the_kernel_knows_objectives_by_what_they_compute(
    register: Any, launches: Launches
) -> None:
    @register("perce", needs=["logp_without"], replace=True)
    def other(signals: Signals) -> Tensor:
        return 2 + 0 * signals.pir

    register("alias", bounds=(0.0, 1.0))(objectives._dft)
    result = linear_weighted_ce(**example(), objective="perce")
    assert set(result.weights.tolist()) == {0.0, 2.0}
    result = linear_weighted_ce(**example(), objective="alias")
    assert error(result.weights, result.logp.exp().masked_fill(result.logp == 0, 0)) < FLOAT32
    assert launches.objectives == ["logp", "given", "dft"]


def test_options_reach_the_kernel(launches: Launches) -> None:
    inputs = example()
    for name, options in (
        ("perce", {"clip_min": 0.25, "clip_max": 2.0}),
        ("longce", {"gamma": 1.5}),
        ("nextquill", {"alpha": 0.75, "threshold": 0.125}),
    ):
        linear_weighted_ce(**inputs, objective=get_objective(name, **options))
        assert launches.seen[-1]["params"] == (*options.values(), 0.0)[:2]


def test_a_label_that_cannot_be_makes_its_row_nan() -> None:
    """On a device, where an error would wait for it."""
    inputs = example()
    head = cuda_backend.Head(inputs["weight"].detach(), None, 1.0, None)
    logits = inputs["hidden"].detach() @ head.weight.t()
    labels = inputs["labels"].clone()
    labels[0], labels[1] = 37, -1
    logp = torch.zeros(13)
    cuda_backend.device.logp_rows(head, logits, labels, logp=logp)
    assert logp[:2].isnan().all()
    assert logp[2:].isfinite().all()


def op_arguments(objective: str, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
    inputs = example(dtype)
    weights = None if objective else torch.rand(13)
    params = list(get_objective(objective).options.values()) if objective else []
    without = inputs["logp_without"]
    signals = (without, without - 0.5, torch.arange(13) // 5)
    columns = (inputs["hidden"], inputs["weight"], None, inputs["labels"], weights, *signals)
    return (*columns, objective, params, 1.0, 30.0, 5, True, True, False, "cuda")


@pytest.mark.parametrize("objective", ["perce", "lossce", ""])
def test_opcheck(objective: str) -> None:
    torch.library.opcheck(linear_weighted_ce_op, op_arguments(objective))


def test_opcheck_half_precision_and_logp() -> None:
    torch.library.opcheck(linear_weighted_ce_op, op_arguments("entce", torch.bfloat16))
    inputs = example()
    columns = (inputs["hidden"].detach(), inputs["weight"].detach(), None, inputs["labels"])
    torch.library.opcheck(linear_logp_op, (*columns, 0.5, None, 0, "cuda"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiles_as_one_graph(dtype: torch.dtype, launches: Launches) -> None:
    def loss(hidden: Tensor, weight: Tensor, labels: Tensor, logp_without: Tensor) -> WeightedCE:
        without = linear_logp(hidden * 0.5, weight, labels) + 0 * logp_without
        return linear_weighted_ce(hidden * 2, weight, labels, logp_without=without)

    torch._dynamo.reset()
    inputs = example(dtype)
    eager = loss(**inputs)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(**inputs)
    assert launches.objectives == ["logp", "perce"] * 2
    wanted = torch.autograd.grad(eager.loss, (inputs["hidden"], inputs["weight"]))
    found = torch.autograd.grad(compiled.loss, (inputs["hidden"], inputs["weight"]))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(compiled.logp, eager.logp)


def test_autocast_does_not_reach_the_logits() -> None:
    inputs = example()
    outside = linear_weighted_ce(**inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = linear_weighted_ce(**inputs)
    assert torch.equal(inside.logp, outside.logp)
    assert torch.equal(inside.loss, outside.loss)
