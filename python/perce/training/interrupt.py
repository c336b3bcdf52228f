"""Ctrl-C and SIGTERM during training: the first saves and stops, the second stops at once."""

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
    """Turns the first SIGINT or SIGTERM into a checkpoint after the current optimizer step.

    A signal that comes while a checkpoint is written lets it be finished and stops there. The
    handlers are installed while training runs, in the main thread only (Python allows no other),
    and the former ones are put back at the end.

    Attributes:
        interrupted: whether a signal stopped this run.
    """

    def __init__(self, anywhere: Anywhere) -> None:
        self.interrupted = False
        self._asked = False
        self._anywhere = anywhere
        self._former: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Begin to catch the signals."""
        self.interrupted = self._asked = False
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._former[number] = signal.signal(number, self._on_signal)

    def remove(self) -> None:
        """Put the former handlers back."""
        for number, former in self._former.items():
            signal.signal(number, former)
        self._former = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # The next signal is the user's again: it raises KeyboardInterrupt, or ends the process.
        self.remove()
        self._asked = True
        again = "press Ctrl-C again" if number == signal.SIGINT else "send SIGTERM again"
        logger.warning("interrupted: saving after this step; %s to stop at once", again)

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

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """After a checkpoint, in which the signal may have come: stop, for it is saved."""
        if self._anywhere(self._asked):
            self.interrupted = True
            control.should_training_stop = True

    def _stop(self, control: TrainerControl) -> None:
        self.interrupted = True
        control.should_save = True
        control.should_training_stop = True
