"""The back end's less trodden ways, on the device."""

from __future__ import annotations

import other_ways
import pytest
import torch
from large_head import check_accuracy, large_head

from perce.objectives import Scope


@pytest.mark.parametrize("scope", ["token", "record"])
def test_an_objective_of_the_users_own(scope: Scope) -> None:
    other_ways.check_an_objective_of_the_users_own("cuda", scope)


def test_a_head_of_another_precision() -> None:
    other_ways.check_a_head_of_another_precision("cuda")


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_counts(n: int) -> None:
    other_ways.check_nothing_counts("cuda", n)


def test_a_device_that_is_not_the_current_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    given = large_head(1031, n=20, width=32, dtype=torch.bfloat16, device="cuda:1")
    assert torch.cuda.current_device() == 0
    check_accuracy(given, "perce", chunk_rows=8)
