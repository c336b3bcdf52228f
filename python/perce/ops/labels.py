"""Labels that cannot be: an error at once on the CPU, and one without waiting on a CUDA device.

A device finds out by itself, in the queue of the call, and leaves its answer in pinned memory. The
calls after it look whether the answer has come, which costs nothing, and raise what it says. Until
then the loss of such a call is NaN, as the back ends make it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from perce.errors import LabelError
from perce.ops.head import IGNORE_INDEX


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a device says of one call, once ``event`` has passed."""

    first_bad: Tensor
    """int64 [2] in host memory: position and label, or a position past the end."""
    n: int
    vocab: int
    event: Any


class LabelWatch:
    """Looks at the labels of calls on devices, and raises what it saw at a later call.

    Args:
        watched: Whether labels on this device can be watched now.
        event: Makes an event that is recorded on the current stream.
    """

    def __init__(
        self, watched: Callable[[torch.device], bool], event: Callable[[torch.device], Any]
    ) -> None:
        self._watched = watched
        self._event = event
        self._answers: deque[_Answer] = deque()

    def look(self, labels: Tensor, vocab: int) -> None:
        """Have the device look at the labels of this call, once what earlier calls saw is raised.

        Args:
            labels: int64 [N] on a device.
            vocab: V; a label is -100 or from 0 to V - 1.

        Raises:
            LabelError: An earlier call on any device had a label that cannot be.
        """
        self.tell()
        if not len(labels) or not self._watched(labels.device):
            return
        n = len(labels)
        positions = torch.arange(n, device=labels.device)
        position = torch.where(_is_bad(labels, vocab), positions, n).amin()
        label = labels.index_select(0, position.clamp(max=n - 1).view(1))
        seen = torch.cat((position.view(1), label))
        first_bad = torch.empty(2, dtype=torch.int64, pin_memory=seen.is_cuda)
        first_bad.copy_(seen, non_blocking=True)
        self._answers.append(_Answer(first_bad, n, vocab, self._event(labels.device)))

    def tell(self, *, wait: bool = False) -> None:
        """Raise LabelError for the first bad label among the answers that have come.

        Args:
            wait: Wait for the device to answer for every call so far.

        Raises:
            LabelError: Names the label and its row in the call that had it.
        """
        while self._answers:
            answer = self._answers[0]
            if wait:
                answer.event.synchronize()
            elif not answer.event.query():
                return
            self._answers.popleft()
            position, label = answer.first_bad.tolist()
            if position < answer.n:
                self._answers.clear()
                raise _error(label, position, answer.vocab, "; an earlier call had it")


def _watchable(device: torch.device) -> bool:
    # Within a capture nothing runs yet, and the answer of a replay would come to nobody.
    return device.type == "cuda" and not torch.cuda.is_current_stream_capturing()


def _recorded(device: torch.device) -> Any:
    return torch.cuda.current_stream(device).record_event()


watch = LabelWatch(_watchable, _recorded)
"""Of this process."""


def check_labels(labels: Tensor, vocab: int) -> None:
    """Refuse labels that are neither -100 nor in [0, vocab).

    Args:
        labels: int64 [N]. On the CPU they are looked at here; on a CUDA device by the device, whose
            answer is raised by a later call.
        vocab: V.

    Raises:
        LabelError: Names the first of them and its row.
    """
    if labels.device.type != "cpu":
        watch.look(labels, vocab)
        return
    bad = _is_bad(labels, vocab)
    if bool(bad.any()):
        position = int(bad.nonzero()[0, 0])
        raise _error(int(labels[position]), position, vocab)


def _is_bad(labels: Tensor, vocab: int) -> Tensor:
    return ((labels < 0) | (labels >= vocab)) & (labels != IGNORE_INDEX)


def _error(label: int, position: int, vocab: int, when: str = "") -> LabelError:
    return LabelError(
        f"label {label} at position {position}: the vocabulary has {vocab} tokens; give an id from "
        f"0 to {vocab - 1}, or {IGNORE_INDEX} to ignore the row{when}"
    )
