"""What went wrong in other fused cross-entropies, on the device."""

from __future__ import annotations

from collections.abc import Callable

import peer_bugs
import pytest
import torch


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "check",
    [
        peer_bugs.check_a_confident_target_keeps_its_gradient,
        peer_bugs.check_log_probabilities_are_never_positive,
        peer_bugs.check_scale_and_softcap_are_in_the_gradient,
    ],
)
def test_of_each_precision(check: Callable[[str, torch.dtype], None], dtype: torch.dtype) -> None:
    check("cuda", dtype)


@pytest.mark.parametrize(
    "check",
    [
        peer_bugs.check_large_offsets_cancel_nothing,
        peer_bugs.check_a_bad_label_is_told,
        peer_bugs.check_rows_that_are_not_numbers_stay_alone,
    ],
)
def test_of_float32(check: Callable[[str], None]) -> None:
    check("cuda")
