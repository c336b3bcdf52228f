"""An event loop of simulated time, which jumps to the next timer when nothing is left to do.

What takes minutes there takes milliseconds here, and the same on a busy machine as on an idle one.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class _Jump(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """A selector that lets simulated time pass instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits, and no timer will wake anybody: a deadlock")
            self.now += timeout
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def simulate(main: Coroutine[Any, Any, _T]) -> _T:
    """Run ``main`` on a loop of its own, and everything it leaves behind to its end."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)
