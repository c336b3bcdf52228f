"""Products in the ops are exact whatever the process allows, and the process keeps its settings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from perce.ops import linear_logp, linear_weighted_ce, torch_backend
from perce.ops.precision import exact_products

CUBLAS, ONEDNN = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul


def settings() -> tuple[str, str, bool]:
    return CUBLAS.fp32_precision, ONEDNN.fp32_precision, CUBLAS.allow_fp16_accumulation


@pytest.fixture
def relaxed() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    CUBLAS.allow_fp16_accumulation = True
    yield
    CUBLAS.allow_fp16_accumulation = False
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("relaxed")
def test_nothing_is_relaxed_inside_and_everything_after() -> None:
    before = settings()
    assert "tf32" in before or "bf16" in before
    with exact_products():
        assert settings() == ("ieee", "ieee", False)
    assert settings() == before


@pytest.mark.usefixtures("relaxed")
def test_an_error_inside_restores_them_too() -> None:
    before = settings()
    with pytest.raises(RuntimeError, match="mat1"), exact_products():
        torch.mm(torch.zeros(2, 3), torch.zeros(2, 3))
    assert settings() == before


def test_a_process_that_relaxes_nothing_is_left_alone() -> None:
    before = settings()
    with exact_products():
        assert settings() == before


@pytest.mark.usefixtures("relaxed")
def test_the_ops_multiply_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    chunks = torch_backend._chunks

    def spy(*arguments: object, **options: object) -> object:
        seen.append(settings())
        return chunks(*arguments, **options)

    monkeypatch.setattr(torch_backend, "_chunks", spy)
    hidden, weight, labels = torch.randn(3, 2), torch.randn(5, 2), torch.tensor([0, 1, 2])
    linear_logp(hidden, weight, labels)
    linear_weighted_ce(hidden, weight, labels, objective="ce")
    assert seen == [("ieee", "ieee", False)] * 2
