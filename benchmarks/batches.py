"""Packing and collation, from token ids to the tensors of a training step, against its rivals.

    python benchmarks/batches.py                    # 20,000 records and 2,000,000 lengths
    python benchmarks/batches.py --quick            # seconds
    python benchmarks/batches.py --records 5000 --lengths 200000 --repeats 3

Every rival makes the same from the same ids: both variants of each record, packed into bins, with
positions, sequence borders, labels, and the index that aligns the two variants' response rows.

- **perce**: ``PairLoader`` with a ring of buffers; *collation alone* leaves out the tensors.
- **NumPy**: the plan of perce, slices copied into preallocated buffers, positions from a table.
- **TRL**: ``pack_dataset`` (bfd) of the long variant with a column that says which record a token
  is of, TRL's padding-free collator for it, the short variant's rows fetched by that column and
  collated alike, and the response rows found by their labels.
- **transformers**: the plan of perce, rows fetched from ``datasets``, for both variants
  ``DataCollatorWithFlattening``, response rows found by their labels.

*copy limit* is the time NumPy takes to widen int32 into the int64 of a ring of buffers, as many
numbers as the batches hold; *copy limit, ids alone* widens the token ids and nothing else.
TRL and transformers see the first ``--rival_records`` records only: they take minutes for all.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import datasets
import numpy as np
import torch
from transformers import DataCollatorWithFlattening
from trl import pack_dataset
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from common import arguments, machine, race, random_store, ratio, table
from perce import _core
from perce.pairs import PairLoader

RING = 6


class Columns:
    """The ids of some records, for rivals that cannot read a token store."""

    def __init__(self, store: _core.TokenStore, records: int) -> None:
        self.store = store
        self.lengths = tuple(stream[:records] for stream in store.lengths())
        self.with_profile: list[np.ndarray] = []
        self.without_profile: list[np.ndarray] = []
        self.response: list[int] = []
        loader = PairLoader(
            store, packing=False, per_device_train_batch_size=1, shuffle=False, ring_size=1
        )
        for record, batch in enumerate(loader):
            if record == records:
                break
            self.with_profile.append(batch.with_profile.input_ids.numpy().astype(np.int32))
            self.without_profile.append(batch.without_profile.input_ids.numpy().astype(np.int32))
            self.response.append(len(batch.labels))
        self.tokens = int(sum(stream.sum() for stream in self.lengths))

    def dataset(self, name: str) -> datasets.Dataset:
        """One variant as prepared for supervised training: ids, and labels on the response."""
        rows = getattr(self, name)
        labels = [row.copy() for row in rows]
        for row, response in zip(labels, self.response, strict=True):
            row[:-response] = -100
        return datasets.Dataset.from_dict({"input_ids": rows, "labels": labels})


def with_trl(columns: Columns, max_tokens: int) -> Callable[[], int]:
    """TRL's packing and collator; a run returns the response tokens it aligned."""
    long, short = columns.dataset("with_profile"), columns.dataset("without_profile")
    numbers = [np.full(len(row), number) for number, row in enumerate(columns.with_profile)]
    long = long.add_column("record", numbers)
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)

    def run() -> int:
        packed = pack_dataset(long, max_tokens, "bfd", {"load_from_cache_file": False})
        aligned = 0
        for bin_ in packed:
            starts = np.cumsum([0, *bin_["seq_lengths"][:-1]])
            records = [bin_["record"][start] for start in starts]
            first = collator([{k: bin_[k] for k in ("input_ids", "labels", "seq_lengths")}])
            second = collator([short[record] for record in records])
            aligned += _aligned(first, second)
        return aligned

    return run


def with_transformers(columns: Columns, bins: tuple[np.ndarray, np.ndarray]) -> Callable[[], int]:
    """The flattening collator; a run returns the response tokens it aligned."""
    long, short = columns.dataset("with_profile"), columns.dataset("without_profile")
    collator = DataCollatorWithFlattening(return_flash_attn_kwargs=True)

    def run() -> int:
        aligned = 0
        for start, end in pairwise(bins[0].tolist()):
            records = bins[1][start:end].tolist()
            first = collator([long[record] for record in records])
            aligned += _aligned(first, collator([short[record] for record in records]))
        return aligned

    return run


