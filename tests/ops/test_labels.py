"""Labels that a device looks at: told by a later call, once, and only when the answer has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perce.errors import LabelError
from perce.ops.head import IGNORE_INDEX
from perce.ops.labels import LabelWatch

VOCAB = 5
labels_of_a_call = st.lists(
    st.sampled_from([IGNORE_INDEX, 0, VOCAB - 1]) | st.sampled_from([-1, VOCAB, 2**40]), max_size=6
)


@dataclass
class Moment:
    """A CUDA event: passed when the test says so, or when somebody waits for it."""

    passed: bool = False

    def query(self) -> bool:
        return self.passed

    def synchronize(self) -> None:
        self.passed = True


class Device:
    """A device that gets round to its queue when told, in order."""

    def __init__(self, *, watched: bool = True) -> None:
        self.moments: list[Moment] = []
        self.watch = LabelWatch(lambda _: watched, lambda _: self._record())

    def _record(self) -> Moment:
        self.moments.append(Moment())
        return self.moments[-1]

    def call(self, labels: list[int]) -> str | None:
        """What a call raised."""
        return self._told(lambda: self.watch.look(torch.tensor(labels, dtype=torch.int64), VOCAB))

    def wait(self) -> str | None:
        return self._told(lambda: self.watch.tell(wait=True))

    def catch_up(self) -> None:
        for moment in self.moments:
            moment.passed = True

    @staticmethod
    def _told(call: Callable[[], None]) -> str | None:
        try:
            call()
        except LabelError as error:
            return str(error)
        return None


def first_bad(labels: list[int]) -> str | None:
    for position, label in enumerate(labels):
        if label != IGNORE_INDEX and not 0 <= label < VOCAB:
            return f"label {label} at position {position}: the vocabulary has {VOCAB} tokens"
    return None


@given(st.lists(st.tuples(labels_of_a_call, st.booleans()), max_size=8))
def test_each_call_raises_what_the_device_has_found_by_then(
    calls: list[tuple[list[int], bool]],
) -> None:
    device = Device()
    waiting: list[str | None] = []
    answered = 0
    for labels, catches_up in calls:
        found = [bad for bad in waiting[:answered] if bad]
        told = device.call(labels)
        if found:
            assert told is not None
            assert told.startswith(found[0])
            assert told.endswith("an earlier call had it")
            waiting, answered = [], 0  # told once: it is the caller's now, and so is what followed
        else:
            assert told is None
            waiting = waiting[answered:] + ([first_bad(labels)] if labels else [])
            answered = 0
        if catches_up:
            device.catch_up()
            answered = len(waiting)
    found = [bad for bad in waiting if bad]
    told = device.wait()
    assert (told or "").startswith(found[0] if found else "")
    assert (told is None) == (not found)
    assert device.wait() is None


def test_the_first_bad_label_is_told_whatever_follows_it() -> None:
    device = Device()
    assert device.call([0, 9, IGNORE_INDEX, -3]) is None
    assert device.call([0]) is None
    device.moments[0].passed = True
    assert "label 9 at position 1" in str(device.call([0]))


def test_nothing_is_asked_of_a_device_that_cannot_be_watched() -> None:
    device = Device(watched=False)
    assert device.call([9]) is None
    assert device.moments == []
    assert device.wait() is None


@pytest.mark.parametrize("labels", [[], [IGNORE_INDEX, IGNORE_INDEX]])
def test_no_labels_are_no_bad_ones(labels: list[int]) -> None:
    device = Device()
    assert device.call(labels) is None
    assert device.wait() is None
