"""How far results of the ops may be from an oracle's."""

from __future__ import annotations

from torch import Tensor

FLOAT32 = 2e-5
"""Error allowed in float32, relative to the largest value there is."""


def error(found: Tensor, wanted: Tensor, floor: float = 1.0) -> float:
    """Largest difference relative to the largest value, or to ``floor`` where all are smaller.

    The floor is the size of what was subtracted: a log-probability near 0 is the difference of
    logits near 1, a gradient near 0 that of probabilities near 1.
    """
    if not wanted.numel():
        return 0.0
    scale = max(float(wanted.abs().max()), floor)
    return float((found.double() - wanted.double()).abs().max()) / scale


def gradient_error(found: Tensor | None, wanted: Tensor, floor: float = 0.1) -> float:
    assert found is not None
    return error(found, wanted, floor)
