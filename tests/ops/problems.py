"""Random rows in front of a random head, and what every back end has to make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from closeness import FLOAT32, error, gradient_error
from hypothesis import strategies as st
from torch import Tensor

import oracles
from perce.objectives import get_objective
from perce.ops import WeightedCE, linear_weighted_ce


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
        """A tenth of a row's largest gradient there can be; a softcap leaves less of it."""
        largest = max(1.0, *(float(t.detach().abs().max()) for t in (self.hidden, self.weight)))
        scale = self.head["logit_scale"] / divisor
        if self.hidden.dtype in (torch.bfloat16, torch.float16):
            # Each row's share is rounded before they are summed: nothing is as exact as the result.
            # Below the smallest normal number, which float16 reaches, steps shrink no further.
            terms = max(len(self.labels), len(self.weight))
            smallest = torch.finfo(self.hidden.dtype).tiny * terms / divisor
            return largest * (scale * float(weights.sum()) + smallest) + 1e-9
        return 0.1 * largest * scale * float(weights.max()) + 1e-9

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
def problems(draw: st.DrawFn, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Problem:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    n, width = draw(st.integers(1, 19)), draw(st.integers(1, 9))
    vocab = draw(st.sampled_from([2, 3, 17, 64, 129]))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    spread = draw(st.sampled_from([0.1, 1.0, 4.0]))
    labels = torch.randint(0, vocab, (n,), generator=generator)
    ignored = draw(st.sampled_from([0.0, 0.3, 1.0]))
    labels[torch.rand(n, generator=generator) < ignored] = -100
    records = draw(st.integers(1, 4))
    return Problem(
        hidden=(normal(n, width) * spread).to(device, dtype).requires_grad_(),
        weight=normal(vocab, width).to(device, dtype).requires_grad_(),
        bias=normal(vocab).to(device, dtype).requires_grad_() if draw(st.booleans()) else None,
        labels=labels.to(device),
        logp_without=-3 * normal(n).abs().to(device),
        logp_reference=-3 * normal(n).abs().to(device),
        segment=torch.randint(0, records, (n,), generator=generator).to(device),
        head={
            "logit_scale": draw(st.sampled_from([1.0, 0.25, 3.0])),
            "logit_softcap": draw(st.sampled_from([None, 2.0, 30.0])),
        },
        chunk_rows=draw(st.integers(1, n + 3)),
    )


def expected_weights(problem: Problem, name: str, result: WeightedCE) -> Tensor:
    """The oracle's weights from the op's own log-probabilities, which are checked beside it."""
    entropy = problem.oracle(torch.ones_like(result.weights), 1.0).entropy
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
    weights = torch.zeros(len(problem.labels), dtype=torch.float64, device=result.weights.device)
    segment = [int(problem.segment[i]) for i in counted]
    found = oracles.objective_weights(name, tokens, segment)
    weights[counted] = torch.tensor(found, dtype=torch.float64, device=weights.device)
    return weights


def check_against_oracle(problem: Problem, name: str, gradient_tolerance: float = FLOAT32) -> None:
    """Loss, log-probabilities, PIR, weights and all gradients under one of the objectives."""
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
    pairs = [(problem.hidden, wanted.grad_hidden), (problem.weight, wanted.grad_weight)]
    if problem.bias is not None:
        pairs.append((problem.bias, wanted.grad_bias))
    for tensor, gradient in pairs:
        assert tensor.grad is not None
        assert tensor.grad.dtype == tensor.dtype
        assert gradient_error(tensor.grad, gradient, floor) < gradient_tolerance
    for tensor in (result.logp, result.pir, result.weights, result.sum_weights):
        assert not tensor.requires_grad
        assert tensor.dtype == torch.float32
    assert not result.logp[~counted].any()
    assert not result.weights[~counted].any()
    assert not problem.hidden.grad[~counted].any()
