"""Training that tells a caller about its steps, where transformers would print."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback


def tell_steps(trainer: Trainer, tell: Callable[[int, int], None]) -> None:
    """Let a trainer print nothing and tell after each optimizer step instead.

    Args:
        trainer: before or between trainings.
        tell: called with the optimizer steps done and the steps there are.
    """
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    trainer.add_callback(_Steps(tell))


class _Steps(TrainerCallback):  # type: ignore[misc]
    def __init__(self, tell: Callable[[int, int], None]) -> None:
        self._tell = tell

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell the steps done and the steps there are."""
        del args, control, kwargs
        self._tell(state.global_step, state.max_steps)
