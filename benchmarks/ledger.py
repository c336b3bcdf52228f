"""The score ledger against NumPy and a dictionary: updates, bytes, journals and their recovery.

    python benchmarks/ledger.py                     # 20,000 records, 5 million response tokens
    python benchmarks/ledger.py --quick             # seconds
    python benchmarks/ledger.py --records 4000 --repeats 3

Every arm takes in the same micro-batches, each some records' response tokens with their PIR and
profile-free log-probability, all records once, in an order of their own:

- **perce**: ``Scores.update``, what the ledger does beside its journal.
- **NumPy**: the same state in arrays, updated by the tokens' ledger index, as the loader gives it
  (record by record, slice by slice, took twice as long).
- **dict**: a dictionary from token to its two numbers (on fewer records, for its time).

perce and NumPy must end in the same numbers, bit for bit, or the run stops. A journal of ten
million token entries is then written beside the updates, and the state recovered from it alone.
"""

from __future__ import annotations

import resource
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from common import arguments, machine, race, ratio, table
from perce import _core
from perce.ledger import History
from perce.ledger.layout import journal_path
from perce.ledger.replay import replay, same_state

DECAY = 0.5
KEEP = np.float32(DECAY)
TAKE = np.float32(1) - KEEP


def response_offsets(records: int) -> np.ndarray:
    """Where responses of 249 tokens on average, some far longer, begin and end."""
    drawn = np.random.default_rng(0).lognormal(np.log(249) - 0.125, 0.5, records)
    return np.concatenate([[0], np.cumsum(np.clip(drawn, 4, 2000).astype(np.int64))])


class Batches:
    """Micro-batches over all records in a random order, about ``tokens`` response tokens each."""

    def __init__(self, records: int, *, tokens: int) -> None:
        rng = np.random.default_rng(1)
        self.offsets = response_offsets(records)
        self.tokens = int(self.offsets[-1])
        lengths = np.diff(self.offsets)
        order = rng.permutation(records)
        ends = np.cumsum(lengths[order])
        inner = np.searchsorted(ends, np.arange(tokens, ends[-1], tokens))
        borders = np.unique([0, *inner, records])
        self.batches: list[tuple[Any, Any, Any, Any]] = []
        for start, stop in pairwise(borders.tolist()):
            chosen = order[start:stop]
            index = np.concatenate([np.arange(*self.offsets[r : r + 2]) for r in chosen])
            pir = rng.normal(0.3, 1, len(index)).astype(np.float32)
            logp = -rng.exponential(3, len(index)).astype(np.float32)
            self.batches.append((chosen, index, pir, logp))


class NumpyScores:
    """The state in arrays."""

    def __init__(self, offsets: np.ndarray) -> None:
        tokens, records = int(offsets[-1]), len(offsets) - 1
        self.pir = np.full(tokens, np.nan, np.float32)
        self.logp = np.full(tokens, np.nan, np.float32)
        self.visits, self.last_step = np.zeros((2, records), np.uint32)

    def update(self, step: int, records: Any, index: Any, pir: Any, logp: Any) -> None:
        """Take in a micro-batch."""
        old = self.pir[index]
        self.pir[index] = np.where(np.isnan(old), pir, KEEP * old + TAKE * pir)
        self.logp[index] = logp
        self.visits[records] += 1
        self.last_step[records] = step


class DictScores:
    """The state in a dictionary, token by token."""

    def __init__(self) -> None:
        self.tokens: dict[int, tuple[float, float]] = {}

    def update(self, index: list[int], pir: list[float], logp: list[float]) -> None:
        """Take in a micro-batch."""
        tokens = self.tokens
        for token, new, stored in zip(index, pir, logp, strict=True):
            old = tokens.get(token)
            tokens[token] = (new if old is None else DECAY * old[0] + (1 - DECAY) * new, stored)


