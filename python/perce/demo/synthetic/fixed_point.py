"""What a personal token's probability converges to, by objective and weight source."""

from __future__ import annotations

import math

_ITERATIONS = 200


def clip(value: float, low: float, high: float) -> float:
    """``value`` within [low, high]."""
    return min(max(value, low), high)


def fixed_point(
    p: float,
    values: int,
    clip_min: float,
    clip_max: float,
    *,
    reference: float | None = None,
) -> float:
    """Probability that PerCE gives the profile's value at a slot, once it has converged.

    If a text follows the profile with probability p, its value counts p W and the others count
    (1 - p) m, for their PIR is below 0 and clipped to m. So the weighted likelihood is highest at

        p* = p W / (p W + (1 - p) m),      W = clip(ln(q K), m, M)

    where K values are equally likely without the profile, and q is the probability that whatever
    makes the weights gives to the profile's value: p* itself with self-estimated weights, which
    makes this an equation to solve, or what a frozen reference says.

    Args:
        p: how often the text follows the profile, in (0, 1).
        values: K.
        clip_min: m, above 0.
        clip_max: M.
        reference: q of a frozen reference; None for self-estimated weights.

    Returns:
        p*. Where self-estimated weights leave several, the one that a model reaches from above: one
        that uses profiles already.
    """
    found = 1.0 if reference is None else reference
    for _ in range(_ITERATIONS if reference is None else 1):
        weight = clip(math.log(found * values), clip_min, clip_max)
        found = p * weight / (p * weight + (1 - p) * clip_min)
    return found