def _aligned(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> int:
    """Find the logits rows of the response tokens in both variants; they must name the same."""
    rows = [(batch["labels"][0] != -100).nonzero().flatten() - 1 for batch in (first, second)]
    if not torch.equal(first["labels"][0][rows[0] + 1], second["labels"][0][rows[1] + 1]):
        raise AssertionError("a rival's two variants are not aligned")
    return len(rows[0])


def with_numpy(columns: Columns, bins: tuple[np.ndarray, np.ndarray]) -> Callable[[], int]:
    """A careful NumPy collator; a run returns the response tokens it aligned."""
    widest = max(
        int(np.add.reduceat(stream[bins[1]], bins[0][:-1]).max()) for stream in columns.lengths
    )
    most = int(np.diff(bins[0]).max())
    count = np.arange(widest + 1)
    starts = np.concatenate([[0], np.cumsum(columns.response)])
    buffers = [np.empty((9, widest), np.int64) for _ in range(RING)]
    borders = [np.empty((2, most + 1), np.int32) for _ in range(RING)]

    def run() -> int:
        aligned = 0
        for number, (first, last) in enumerate(pairwise(bins[0].tolist())):
            buffer, cu_seqlens = buffers[number % RING], borders[number % RING]
            cu_seqlens[:, 0] = 0
            ends, done = [0, 0], 0
            for segment, record in enumerate(bins[1][first:last].tolist()):
                response = columns.response[record]
                stop = done + response
                for stream, rows in enumerate((columns.with_profile, columns.without_profile)):
                    ids = rows[record]
                    start = ends[stream]
                    ends[stream] = end = start + len(ids)
                    buffer[2 * stream, start:end] = ids
                    buffer[2 * stream + 1, start:end] = count[: len(ids)]
                    buffer[4 + stream, done:stop] = count[end - response - 1 : end - 1]
                    cu_seqlens[stream, segment + 1] = end
                buffer[6, done:stop] = ids[-response:]
                buffer[7, done:stop] = segment
                np.add(count[:response], starts[record], out=buffer[8, done:stop])
                done = stop
            _tensors(buffer, ends, done, cu_seqlens[:, : segment + 2])
            aligned += done
        return aligned

    return run


def _tensors(
    buffer: np.ndarray, ends: list[int], done: int, cu_seqlens: np.ndarray
) -> list[torch.Tensor]:
    sizes = [ends[0], ends[0], ends[1], ends[1], *[done] * 5]
    parts = [torch.from_numpy(row[:size]) for row, size in zip(buffer, sizes, strict=True)]
    return parts + [torch.from_numpy(row) for row in cu_seqlens]


def with_perce(loader: PairLoader) -> Callable[[], int]:
    """Our own; a run returns the response tokens it aligned."""
    return lambda: sum(len(batch.labels) for batch in loader)


def collation_alone(
    store: _core.TokenStore, bins: tuple[np.ndarray, np.ndarray]
) -> Callable[[], None]:
    """The core's collation into a ring of arrays."""
    records = [bins[1][first:last] for first, last in pairwise(bins[0].tolist())]
    sizes = [store.measure(chosen) for chosen in records]
    most = len(max(records, key=len))
    widest = max(2 * (long + short) + 5 * n for long, short, n, _, _ in sizes) + most
    ring = [(np.empty(widest, np.int64), np.empty(2 * most + 2, np.int32)) for _ in range(RING)]

    def run() -> None:
        for turn, chosen in enumerate(records):
            store.collate(chosen, *ring[turn % RING])

    return run


def copy_limit(numbers: int, batch: int) -> Callable[[], None]:
    """Widen so many numbers, a batch at a time, into a ring of buffers."""
    ids = np.random.default_rng(0).integers(0, 49152, numbers, dtype=np.int32)
    ring = [np.empty(batch, np.int64) for _ in range(RING)]

    def run() -> None:
        for turn, start in enumerate(range(0, numbers, batch)):
            part = ids[start : start + batch]
            ring[turn % RING][: len(part)] = part

    return run


def allocations(loader: PairLoader) -> tuple[int, int]:
    """Of an epoch: blocks of tensors' memory used in all, and bytes Python still holds after it."""
    for _ in loader:  # what is made once is made now
        pass
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    blocks = {batch.labels.untyped_storage().data_ptr() for batch in loader}
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return len(blocks), after - before


def batches(records: int, rival_records: int, max_tokens: int, repeats: int) -> None:
    """The table of whole batches."""
    store = random_store(records)
    lengths = store.lengths()
    tokens = int(lengths[0].sum() + lengths[1].sum())
    loader = PairLoader(store, max_tokens=max_tokens, ring_size=RING)
    bins = _core.pack_pairs(*lengths, max_tokens, 2**31 - 1)
    few = Columns(store, rival_records)
    few_bins = _core.pack_pairs(*few.lengths, max_tokens, 2**31 - 1)
    everything = Columns(store, records)
    rivals = {
        "TRL pack_dataset + collator": with_trl(few, max_tokens),
        "transformers DataCollatorWithFlattening": with_transformers(few, few_bins),
    }
    response = store.n_response_tokens
    numbers = 2 * tokens + 5 * response  # ids and positions; rows of both, and three targets
    for name, run in rivals.items():
        if run() != sum(few.response):
            raise AssertionError(f"{name} lost response tokens")

    arms: dict[str, Callable[[], object]] = {
        "copy limit": copy_limit(numbers, numbers // loader.n_bins),
        "copy limit, ids alone": copy_limit(tokens, tokens // loader.n_bins),
        "perce, collation alone": collation_alone(store, bins),
        "perce PairLoader": with_perce(loader),
        "perce packing + PairLoader": lambda: with_perce(
            PairLoader(store, max_tokens=max_tokens, ring_size=RING)
        )(),
        "NumPy": with_numpy(everything, bins),
    }
    if arms["NumPy"]() != response or arms["perce PairLoader"]() != response:
        raise AssertionError("response tokens were lost")
    seconds = race(arms, repeats)
    speeds = {name: tokens / time for name, time in seconds.items()}
    slow = race(rivals, max(1, repeats // 3))
    speeds |= {name: few.tokens / time for name, time in slow.items()}
    table(
        f"{records:,} records, {tokens / 1e6:.1f} M tokens, {loader.n_bins} bins of {max_tokens:,}",
        ("arm", "M tokens/s", "of the copy limit"),
        [
            (name, f"{speed / 1e6:,.2f}", f"{speed / speeds['copy limit']:.3f}")
            for name, speed in sorted(speeds.items(), key=lambda item: -item[1])
        ],
    )
    blocks, held = allocations(loader)
    print(
        f"\n{len(loader)} batches came in {blocks} blocks of memory, the ring's {RING}; "
        f"Python held {held} bytes more after them.\n"
    )
    ours = speeds["perce packing + PairLoader"]
    ratio(
        "perce over TRL, packing and batches",
        ours / speeds["TRL pack_dataset + collator"],
        ">= 500",
    )
    ratio("perce over NumPy, batches", speeds["perce PairLoader"] / speeds["NumPy"], ">= 2")
    ratio("collation over NumPy", speeds["perce, collation alone"] / speeds["NumPy"])
    for limit in ("copy limit", "copy limit, ids alone"):
        share = speeds["perce, collation alone"] / speeds[limit]
        ratio(f"collation over the {limit}", share, ">= 0.8")


def fill(records: int) -> None:
    """The table of how full the bins are."""
    store = random_store(records)
    rows = []
    for max_tokens in (6144, 8192, 16384, 32768, 65536):
        row = [f"{max_tokens:,}"]
        for short_ratio in (1.25, 1.5, 1e9):
            full = PairLoader(store, max_tokens=max_tokens, short_ratio=short_ratio).fill
            row.append(f"{full.with_profile:.4f}")
        rows.append(row)
    table(
        f"Share of the long stream filled, {records:,} records (goal >= 0.99)",
        ("max_tokens", "short_ratio 1.25", "1.5", "short stream free"),
        rows,
    )


def packing(n: int, rival: int, repeats: int) -> None:
    """The table of packing alone; a sixteenth of the lengths, so that TRL's rows fit memory."""
    rng = np.random.default_rng(0)
    long = np.clip(rng.lognormal(4.65, 0.4, n), 2, 1024).astype(np.int64)
    short = np.maximum(long // 5, 1)

    def trl(count: int) -> Callable[[], object]:
        ids = np.split(np.zeros(long[:count].sum(), np.int8), np.cumsum(long[: count - 1]))
        data = datasets.Dataset.from_dict({"input_ids": ids})
        return lambda: pack_dataset(data, 1024, "bfd", {"load_from_cache_file": False})

    seconds = race({"perce": lambda: _core.pack_pairs(long, short, 1024, 10**6)}, repeats)
    seconds |= race({"TRL": trl(rival)}, max(1, repeats // 3))
    speeds = {"perce pack_pairs": n / seconds["perce"], "TRL pack_dataset": rival / seconds["TRL"]}
    table(
        f"Packing alone: {n:,} records (TRL: the first {rival:,}), "
        f"{seconds['perce'] * 1e3:.1f} ms for perce",
        ("arm", "M records/s"),
        [(name, f"{speed / 1e6:,.3f}") for name, speed in speeds.items()],
    )
    ratio("perce over TRL, packing", speeds["perce pack_pairs"] / speeds["TRL pack_dataset"])


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rival_records", type=int, default=2_000)
    parser.add_argument("--lengths", type=int, default=2_000_000)
    parser.add_argument("--max_tokens", type=int, default=16_384)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    if args.quick:
        args.records, args.rival_records, args.lengths, args.repeats = 500, 60, 40_000, 3
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    batches(args.records, min(args.rival_records, args.records), args.max_tokens, args.repeats)
    fill(args.records)
    for n in sorted({min(20_000, args.lengths), args.lengths}):
        packing(n, min(n, 10 * args.rival_records), args.repeats)
    print(f"\n{machine('transformers', 'trl', 'datasets')}")


if __name__ == "__main__":
    main()
