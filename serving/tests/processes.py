"""Real processes, killed where a test says: nothing of theirs runs afterwards, no ``finally``."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable


def in_child(action: Callable[[], object]) -> int:
    """Start ``action`` in a process of its own; its id."""
    with warnings.catch_warnings():
        # The child only touches files, so other threads' locks do not matter to it.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return child


def outcome(child: int) -> int:
    """Wait for a process: its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class KillAt:
    """A step hook that ends its process, as ``kill -9`` does, at the n-th step."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, name: str) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
