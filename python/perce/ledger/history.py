"""What the journals hold: every visit of every record, in the order of steps, in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perce._core import JournalReader
from perce.ledger.layout import find_journals
from perce.ledger.ragged import I64, repeats, token_index

U32 = npt.NDArray[np.uint32]
F32 = npt.NDArray[np.float32]

BLOCK_TOKENS = 1 << 20
"""Tokens of the visits that are held in memory at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Visits:
    """Some visits of records, F of them with N response tokens together.

    Attributes:
        steps: uint32 [F], the optimizer step of each, never falling.
        records: int64 [F], index of the record in the data.
        lengths: int64 [F], its response tokens.
        pir: float32 [N], in nats, visit by visit.
        logp_without: float32 [N], in nats.
    """

    steps: U32
    records: I64
    lengths: I64
    pir: F32
    logp_without: F32

    def __len__(self) -> int:
        return len(self.records)

    def take(self, visits: I64) -> Visits:
        """Some of the visits, in the order given."""
        ends = np.cumsum(self.lengths)
        tokens = token_index((ends - self.lengths)[visits], self.lengths[visits])
        return Visits(
            self.steps[visits],
            self.records[visits],
            self.lengths[visits],
            self.pir[tokens],
            self.logp_without[tokens],
        )

    def tokens(self, offsets: I64) -> I64:
        """Index of each token among all response tokens of the data; int64 [N].

        Args:
            offsets: int64 [n + 1], where each record's response begins.
        """
        return token_index(offsets[self.records], self.lengths)

    def rounds(self) -> Iterator[Visits]:
        """The visits in parts, in their order, no record twice in a part."""
        times = repeats(self.records)
        last = int(times.max(initial=0))
        if last == 0:
            yield self
            return
        for time in range(last + 1):
            yield self.take(np.flatnonzero(times == time))

    def part(self, start: int, stop: int) -> Visits:
        """The visits from ``start`` to before ``stop``, as views."""
        first, last = self.lengths[:start].sum(), self.lengths[:stop].sum()
        visits, tokens = slice(start, stop), slice(int(first), int(last))
        return Visits(
            self.steps[visits],
            self.records[visits],
            self.lengths[visits],
            self.pir[tokens],
            self.logp_without[tokens],
        )


class History:
    """The journals of all ranks as one sequence of visits. Iterate as often as you like.

    Reads a block of each journal at a time; nothing else is held in memory.

    Args:
        folder: the ledger's folder.
        after: leave out this step and those before.
        last_step: leave out later steps; None for all.
        block_tokens: tokens in a block, or those of one visit where they are more.

    Attributes:
        torn: bytes of a torn tail by journal, known after an iteration: what a killed process left
            half-written, which is no part of the history.

    Iterating raises ``LedgerError`` where a journal is damaged before its end.
    """

    def __init__(
        self,
        folder: Path,
        *,
        after: int = 0,
        last_step: int | None = None,
        block_tokens: int = BLOCK_TOKENS,
    ) -> None:
        self._folder = folder
        self._after = after
        self._last_step = last_step
        self._block_tokens = block_tokens
        self.torn: dict[Path, int] = {}

    def __iter__(self) -> Iterator[Visits]:
        paths = list(find_journals(self._folder).values())
        reader = JournalReader(
            [str(path) for path in paths],
            block_tokens=self._block_tokens,
            after=self._after,
            through=self._last_step,
        )
        for arrays in reader:
            yield Visits(*arrays)
        torn = zip(paths, reader.torn_bytes.tolist(), strict=True)
        self.torn = {path: size for path, size in torn if size}

    def notes(self) -> list[str]:
        """What to know of :attr:`torn`, in sentences."""
        return [
            f"{path.name} ends in {size} bytes of a frame that was never finished; they are left "
            "out, and gone once the run is resumed"
            for path, size in self.torn.items()
        ]
