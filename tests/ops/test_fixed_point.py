"""PerCE moves the optimum: p* = pW / (pW + (1 - p) m), as the objectives guide says."""

from __future__ import annotations

import math

import pytest
import torch

import oracles
from perce.objectives import Objective, get_objective
from perce.ops import linear_weighted_ce


def train(values: int, objective: Objective) -> float:
    """Probability of the profile's value after training one slot of ``values`` choices.

    Of 100 rows 60 hold the profile's value, the others are spread over the rest. The profile-free
    model knows nothing: its log-probability is ln(1 / values). PIR is estimated by the trained
    weights themselves, at every step.
    """
    labels = torch.tensor([0] * 60 + [1 + i % (values - 1) for i in range(40)])
    hidden, without = torch.ones(100, 1), torch.full((100,), -math.log(values))
    weight = torch.zeros(values, 1)
    weight[0] = 1.0
    weight.requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        linear_weighted_ce(
            hidden, weight, labels, objective=objective, logp_without=without
        ).loss.backward()
        optimizer.step()
    return float(weight.detach()[:, 0].softmax(0)[0])


@pytest.mark.parametrize(
    ("values", "clip_min", "clip_max"),
    [(2, 0.2, 5.0), (11, 0.2, 5.0), (11, 1.0, 5.0), (21, 0.8, 5.0)],
)
def test_fixed_point(values: int, clip_min: float, clip_max: float) -> None:
    wanted = oracles.fixed_point(0.6, values, clip_min, clip_max)
    reached = train(values, get_objective("perce", clip_min=clip_min, clip_max=clip_max))
    assert reached == pytest.approx(wanted, abs=2e-3)
    # The optimum moved: CE's is the frequency itself.
    assert wanted > 0.65


def test_ce_stays_calibrated() -> None:
    assert train(11, get_objective("ce")) == pytest.approx(0.6, abs=2e-3)
