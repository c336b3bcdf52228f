"""Runs to be kept in ledgers, and what a ledger of dictionaries makes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from perce.ledger import ScoreLedger
from perce.tokens import PreparedData

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Step:
    """One optimizer step: each rank's micro-batches, each some records."""

    number: int
    ranks: list[list[list[int]]]
    exchange: bool
    """Whether the ranks exchange after it; always so at an epoch's end."""


def values(step: int, record: int, data: PreparedData) -> tuple[F32, F32]:
    """PIR and profile-free log-probability of a visit: a function of step and record alone."""
    draw = np.random.default_rng([step, record])
    n = int(np.diff(data.response_offsets)[record])
    scale = draw.choice([0.1, 1.0, 30.0], n)
    return (draw.normal(0.3, scale).astype(np.float32), -draw.exponential(3, n).astype(np.float32))


def batch(
    step: int, records: Sequence[int], data: PreparedData
) -> tuple[int, npt.NDArray, F32, F32]:
    """What :meth:`ScoreLedger.update` takes."""
    pairs = [values(step, record, data) for record in records]
    empty = [np.empty(0, np.float32)]
    return (
        step,
        np.array(records, dtype=np.int64),
        np.concatenate(empty + [pir for pir, _ in pairs]),
        np.concatenate(empty + [logp for _, logp in pairs]),
    )


class DictLedger:
    """The oracle: a dictionary a token, numbers in float32, one after the other."""

    def __init__(self, data: PreparedData, decay: float) -> None:
        self.data = data
        self.decay = np.float32(decay)
        self.pir: dict[int, np.float32] = {}
        self.logp: dict[int, np.float32] = {}
        self.visits: dict[int, int] = {}
        self.last_step: dict[int, int] = {}
        self.history: list[tuple[int, int]] = []
        self.since: dict[tuple[int, float], int] = {}

    def update(self, step: int, records: Iterable[int], thresholds: Sequence[float] = ()) -> None:
        for record in map(int, records):
            start = int(self.data.response_offsets[record])
            for token, (pir, logp) in enumerate(
                zip(*values(step, record, self.data), strict=True), start
            ):
                before = self.pir.get(token)
                keep = self.decay
                self.pir[token] = (
                    pir if before is None else keep * before + (np.float32(1) - keep) * pir
                )
                self.logp[token] = logp
                for threshold in thresholds:
                    if self.pir[token] > threshold:
                        self.since.setdefault((token, threshold), step)
            self.visits[record] = self.visits.get(record, 0) + 1
            self.last_step[record] = step
            self.history.append((step, record))

    def run(self, steps: Iterable[Step], thresholds: Sequence[float] = ()) -> DictLedger:
        for step in steps:
            for rank in step.ranks:
                for records in rank:
                    self.update(step.number, records, thresholds)
        return self

    def check(self, ledger: ScoreLedger) -> None:
        """The ledger's state is this one's, bit for bit."""
        n, tokens = len(self.data), int(self.data.response_offsets[-1])
        nan = np.float32(np.nan)

        def column(of: dict[int, np.float32]) -> npt.NDArray:
            return np.array([of.get(token, nan) for token in range(tokens)], np.float32)

        every = np.arange(tokens)
        assert_bits(ledger.pir(), column(self.pir))
        assert_bits(ledger.logp_without(every), column(self.logp))
        assert ledger.visits().tolist() == [self.visits.get(i, 0) for i in range(n)]
        assert ledger.last_step().tolist() == [self.last_step.get(i, 0) for i in range(n)]


def assert_bits(ours: F32, expected: F32) -> None:
    assert ours.dtype == expected.dtype == np.float32
    same = (ours == expected) | (np.isnan(ours) & np.isnan(expected))
    assert same.all(), np.flatnonzero(~same)[:5]


def deal(order: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Cut a list into consecutive parts of these sizes, used over and over."""
    parts, at, turn = [], 0, 0
    while at < len(order):
        parts.append(list(order[at : at + sizes[turn % len(sizes)]]))
        at += sizes[turn % len(sizes)]
        turn += 1
    return parts


@st.composite
def steps(
    draw: st.DrawFn, n_records: int, world_size: int, *, epochs: int = 3, accumulation: int = 2
) -> list[Step]:
    """Up to ``epochs`` epochs: every record once in each, in steps dealt to the ranks."""
    found: list[Step] = []
    for _ in range(draw(st.integers(1, epochs))):
        order = draw(st.permutations(range(n_records)))
        batches = deal(order, draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
        micro = draw(st.integers(1, accumulation))
        for group in deal(range(len(batches)), [world_size * micro]):
            mine = [[batches[i] for i in group[rank::world_size]] for rank in range(world_size)]
            found.append(Step(len(found) + 1, mine, draw(st.booleans())))
        found[-1] = Step(found[-1].number, found[-1].ranks, exchange=True)
    return found


class Ranks:
    """Several ledgers of one run, one a rank; a thread each while they exchange."""

    def __init__(self, ledgers: Sequence[ScoreLedger], data: PreparedData) -> None:
        self.ledgers = list(ledgers)
        self.data = data

    @classmethod
    def create(cls, folder: Path, data: PreparedData, world_size: int, decay: float) -> Ranks:
        def one(rank: int) -> ScoreLedger:
            return ScoreLedger.create(folder, data, decay=decay, rank=rank, world_size=world_size)

        return cls([one(rank) for rank in range(world_size)], data)

    @classmethod
    def resume(cls, folder: Path, data: PreparedData, world_size: int, snapshot: Path) -> Ranks:
        def one(rank: int) -> ScoreLedger:
            return ScoreLedger.resume(
                folder, data, snapshot=snapshot, rank=rank, world_size=world_size
            )

        # The main rank last: the others must not need what it writes.
        made = {rank: one(rank) for rank in reversed(range(world_size))}
        return cls([made[rank] for rank in range(world_size)], data)

    def run(
        self, steps: Iterable[Step], after: Callable[[Step], None] = lambda step: None
    ) -> Ranks:
        for step in steps:
            for ledger, batches in zip(self.ledgers, step.ranks, strict=True):
                for records in batches:
                    ledger.update(*batch(step.number, records, self.data))
            if step.exchange:
                self.exchange()
            after(step)
        return self

    def exchange(self) -> None:
        n = len(self.ledgers)
        barrier, blocks = threading.Barrier(n, timeout=20), [b""] * n

        def one(rank: int) -> None:
            def gather(mine: bytes) -> list[bytes]:
                blocks[rank] = mine
                barrier.wait()
                gathered = list(blocks)
                barrier.wait()
                return gathered

            self.ledgers[rank].exchange(gather)

        with ThreadPoolExecutor(n) as pool:
            for done in [pool.submit(one, rank) for rank in range(n)]:
                done.result()

    def close(self) -> None:
        for ledger in self.ledgers:
            ledger.close()
