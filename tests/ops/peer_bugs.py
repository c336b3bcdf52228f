"""Bugs that other fused cross-entropies have had, each as a check on a device of one's choice."""

from __future__ import annotations

import pytest
import torch
from closeness import error, gradient_error

import oracles
from perce.errors import LabelError
from perce.ops import linear_logp, linear_weighted_ce
from perce.ops.labels import watch


def check_a_confident_target_keeps_its_gradient(device: str, dtype: torch.dtype) -> None:
    """p rounded to bfloat16 before 1 is taken off: 0 for any p above 0.998 (Liger #1329)."""
    hidden = torch.ones(4, 1, device=device, dtype=dtype, requires_grad=True)
    weight = torch.tensor([[8.0], [0.0], [0.5]], device=device, dtype=dtype)
    labels = torch.zeros(4, device=device, dtype=torch.int64)
    result = linear_weighted_ce(hidden, weight, labels, objective="ce", num_items=4)
    result.loss.backward()
    wanted = oracles.weighted_ce(
        hidden, weight, labels, torch.ones(4, device=device), 4
    ).grad_hidden
    assert float(result.logp.exp().min()) > 0.999
    assert float((hidden.grad.double() / wanted - 1).abs().max()) < 2**-6


def check_log_probabilities_are_never_positive(device: str, dtype: torch.dtype) -> None:
    """A dot product of its own for the target gives log p above 0 (CCE #55)."""
    generator = torch.Generator(device).manual_seed(0)
    weight = torch.randn(257, 64, device=device, generator=generator).to(dtype)
    labels = torch.randint(0, 257, (512,), device=device, generator=generator)
    for spread in (0.5, 1.0, 3.0):
        hidden = weight[labels] * spread
        logp = linear_logp(hidden, weight, labels)
        assert logp.max() <= 0
        assert torch.equal(linear_weighted_ce(hidden, weight, labels, objective="ce").logp, logp)
    assert logp.max() == 0


def check_large_offsets_cancel_nothing(device: str) -> None:
    """(m + log l) - z loses every digit at large m."""
    hidden = torch.eye(2, device=device)
    weight = torch.tensor([[0.0, 0.0], [1.0, 0.5], [0.25, 0.0]], device=device)
    labels = torch.tensor([1, 0], device=device)
    near = linear_logp(hidden, weight, labels)
    bias = torch.full((3,), 2.0**20, device=device)
    assert error(linear_logp(hidden, weight, labels, bias=bias), near) < 1e-6
    assert near.max() < -0.3


def check_scale_and_softcap_are_in_the_gradient(device: str, dtype: torch.dtype) -> None:
    """A head's scale and softcap, forgotten in the loss or in its gradient."""
    generator = torch.Generator(device).manual_seed(1)
    hidden = torch.randn(9, 16, device=device, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(33, 16, device=device, generator=generator).to(dtype)
    labels = torch.randint(0, 33, (9,), device=device, generator=generator)
    ones = torch.ones(9, device=device)
    for options in ({"logit_scale": 0.25}, {"logit_softcap": 2.0}):
        result = linear_weighted_ce(hidden, weight, labels, objective="ce", **options)
        wanted = oracles.weighted_ce(hidden, weight, labels, ones, 9, **options)
        bare = oracles.weighted_ce(hidden, weight, labels, ones, 9)
        assert error(result.logp, wanted.logp) < 1e-5
        assert error(wanted.logp, bare.logp) > 0.1
        (found,) = torch.autograd.grad(result.loss, hidden)
        assert gradient_error(found, wanted.grad_hidden, 1e-3) < 2**-6
        assert gradient_error(bare.grad_hidden, wanted.grad_hidden, 1e-3) > 0.1


def check_a_bad_label_is_told(device: str) -> None:
    """An index outside the vocabulary must neither be read nor pass in silence."""
    hidden, weight = torch.randn(3, 4, device=device), torch.randn(5, 4, device=device)
    for bad in (5, -1, 2**40):
        labels = torch.tensor([0, bad, 4], device=device)
        if device == "cpu":
            with pytest.raises(LabelError, match=f"label {bad} at position 1"):
                linear_logp(hidden, weight, labels)
            continue
        result = linear_weighted_ce(hidden, weight, labels, objective="ce")
        assert result.logp.isnan().tolist() == [False, True, False]
        assert result.loss.isnan()
        with pytest.raises(LabelError, match=f"label {bad} at position 1: .* an earlier call"):
            watch.tell(wait=True)
        assert linear_logp(hidden, weight, labels).isnan().tolist() == [False, True, False]
        torch.cuda.synchronize()
        with pytest.raises(LabelError, match=f"label {bad} at position 1: .* an earlier call"):
            linear_logp(hidden, weight, labels)
        assert linear_logp(hidden, weight, labels.clamp(0, 4)).isfinite().all()


def check_rows_that_are_not_numbers_stay_alone(device: str) -> None:
    """NaN states, a head that forbids every token, forbidden targets: defined, and only there."""
    generator = torch.Generator(device).manual_seed(2)
    hidden = torch.randn(4, 8, device=device, generator=generator)
    weight = torch.randn(13, 8, device=device, generator=generator)
    labels = torch.tensor([1, 2, -100, 3], device=device)
    clean = linear_weighted_ce(hidden, weight, labels, objective="ce").logp
    hidden[1] = torch.nan
    hidden[2] = torch.nan
    hidden.requires_grad_()
    result = linear_weighted_ce(hidden, weight, labels, objective="ce")
    assert result.logp.isnan().tolist() == [False, True, False, False]
    assert torch.equal(result.logp[[0, 2, 3]], clean[[0, 2, 3]])
    (gradient,) = torch.autograd.grad(result.loss, hidden)
    assert gradient.isnan().all(1).tolist() == [False, True, False, False]
    forbidden = torch.full((13,), -torch.inf, device=device)
    nothing = linear_logp(hidden.detach()[:1], weight, labels[:1], bias=forbidden)
    assert nothing.isnan().all()
    forbidden[:] = 0
    forbidden[1] = -torch.inf
    options = {"bias": forbidden, "weights": torch.tensor([0.0, 1.0], device=device)}
    rows = (hidden.detach()[[0, 3]], weight, labels[[0, 3]])
    result = linear_weighted_ce(*rows, **options)
    assert result.logp[0] == -torch.inf
    assert float(result.loss) == pytest.approx(-float(result.logp[1]) / 2)