def updates(batches: Batches, few: Batches, repeats: int) -> None:
    scores = _core.Scores(batches.offsets, DECAY)
    arrays, mapping = NumpyScores(batches.offsets), DictScores()
    lists = [tuple(a.tolist() for a in arrays) for _, *arrays in few.batches]
    steps = iter(range(1, 1_000_000))

    def ours() -> None:
        step = next(steps)
        for records, _, pir, logp in batches.batches:
            scores.update(step, records, pir, logp)

    def numpys() -> None:
        for records, index, pir, logp in batches.batches:
            arrays.update(1, records, index, pir, logp)

    def dicts() -> None:
        for index, pir, logp in lists:
            mapping.update(index, pir, logp)

    arms: dict[str, tuple[Callable[[], None], int]] = {
        "perce": (ours, batches.tokens),
        "NumPy": (numpys, batches.tokens),
        "dict": (dicts, few.tokens),
    }
    seconds = race({name: run for name, (run, _) in arms.items()}, repeats)
    assert np.array_equal(scores.pir(), arrays.pir)
    speed = {name: arms[name][1] / seconds[name] for name in arms}
    table(
        f"Updates, {len(batches.batches):,} micro-batches of {batches.tokens:,} tokens in all",
        ["", "token updates/s", "ns a token"],
        [[name, f"{value / 1e6:.1f} M", f"{1e9 / value:.2f}"] for name, value in speed.items()],
    )
    ratio("perce, million token updates a second", speed["perce"] / 1e6, "> 200")
    ratio("perce over NumPy", speed["perce"] / speed["NumPy"])
    ratio("perce over dict", speed["perce"] / speed["dict"])


def resident(offsets: np.ndarray) -> None:
    """Memory of the process before and after: what the state takes, wherever it is allocated."""
    tokens, records = int(offsets[-1]), len(offsets) - 1
    before = _resident_bytes()
    scores = _core.Scores(offsets, DECAY)
    grown = _resident_bytes() - before
    assert len(scores) == records
    arrays = NumpyScores(offsets)
    held = sum(a.nbytes for a in (arrays.pir, arrays.logp, arrays.visits, arrays.last_step))
    some = DictScores()
    count = min(tokens, 200_000)
    tracemalloc.start()
    some.update(list(range(count)), [0.1 * i for i in range(count)], [-0.2] * count)
    in_dict = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    table(
        f"Resident, {records:,} records of {tokens / records:.0f} response tokens",
        ["", "bytes a token"],
        [
            ["perce", f"{grown / tokens:.2f}"],
            ["of them 16 a record", f"{16 * records / tokens:.2f}"],
            ["NumPy", f"{held / tokens:.2f}"],
            ["dict", f"{in_dict / count:.0f}"],
        ],
    )
    ratio("bytes a token, those of records aside", (grown - 16 * records) / tokens, "<= 8")


def journal(batches: Batches, entries: int, repeats: int) -> None:
    """Write a journal of so many token entries, and recover the state from it alone."""
    with tempfile.TemporaryDirectory() as name:
        path = journal_path(Path(name), 0)
        writer = _core.JournalWriter(str(path))
        scores = _core.Scores(batches.offsets, DECAY)
        lengths = np.diff(batches.offsets)
        written = epoch = 0
        begin = time.perf_counter()
        while written < entries:
            epoch += 1
            for records, _, pir, logp in batches.batches:
                writer.append(epoch, records, lengths[records], pir, logp)
                scores.update(epoch, records, pir, logp)
            written += batches.tokens
        handed = time.perf_counter() - begin
        writer.close()
        size = path.stat().st_size
        recovered: list[_core.Scores] = []

        def recover() -> None:
            recovered[:] = [_core.Scores(batches.offsets, DECAY)]
            replay(recovered[0], History(Path(name)))

        seconds = race({"recover": recover, "read": path.read_bytes}, repeats)
        assert same_state(recovered[0], scores)
    visits = epoch * len(lengths)
    table(
        f"A journal of {written:,} token entries, {visits:,} visits, {size / 1e6:.0f} MB",
        ["", "seconds", "M tokens/s"],
        [
            ["append and update", f"{handed:.3f}", f"{written / handed / 1e6:.0f}"],
            *(
                [label, f"{value:.3f}", f"{written / value / 1e6:.0f}"]
                for label, value in (
                    ("recover: read, check, replay", seconds["recover"]),
                    ("read the file, nothing else", seconds["read"]),
                )
            ),
        ],
    )
    ratio("bytes of journal a token entry", size / written)
    ratio("seconds to recover 1e7 entries", seconds["recover"] * 1e7 / written)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument(
        "--tokens", type=int, default=2_000, help="response tokens of a micro-batch"
    )
    parser.add_argument("--entries", type=int, default=10_000_000, help="of the journal")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    if args.quick:
        args.records, args.entries, args.repeats = 2_000, 1_000_000, 3
    # First, as it is measured on the process: later its state could take room that others left.
    resident(response_offsets(max(args.records, 20_000)))
    batches = Batches(args.records, tokens=args.tokens)
    few = Batches(min(args.records, 1_000), tokens=args.tokens)
    updates(batches, few, args.repeats)
    journal(batches, args.entries, args.repeats)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
