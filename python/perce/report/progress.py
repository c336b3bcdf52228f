"""A progress bar on the terminal, or a line now and then where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from perce.report.characters import visible

LINE_EVERY = 10.0
"""Seconds between two lines where the output is no terminal."""


@contextmanager
def batches() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function to call with what is done, how much of it, and how much there is.

    It writes to standard error; a new description replaces the bar. A description is shown as it
    is: there may be a user's id in it.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeElapsedColumn,
    )

    # The bars of transformers tell of loading a few files; they would come between ours.
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(lambda line: console.print(line, markup=False, highlight=False))
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bars.remove_task(task)
                tasks.clear()
                tasks[what] = bars.add_task(visible(what), total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield told


class _Lines:
    """A line at each end, and one now and then before it."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._last = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - self._last >= LINE_EVERY:
            self._last = now
            self._write(f"{visible(what)}: {done}/{total}")
