"""The op as a citizen of the device: streams, graphs, memory, synchronisation, determinism."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from large_head import LargeHead, large_head
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from perce.objectives import get_objective, objective_names
from perce.ops import WeightedCE, linear_logp, linear_weighted_ce
from perce.ops.backends import get_backend, resolve_backend
from perce.ops.library import linear_weighted_ce_op


def head(vocab: int = 32003, **changes: Any) -> LargeHead:
    return large_head(
        vocab, **{"n": 400, "width": 256, "dtype": torch.bfloat16, **changes}, device="cuda"
    )


def step(given: LargeHead, **options: Any) -> tuple[WeightedCE, Tensor, Tensor]:
    """Forward and backward, and no graph left over: its nodes belong to the stream of this call."""
    result = linear_weighted_ce(**given.columns, normalize="tokens", num_items=400.0, **options)
    gradients = torch.autograd.grad(result.loss, (given.hidden, given.weight))
    return result._replace(loss=result.loss.detach()), *gradients


def test_cuda_tensors_take_the_kernels() -> None:
    assert resolve_backend("auto", torch.device("cuda", 0)) is get_backend("cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", objective_names())
def test_bit_for_bit_the_same_twice(name: str, dtype: torch.dtype) -> None:
    given = head(dtype=dtype)
    first = step(given, objective=name, chunk_rows=128)
    torch.randn(1 << 24, device="cuda").sort()
    second = step(given, objective=name, chunk_rows=128)
    for one, other in zip((*first[0], *first[1:]), (*second[0], *second[1:]), strict=True):
        assert torch.equal(one, other)


def test_equal_states_have_exactly_no_influence() -> None:
    given = head()
    without = linear_logp(given.hidden, given.weight, given.labels)
    result = linear_weighted_ce(given.hidden, given.weight, given.labels, logp_without=without)
    assert torch.equal(result.logp, without)


@pytest.mark.parametrize("name", objective_names())
def test_nothing_waits_for_the_device(name: str) -> None:
    given = head()
    items = torch.tensor(400, device="cuda")
    step(given, objective=name)
    try:
        torch.cuda.set_sync_debug_mode("error")
        for divisor in (items, torch.tensor(400), None):
            options = {"objective": name, "normalize": "tokens", "num_items": divisor}
            linear_weighted_ce(**given.columns, **options).loss.backward()
        linear_logp(given.hidden, given.weight, given.labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert given.hidden.grad is not None


@pytest.mark.parametrize("name", ["perce", "lossce", "entce"])
def test_a_captured_step_replays(name: str) -> None:
    given, other = head(), head(32003 + 256)
    static = LargeHead(
        given.hidden.detach().clone().requires_grad_(),
        given.weight,
        given.labels.clone(),
        {key: value.clone() for key, value in given.signals.items()},
    )
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step(static, objective=name)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured, *gradients = step(static, objective=name)
    for source in (
        given,
        LargeHead(other.hidden, given.weight, given.labels.flip(0), other.signals),
    ):
        with torch.no_grad():
            static.hidden.copy_(source.hidden)
            static.labels.copy_(source.labels)
            for key, value in source.signals.items():
                static.signals[key].copy_(value)
        graph.replay()
        wanted, *expected = step(source, objective=name)
        torch.testing.assert_close(captured, wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradients, expected, rtol=1e-2, atol=1e-6)


def test_the_current_stream_is_the_one() -> None:
    given = head()
    wanted, *_ = step(given)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        # Keeps the stream busy: a launch elsewhere would read hidden states that are not there yet.
        torch.cuda._sleep(200_000_000)
        late = LargeHead(given.hidden * 1.0, given.weight, given.labels, given.signals)
        found, *_ = step(late)
    side.synchronize()
    assert torch.equal(found.logp, wanted.logp)


@pytest.mark.parametrize("frozen", [True, False])
def test_memory_is_a_chunk_and_the_gradients(frozen: bool) -> None:
    n, width, vocab = 8192, 1024, 151936
    given = head(vocab, n=n, width=width)
    given.weight.requires_grad_(not frozen)
    inputs = [given.hidden] if frozen else [given.hidden, given.weight]

    def run() -> None:
        torch.autograd.grad(linear_weighted_ce(**given.columns).loss, inputs)

    run()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    over = torch.cuda.max_memory_allocated() - before
    chunk = get_backend("cuda").chunk_bytes
    # In float32 until the backward, which writes the inputs' dtype beside.
    gradients = (4 + 2) * (n * width + (0 if frozen else vocab * width))
    small = 64 << 20
    assert over < max(chunk + gradients * 4 // 6, gradients) + small
    # Whole logits would be 5 GB, a second head's gradient in float32 0.6 GB.
    assert over > chunk / 2


def tf32_by_library(allowed: bool) -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32" if allowed else "ieee"


def tf32_process_wide(allowed: bool) -> None:
    torch.set_float32_matmul_precision("high" if allowed else "highest")


@pytest.mark.parametrize("allow", [tf32_by_library, tf32_process_wide])
def test_tf32_does_not_creep_in(allow: Callable[[bool], None]) -> None:
    given = head(dtype=torch.float32)
    wanted, gradient, _ = step(given)
    allow(True)
    try:
        noisy = given.hidden.detach() @ given.weight.detach().t()
        found, same, _ = step(given)
    finally:
        allow(False)
    # What it would do, so that the comparison below can fail.
    clean = given.hidden.detach() @ given.weight.detach().t()
    assert float((noisy - clean).abs().max()) > 1e-4
    assert torch.equal(found.logp, wanted.logp)
    assert torch.equal(same, gradient)


def test_autocast_does_not_reach_the_logits() -> None:
    given = head(dtype=torch.float32)
    wanted, *_ = step(given)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        found, *_ = step(given)
    assert torch.equal(found.logp, wanted.logp)


@pytest.mark.parametrize("objective", ["perce", "lossce"])
def test_opcheck(objective: str) -> None:
    given = head(97, n=13, width=16)
    params = list(get_objective(objective).options.values())
    columns = (given.hidden, given.weight, None, given.labels, None, *given.signals.values())
    arguments = (*columns, objective, params, 1.0, 30.0, 5, True, True, False, "cuda")
    torch.library.opcheck(linear_weighted_ce_op, arguments)


def test_compiles_as_one_graph() -> None:
    def loss(hidden: Tensor, weight: Tensor, labels: Tensor, logp_without: Tensor) -> WeightedCE:
        without = linear_logp(hidden * 0.5, weight, labels) + 0 * logp_without
        return linear_weighted_ce(hidden * 2, weight, labels, logp_without=without)

    given = head()
    inputs = (given.hidden, given.weight, given.labels, given.signals["logp_without"])
    eager = loss(*inputs)
    compiled = torch.compile(loss, fullgraph=True)(*inputs)
    torch.testing.assert_close(compiled.logp, eager.logp, rtol=1e-6, atol=1e-6)
    (wanted,) = torch.autograd.grad(eager.loss, given.hidden)
    (found,) = torch.autograd.grad(compiled.loss, given.hidden)
    torch.testing.assert_close(found, wanted)


@pytest.fixture
def one_rank() -> Iterator[None]:
    dist.init_process_group("nccl", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


class Scoring(nn.Linear):
    """A head whose forward is the loss: where FSDP2 has the weight whole."""

    def forward(self, hidden: Tensor, labels: Tensor) -> Tensor:
        return linear_weighted_ce(hidden, self.weight, labels, objective="ce").loss


@pytest.mark.usefixtures("one_rank")
def test_a_sharded_head() -> None:
    given = head()
    module = Scoring(256, 32003, bias=False, device="cuda", dtype=torch.bfloat16)
    with torch.no_grad():
        module.weight.copy_(given.weight)
    fully_shard(module, mesh=init_device_mesh("cuda", (1,)))
    loss = module(given.hidden, given.labels)
    loss.backward()
    plain = linear_weighted_ce(given.hidden, given.weight, given.labels, objective="ce").loss
    (wanted,) = torch.autograd.grad(plain, given.weight)
    assert torch.equal(loss, plain)
    assert torch.equal(module.weight.grad.full_tensor(), wanted)
