"""What a rank has computed and the others have not seen yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

Gather = Callable[[bytes], list[bytes]]
"""Collects a block of bytes from every rank, in the order of ranks, on every rank."""

BLOCK_BYTES = 1 << 24
"""Bytes that a rank sends at a time, or the frames of one update where those are more."""


class Outbox:
    """The frames of a rank's journal since the last exchange: where they lie, not they themselves.

    They are read back from the journal in blocks of whole frames, so that an epoch's frames need
    not stay in memory.

    Args:
        journal: the rank's journal.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._start = journal.stat().st_size
        self._sizes: list[int] = []

    def add(self, size: int) -> None:
        """Note that frames of so many bytes were appended to the journal."""
        if self._sizes and self._sizes[-1] + size <= BLOCK_BYTES:
            self._sizes[-1] += size
        else:
            self._sizes.append(size)

    def take(self) -> Iterator[bytes]:
        """Read block after block, once; the journal must have been flushed."""
        with self._journal.open("rb") as stream:
            stream.seek(self._start)
            for size in self._sizes:
                self._start += size
                yield stream.read(size)
        self._sizes = []
