"""How PIR was distributed over training: quantiles from histograms of a fixed layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from perce._core import histogram, quantiles
from perce.errors import OptionError
from perce.ledger.history import F32, Visits
from perce.ledger.ragged import I64

BINS = 4097

_MOST_STEPS = 2**32
"""Steps are stored in 32 bits."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(slots=True, eq=False)
class Distribution:
    """PIR of the tokens of one part of training, each visit counted.

    Attributes:
        first_step: its first step.
        last_step: its last step.
        visits: record visits.
        tokens: token visits.
        personal: those with a PIR above the threshold.
        counts: int64 [4097], tokens by bin of :func:`perce._core.histogram`; distributions merge by
            adding them.
    """

    first_step: int
    last_step: int
    visits: int = 0
    tokens: int = 0
    personal: int = 0
    counts: I64 = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))

    @property
    def personal_share(self) -> float:
        """Share of the tokens with a PIR above the threshold."""
        return self.personal / self.tokens

    def quantiles(self, q: Iterable[float] = QUANTILES) -> npt.NDArray[np.float64]:
        """Quantiles of PIR in nats, within 0.5 % of their value; float64, one for each of ``q``."""
        return quantiles(self.counts, np.fromiter(q, dtype=np.float64))

    def add(self, steps: npt.NDArray[np.uint32], pir: F32, threshold: float) -> None:
        """Count the visits at some steps and the PIR of all their tokens."""
        self.first_step = min(self.first_step, int(steps[0]))
        self.last_step = max(self.last_step, int(steps[-1]))
        self.visits += len(steps)
        self.tokens += len(pir)
        self.personal += int(np.count_nonzero(pir > threshold))
        histogram(pir, self.counts)


def by_visit(history: Iterable[Visits], n_records: int, *, threshold: float) -> list[Distribution]:
    """One distribution for all records' first visits, one for their second, and so on: by epoch.

    Args:
        history: the visits.
        n_records: records of the data.
        threshold: PIR in nats above which a token counts as personal.
    """
    visited: I64 = np.zeros(n_records, dtype=np.int64)
    found: list[Distribution] = []
    for block in history:
        for visits in block.rounds():
            times = visited[visits.records]
            visited[visits.records] += 1
            for time in np.unique(times).tolist():
                part = visits.take(np.flatnonzero(times == time))
                if time == len(found):
                    found.append(Distribution(int(part.steps[0]), int(part.steps[-1])))
                found[time].add(part.steps, part.pir, threshold)
    return found


def by_steps(history: Iterable[Visits], every: int, *, threshold: float) -> Iterator[Distribution]:
    """One distribution for each range of ``every`` steps in which there were visits, in order.

    Args:
        history: the visits.
        every: steps a range; the first is 1 to ``every``.
        threshold: PIR in nats above which a token counts as personal.

    Raises:
        OptionError: ``every`` is below 1.
    """
    if every < 1:
        raise OptionError("every", f"{every} is below 1")
    every = min(every, _MOST_STEPS)
    under_way: tuple[int, Distribution] | None = None
    for block in history:
        ranges = (block.steps.astype(np.int64) - 1) // every
        for number in np.unique(ranges).tolist():
            start, stop = np.searchsorted(ranges, [number, number + 1]).tolist()
            part = block.part(start, stop)
            if under_way is None or under_way[0] != number:
                if under_way is not None:
                    yield under_way[1]
                under_way = number, Distribution(int(part.steps[0]), int(part.steps[-1]))
            under_way[1].add(part.steps, part.pir, threshold)
    if under_way is not None:
        yield under_way[1]
