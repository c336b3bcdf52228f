"""The ops as citizens of torch: opcheck, torch.compile, autocast, and how much memory they take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode

from perce import objectives
from perce.objectives import Signals, get_objective, register_objective
from perce.ops import linear_logp, linear_weighted_ce
from perce.ops.backends import get_backend
from perce.ops.head import Head
from perce.ops.library import linear_logp_op, linear_weighted_ce_op
from perce.ops.rows import Rows, Wanted

V, H, N = 37, 8, 13


def rows(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(0, V, (N,), generator=generator)
    labels[4] = -100
    return {
        "hidden": torch.randn(N, H, generator=generator).to(dtype).requires_grad_(),
        "weight": torch.randn(V, H, generator=generator).to(dtype).requires_grad_(),
        "labels": labels,
        "logp_without": -3 * torch.rand(N, generator=generator),
    }


def op_arguments(
    inputs: dict[str, Any], *, objective: str = "perce", gradients: tuple[bool, bool] = (True, True)
) -> tuple[Any, ...]:
    weights = None if objective else torch.rand(N)
    params = list(get_objective(objective).options.values()) if objective else []
    segment = torch.arange(N) // 5
    signals = (inputs["logp_without"], inputs["logp_without"] - 0.5, segment)
    columns = (inputs["hidden"], inputs["weight"], None, inputs["labels"], weights, *signals)
    return (*columns, objective, params, 1.0, 30.0, 5, *gradients, False, "torch")


@pytest.mark.parametrize("objective", ["perce", "lossce", "entce", ""])
def test_opcheck(objective: str) -> None:
    torch.library.opcheck(linear_weighted_ce_op, op_arguments(rows(), objective=objective))


def test_opcheck_frozen_head() -> None:
    inputs = rows(torch.bfloat16)
    inputs["weight"] = inputs["weight"].detach()
    torch.library.opcheck(linear_weighted_ce_op, op_arguments(inputs, gradients=(True, False)))


def test_opcheck_logp() -> None:
    inputs = rows()
    hidden, weight, labels = inputs["hidden"].detach(), inputs["weight"].detach(), inputs["labels"]
    torch.library.opcheck(
        linear_logp_op, (hidden, weight, torch.randn(V), labels, 0.5, None, 4, "torch")
    )


@pytest.fixture
def own_objective() -> Iterator[str]:
    before = dict(objectives._TABLE)

    @register_objective("half", needs=["logp_without"])
    def half(signals: Signals, low: float = 0.5) -> Tensor:
        return (signals.pir / 2).clamp(low)

    yield "half"
    objectives._TABLE.clear()
    objectives._TABLE.update(before)


# Inductor's own import warns.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("objective", ["perce", "half", "options"])
def test_compiles_as_one_graph(own_objective: str, backend: str, objective: str) -> None:
    chosen = get_objective("perce", clip_min=0.2) if objective == "options" else objective

    def loss(hidden: Tensor, weight: Tensor, labels: Tensor, logp_without: Tensor) -> Any:
        without = linear_logp(hidden * 0.5, weight, labels) + 0 * logp_without
        result = linear_weighted_ce(
            hidden * 2,
            weight,
            labels,
            objective=chosen,
            logp_without=without,
            num_items=torch.tensor(20),
            logit_softcap=30.0,
        )
        return result.loss, result.logp, result.weights

    torch._dynamo.reset()
    inputs = rows()
    eager = loss(**inputs)
    wanted = torch.autograd.grad(eager[0], (inputs["hidden"], inputs["weight"]))
    compiled = torch.compile(loss, fullgraph=True, backend=backend)(**inputs)
    found = torch.autograd.grad(compiled[0], (inputs["hidden"], inputs["weight"]))
    torch.testing.assert_close(compiled, eager, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_batches_of_any_length_share_one_graph() -> None:
    def loss(hidden: Tensor, weight: Tensor, labels: Tensor, logp_without: Tensor) -> Tensor:
        without = linear_logp(hidden, weight, labels) + 0 * logp_without
        return linear_weighted_ce(hidden * 2, weight, labels, logp_without=without).loss

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss, fullgraph=True, backend=counter)
    inputs = rows()
    for n in (5, 7, 10, 13):
        part = {name: t if name == "weight" else t[:n].detach() for name, t in inputs.items()}
        torch.testing.assert_close(compiled(**part), loss(**part))
    # The first length by itself, then all others.
    assert counter.frame_count == 2


def test_autocast_does_not_reach_the_logits() -> None:
    inputs = rows()
    outside = linear_weighted_ce(**inputs)
    logp = linear_logp(inputs["hidden"], inputs["weight"], inputs["labels"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        # What it would do to the logits, so that the comparison below can fail.
        assert (inputs["hidden"] @ inputs["weight"].t()).dtype == torch.bfloat16
        inside = linear_weighted_ce(**inputs)
        assert torch.equal(linear_logp(inputs["hidden"], inputs["weight"], inputs["labels"]), logp)
    assert inside.loss.dtype == torch.float32
    assert torch.equal(inside.loss, outside.loss)
    assert torch.equal(inside.logp, outside.logp)


def test_no_second_derivative() -> None:
    inputs = rows()
    # Squared, so that the gradient depends on the loss and a silent answer would be half the truth.
    loss = linear_weighted_ce(**inputs).loss.square()
    (gradient,) = torch.autograd.grad(loss, inputs["hidden"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_gradient_can_be_asked_for_twice() -> None:
    inputs = rows()
    loss = linear_weighted_ce(**inputs).loss
    first = torch.autograd.grad(loss, inputs["hidden"], retain_graph=True)
    second = torch.autograd.grad(loss, inputs["hidden"])
    assert torch.equal(first[0], second[0])


class LargestTensor(TorchDispatchMode):
    """Records the bytes of the largest storage that any call returns."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("objective", ["perce", "lossce", "entce"])
def test_one_chunk_of_logits_at_a_time(dtype: torch.dtype, objective: str) -> None:
    n, vocab, width = 64, 1000, 4
    given = Rows(
        hidden=torch.randn(n, width).to(dtype),
        labels=torch.randint(0, vocab, (n,)),
        chunk_rows=8,
        objective=get_objective(objective),
        logp_without=-torch.rand(n),
        logp_reference=-torch.rand(n),
        segment=torch.arange(n) // 9,
    )
    head = Head(torch.randn(vocab, width).to(dtype), None, scale=1.0, softcap=30.0)
    # A mode sees the calls that a custom op makes inside only from within: the back end, directly.
    backend = get_backend("torch")
    for run in (
        lambda: backend.weighted_ce(head, given, Wanted(True, False, False)),
        lambda: backend.logp(head, given),
    ):
        with LargestTensor() as seen:
            run()
        # The chunk itself, and nothing larger: a frozen head gets no gradient.
        assert seen.bytes == 4 * 8 * vocab


def test_scoring_does_no_gradient_work() -> None:
    n, vocab, width = 8, 16, 512
    hidden = torch.randn(n, width, requires_grad=True)
    weight, labels = torch.randn(vocab, width), torch.randint(0, vocab, (n,))
    with torch.no_grad(), LargestTensor() as seen:
        result = linear_weighted_ce(hidden, weight, labels, objective="ce")
    assert not result.loss.requires_grad
    # Anything as large as the hidden states would be their gradient.
    assert seen.bytes < hidden.nbytes
