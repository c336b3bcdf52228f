"""The kernels' row body, compiled for this machine, against float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from host_kernels import host_kernels
from hypothesis import example, given
from hypothesis import strategies as st
from rows import DTYPES, OBJECTIVES, Problem, Results, expected, problem, run
from torch import Tensor

EPSILON = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
TINY = {torch.float32: 0.0, torch.bfloat16: 0.0, torch.float16: 2.0**-24}


def assert_close(got: Results, of: Problem) -> None:
    """Within float32's rounding of the logits and, for the gradient, that of its own type."""
    want = expected(of)
    bias = 0.0 if of.bias is None else float(of.bias.abs().max())
    # A logit is rounded where scale, bias or softcap make it; its neighbours' errors add up little.
    made = of.scale != 1.0 or of.bias is not None or of.softcap
    size = abs(of.scale) * (float(of.logits.double().abs().max()) + bias) if made else 0.0
    error = 4e-6 + 4 * EPSILON[torch.float32] * size
    np.testing.assert_allclose(got.logp, want.logp, rtol=2e-7, atol=error)
    np.testing.assert_allclose(got.entropy, want.entropy, rtol=1e-6, atol=2 * error)
    # longce's weight is at most 5 and as sensitive as it is large.
    np.testing.assert_allclose(got.weights, want.weights, rtol=1e-6, atol=6 * error)
    scale = np.abs(want.weights * of.scale)[:, None]
    bound = scale * 8 * error + EPSILON[of.grad_dtype] * np.abs(want.grad) + TINY[of.grad_dtype]
    assert (np.abs(got.grad - want.grad) <= bound).all(), np.abs(got.grad - want.grad).max()


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    n = draw(st.integers(1, 4))
    vocab = draw(st.integers(1, 300))
    dtype, grad_dtype = draw(st.sampled_from(DTYPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    logits = normal(n, vocab) * draw(st.sampled_from([0.0, 1.0, 8.0]))
    if dtype == torch.float32:
        logits += draw(st.sampled_from([0.0, 1e4, -1e6]))
    labels = [draw(st.integers(0, vocab - 1) | st.just(-100)) for _ in range(n)]
    return problem(
        logits.to(dtype),
        labels,
        logp_without=normal(n) * 2 - 4,
        given=normal(n).abs(),
        objective=draw(st.sampled_from(OBJECTIVES)),
        grad_dtype=grad_dtype,
        bias=draw(st.sampled_from([None, normal(vocab)])),
        scale=draw(st.sampled_from([1.0, 0.0625, 1.7])),
        softcap=draw(st.sampled_from([0.0, 0.0, 30.0])),
        offset=draw(st.sampled_from([0, 0, 1, 4, 5])),
        padding=draw(st.sampled_from([0, 0, 3, 8])),
        in_place=draw(st.booleans()),
    )


@given(problems(), st.sampled_from([1, 2, 3]))
@example(problem(torch.zeros(1, 1), [0]), 1)
def test_rows_agree_with_float64(of: Problem, threads: int) -> None:
    want = expected(of)
    if of.objective == "nextquill":
        gap = np.exp(want.logp) - np.exp(of.logp_without.double().numpy())
        if (np.abs(gap - 0.05) < 1e-4).any():
            return  # the weight jumps there
    got = run(host_kernels(threads), of)
    assert_close(got, of)
    assert (got.logp <= 0).all()
    again = run(host_kernels(threads), of)
    for one, other in zip(vars(got).values(), vars(again).values(), strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("vocab", [4096, 50257])
@pytest.mark.parametrize(("dtype", "grad_dtype"), DTYPES, ids=str)
def test_long_rows_in_place(vocab: int, dtype: torch.dtype, grad_dtype: torch.dtype) -> None:
    """Enough tiles that gradients, written in place, come near logits not yet read."""
    logits = torch.randn(2, vocab, generator=torch.Generator().manual_seed(0)) * 3
    of = problem(
        logits.to(dtype), [7, vocab - 1], objective="perce", grad_dtype=grad_dtype, in_place=True
    )
    assert_close(run(host_kernels(4), of), of)


@pytest.mark.parametrize("threads", [1, 3])
def test_in_place_writes_the_bits_of_apart(threads: int) -> None:
    logits = torch.randn(3, 999, generator=torch.Generator().manual_seed(1))
    for _, grad_dtype in DTYPES[:3]:
        apart, in_place = (
            run(
                host_kernels(threads),
                problem(logits, [0, -100, 998], grad_dtype=grad_dtype, in_place=choice),
            )
            for choice in (False, True)
        )
        assert (apart.grad == in_place.grad).all()


def test_target_gradient_is_rounded_last() -> None:
    """Not to bfloat16 before 1 is taken off: that would leave 0 of a near-certain target's."""
    logits = torch.zeros(1, 8)
    logits[0, 3] = 12.0
    for grad_dtype in (torch.float32, torch.bfloat16):
        of = problem(logits, [3], grad_dtype=grad_dtype)
        got = run(host_kernels(), of).grad[0, 3]
        want = expected(of).grad[0, 3]
        assert want < 0
        assert abs(got - want) <= EPSILON[grad_dtype] * abs(want) + EPSILON[torch.float32] / 2


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ignored_rows_are_zero_whatever_they_hold(objective: str) -> None:
    logits = torch.full((3, 10), math.nan)
    logits[1] = 0.0
    got = run(host_kernels(2), problem(logits, [-100, 4, -100], objective=objective))
    for array in vars(got).values():
        assert (array[[0, 2]] == 0).all()
        assert np.isfinite(array[1]).all()


@pytest.mark.parametrize("label", [-1, -101, 10, 2**40])
def test_bad_labels_are_nan_and_read_inside_the_row(label: int) -> None:
    logits = torch.randn(2, 10, generator=torch.Generator().manual_seed(2))
    column = 0 if label < 0 else 9
    got = run(host_kernels(2), problem(logits, [label, 3], objective="given"))
    clamped = run(host_kernels(2), problem(logits, [column, 3], objective="given"))
    assert np.isnan(got.logp[0])
    assert np.isnan(got.entropy[0])
    assert (got.grad == clamped.grad).all()
    assert np.isnan(run(host_kernels(2), problem(logits, [label, 3], objective="perce")).weights[0])
    assert np.isfinite(got.logp[1])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("column", [0, 3, 4, 99])
def test_nan_spreads_over_its_row(column: int, threads: int) -> None:
    logits = torch.zeros(2, 100)
    logits[0, column] = math.nan
    got = run(host_kernels(threads), problem(logits, [5, 5]))
    assert np.isnan(got.logp[0])
    assert np.isnan(got.entropy[0])
    assert np.isnan(got.grad[0]).all()
    for array in vars(got).values():
        assert np.isfinite(array[1]).all()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("value", [-math.inf, math.inf])
def test_rows_of_one_infinity_are_nan(value: float, threads: int) -> None:
    got = run(host_kernels(threads), problem(torch.full((1, 100), value), [5]))
    assert np.isnan(got.logp).all()
    assert np.isnan(got.grad).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_minus_infinity_has_probability_zero(threads: int) -> None:
    """Masked tokens: first or last in a row, whole tiles of them, or the target itself."""
    for kept in (range(90, 100), range(10), range(0, 100, 7)):
        logits = torch.full((2, 100), -math.inf)
        logits[:, kept] = torch.linspace(-2, 2, len(kept))
        masked = next(column for column in range(100) if column not in kept)
        got = run(host_kernels(threads), problem(logits, [kept[0], masked]))
        reduced = expected(problem(logits[:1, kept], [0]))
        np.testing.assert_allclose(got.logp, [reduced.logp[0], -math.inf], atol=1e-6)
        np.testing.assert_allclose(got.entropy, [reduced.entropy[0]] * 2, atol=1e-6)
        np.testing.assert_allclose(got.grad[0, kept], reduced.grad[0], atol=1e-6)
        others = [column for column in range(100) if column not in kept]
        assert (got.grad[0, others] == 0).all()
        assert got.grad[1, masked] == -1


def test_a_weight_of_zero_silences_the_row() -> None:
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(3))
    logits[1, 7] = math.nan
    got = run(host_kernels(2), problem(logits, [1, 1], objective="given", given=torch.zeros(2)))
    assert (got.grad == 0).all()
    assert (got.weights == 0).all()
    assert got.logp[0] < 0


def test_softcap_bounds_infinite_logits() -> None:
    logits = torch.zeros(1, 9)
    logits[0, 2], logits[0, 3] = math.inf, -math.inf
    got = run(host_kernels(), problem(logits, [2], softcap=5.0))
    total = math.e**5 + math.e**-5 + 7
    np.testing.assert_allclose(got.logp, [5 - math.log(total)], rtol=1e-5)
    assert (got.grad[0, 2:4] == 0).all(), "tanh is flat there"


def test_half_types_round_to_nearest_even() -> None:
    """Every half-precision number widens to itself, and gradients narrow as torch narrows."""
    for dtype in (torch.bfloat16, torch.float16):
        values = torch.arange(2**16).to(torch.int16).view(dtype)
        finite = values[values.isfinite() & (values.abs() < 300)].reshape(1, -1)
        of = problem(finite, [0], grad_dtype=dtype)
        assert_close(run(host_kernels(2), of), of)
    logits = torch.randn(1, 5000, generator=torch.Generator().manual_seed(4))
    exact = run(host_kernels(1), problem(logits, [5])).grad
    for dtype in (torch.bfloat16, torch.float16):
        narrowed = run(host_kernels(1), problem(logits, [5], grad_dtype=dtype)).grad
        assert (narrowed == torch.from_numpy(exact).to(dtype).double().numpy()).all()


def test_bounds_can_fail() -> None:
    of = problem(torch.randn(2, 40, generator=torch.Generator().manual_seed(5)), [3, 4])
    got = run(host_kernels(), of)
    for name in vars(got):
        zeroed = Results(**{**vars(got), name: np.zeros_like(vars(got)[name])})
        with pytest.raises(AssertionError):
            assert_close(zeroed, of)
