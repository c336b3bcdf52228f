"""Ctrl-C during training: the first saves a checkpoint and stops, the second stops at once."""

# ruff: noqa: ARG002 - the signatures are those of transformers

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger(__name__)

Anywhere = Callable[[bool], bool]
"""Whether a flag is set on any rank; every rank calls it at the same point."""


class InterruptCallback(TrainerCallback):  # type: ignore[misc]
    """Turns the first SIGINT into a checkpoint after the current optimizer step.

    The handler is installed while training runs, in the main thread only (Python allows no other),
    and the former one is put back at the end.

    Attributes:
        interrupted: whether this run was stopped by Ctrl-C.
    """

    def __init__(self, anywhere: Anywhere) -> None:
        self.interrupted = False
        self._asked = False
        self._anywhere = anywhere
        self._former: Any = None

    def install(self) -> None:
        """Begin to catch SIGINT."""
        self.interrupted = self._asked = False
        if threading.current_thread() is threading.main_thread():
            self._former = signal.signal(signal.SIGINT, self._on_signal)

    def remove(self) -> None:
        """Put the former handler back."""
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)
            self._former = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # The next Ctrl-C is the user's again: it raises KeyboardInterrupt.
        self.remove()
        self._asked = True
        logger.warning("interrupted: saving after this step; press Ctrl-C again to stop at once")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """After an optimizer step: save and stop, without a long evaluation before it."""
        if self._anywhere(self._asked):
            control.should_evaluate = False
            self._stop(control)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """After an evaluation, which follows a whole optimizer step: the same."""
        if self._anywhere(self._asked) and state.global_step > 0:
            self._stop(control)

    def _stop(self, control: TrainerControl) -> None:
        self.interrupted = True
        control.should_save = True
        control.should_training_stop = True
