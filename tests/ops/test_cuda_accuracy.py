"""The checks of the GPU suite on this processor, at sizes it is fit for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import other_ways
import peer_bugs
import pytest
import torch
from host_device import NOWHERE, on_host
from large_head import check_accuracy, check_influence, distance, exact, large_head, plain

from perce.objectives import Scope, objective_names

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture(autouse=True)
def _host() -> Iterator[None]:
    with on_host(), NOWHERE:
        yield


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", objective_names())
def test_accuracy(name: str, dtype: torch.dtype) -> None:
    check_accuracy(large_head(1031, n=20, width=32, dtype=dtype, device="cpu"), name, chunk_rows=8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_influence(dtype: torch.dtype) -> None:
    check_influence(large_head(1031, n=20, width=32, dtype=dtype, device="cpu"))


def test_the_yardstick_rejects_a_gradient_rounded_too_early() -> None:
    head = large_head(1031, n=20, width=32, dtype=torch.bfloat16, device="cpu")
    ones = torch.ones(20, device="cpu")
    wanted, usual = exact(head, ones), plain(head, ones)
    assert distance(wanted.grad_hidden.bfloat16(), wanted.grad_hidden) < 2**-8
    coarse = torch.log_softmax((head.hidden @ head.weight.t()).detach(), 1).gather(
        1, head.labels.masked_fill(head.labels < 0, 0)[:, None]
    )
    coarse = coarse.squeeze(1).masked_fill(head.labels < 0, 0)
    assert distance(coarse, wanted.logp) > 100 * distance(usual.logp, wanted.logp)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "check",
    [
        peer_bugs.check_a_confident_target_keeps_its_gradient,
        peer_bugs.check_log_probabilities_are_never_positive,
        peer_bugs.check_scale_and_softcap_are_in_the_gradient,
    ],
)
def test_peer_bugs_of_each_precision(
    check: Callable[[str, torch.dtype], None], dtype: torch.dtype
) -> None:
    check("cpu", dtype)


@pytest.mark.parametrize(
    "check",
    [
        peer_bugs.check_large_offsets_cancel_nothing,
        peer_bugs.check_a_bad_label_is_told,
        peer_bugs.check_rows_that_are_not_numbers_stay_alone,
    ],
)
def test_peer_bugs(check: Callable[[str], None]) -> None:
    check("cpu")


@pytest.mark.parametrize("scope", ["token", "record"])
def test_an_objective_of_the_users_own(scope: Scope) -> None:
    other_ways.check_an_objective_of_the_users_own("cpu", scope)


def test_a_head_of_another_precision() -> None:
    other_ways.check_a_head_of_another_precision("cpu")


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_counts(n: int) -> None:
    other_ways.check_nothing_counts("cpu", n)
