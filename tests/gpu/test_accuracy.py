"""Every objective and dtype on the device: small problems against the oracle, real vocabularies
against float64 and the plain way with float32 logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from large_head import check_accuracy, check_influence, large_head
from problems import check_against_oracle, problems

from perce.objectives import objective_names
from perce.ops import linear_weighted_ce

GRADIENTS = {torch.float32: 2e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}
"""Errors of gradients; halves are rounded before they are summed."""

WITHOUT_SHRINKING = settings(phases=(Phase.explicit, Phase.generate))
"""A failure is told as it was found: minutes of a device are too dear to look for a smaller one."""

VOCABULARIES = (151936, 128256, 262144, 152064, 50257, 32003)
"""Qwen, Llama 3, Gemma, Qwen 2.5's largest, GPT-2, and an odd one: rows aligned and not."""


@pytest.mark.parametrize("dtype", GRADIENTS)
@pytest.mark.parametrize("name", objective_names())
@WITHOUT_SHRINKING
@given(data=st.data())
def test_equals_oracle(name: str, dtype: torch.dtype, data: Any) -> None:
    problem = data.draw(problems(dtype=dtype, device="cuda"))
    check_against_oracle(problem, name, GRADIENTS[dtype])


@pytest.mark.parametrize("dtype", GRADIENTS)
@pytest.mark.parametrize("vocab", VOCABULARIES)
def test_real_vocabularies(vocab: int, dtype: torch.dtype) -> None:
    given = large_head(vocab, n=300, width=512, dtype=dtype, device="cuda")
    check_accuracy(given, "perce", chunk_rows=128)


@pytest.mark.parametrize("name", objective_names())
def test_every_objective_at_full_width(name: str) -> None:
    check_accuracy(large_head(151936, n=160, width=1024, dtype=torch.bfloat16, device="cuda"), name)


@pytest.mark.parametrize("dtype", GRADIENTS)
@pytest.mark.parametrize("vocab", VOCABULARIES)
def test_influence_is_within_a_tenth_of_a_millinat(vocab: int, dtype: torch.dtype) -> None:
    check_influence(large_head(vocab, n=300, width=512, dtype=dtype, device="cuda"))


def test_chunks_change_nothing_but_rounding() -> None:
    head = large_head(50257, n=700, width=256, dtype=torch.bfloat16, device="cuda")
    whole = linear_weighted_ce(**head.columns, objective="perce")
    (wanted,) = torch.autograd.grad(whole.loss, head.hidden)
    parts = linear_weighted_ce(**head.columns, objective="perce", chunk_rows=192)
    (found,) = torch.autograd.grad(parts.loss, head.hidden)
    assert float((parts.logp - whole.logp).abs().max()) < 1e-4
    assert float((found - wanted).norm() / wanted.norm()) < 1e-2


def test_the_torch_back_end_agrees() -> None:
    head = large_head(50257, n=700, width=256, dtype=torch.float32, device="cuda")
    ours = linear_weighted_ce(**head.columns, objective="perce", backend="cuda")
    theirs = linear_weighted_ce(**head.columns, objective="perce", backend="torch")
    assert float((ours.logp - theirs.logp).abs().max()) < 1e-4
    gradients = [torch.autograd.grad(r.loss, head.hidden)[0] for r in (ours, theirs)]
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 1e-4
