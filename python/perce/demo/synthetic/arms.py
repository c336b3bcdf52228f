"""The arms of the comparison, and what each must converge to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from perce.demo.synthetic.fixed_point import fixed_point
from perce.demo.synthetic.task import VALUES


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train.

    Attributes:
        name: what to call it.
        objective: "ce" or "perce".
        clip_min: m of ``perce``.
        clip_max: M of ``perce``.
        source: what makes the weights: the model itself, the base as a frozen reference, or a
            column of scores, here those of the CE arm's model.
        ce_warmup_steps: steps of CE before it.
    """

    name: str
    objective: Literal["ce", "perce"] = "perce"
    clip_min: float = 0.8
    clip_max: float = 5.0
    source: Literal["self", "reference", "column"] = "self"
    ce_warmup_steps: int = 0

    def predict(self, follow: float, *, base: float, ce: float) -> float:
        """Probability of the user's own value at a slot after convergence.

        Args:
            follow: how often training letters follow the profile.
            base: what the base gives that value.
            ce: what the CE arm's model gives it.
        """
        if self.objective == "ce":
            return follow
        reference = {"self": None, "reference": base, "column": ce}[self.source]
        return fixed_point(follow, VALUES, self.clip_min, self.clip_max, reference=reference)

    def options(self) -> dict[str, Any]:
        """The trainer's options, but for the files that sources read."""
        return {
            "objective": self.objective,
            "perce_clip_min": self.clip_min,
            "perce_clip_max": self.clip_max,
            "perce_weight_source": self.source,
            "ce_warmup_steps": self.ce_warmup_steps,
        }


CE = Arm(name="CE", objective="ce")
ARMS = (CE, Arm(name="PerCE 0.8-5"), Arm(name="PerCE 0.2-5", clip_min=0.2))
"""The arms of the short comparison; CE is the first of any, as others refer to it."""

ALL_ARMS = (
    *ARMS,
    Arm(name="PerCE 1-5", clip_min=1.0),
    Arm(name="PerCE 0.2-5, reference", clip_min=0.2, source="reference"),
    Arm(name="PerCE 0.2-5, column", clip_min=0.2, source="column"),
    Arm(name="PerCE 0.2-5, CE warm-up", clip_min=0.2, ce_warmup_steps=10),
)
"""With the other weight sources."""
