"""Batches of record pairs: two packed, aligned token streams in an order that resumes exactly.

A record becomes two sequences, its response spliced after the prefix with the user's profile and
after the prefix without it. Bins of records are packed once; an epoch permutes them, a rank takes
every ``world_size``-th, and the Rust core writes one bin as a :class:`PairBatch`. Nothing is padded
and nothing is truncated.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, Protocol, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from perce import _core
from perce.errors import OptionError, PackingError

_I64: TypeAlias = npt.NDArray[np.int64]

PLAN_VERSION = 2
"""Part of every plan hash; raised when the same options come to mean another order."""


class Prepared(Protocol):
    """Anything that holds a token store, as :class:`perce.tokens.PreparedData` does."""

    @property
    def core(self) -> _core.TokenStore:
        """The validated token store."""
        ...


@dataclass(frozen=True, slots=True)
class PackedStream:
    """Sequences of one variant without padding: T tokens, S sequences, N response tokens.

    Attributes:
        input_ids: int64 [T].
        position_ids: int64 [T], from 0 in each sequence.
        cu_seqlens: int32 [S + 1], where sequences start and end, as attention kernels take it.
        rows: int64 [N], index of the logits that predict each response token: one before the token
            itself.
        max_seqlen: tokens of the longest sequence.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    cu_seqlens: torch.Tensor
    rows: torch.Tensor
    max_seqlen: int

    def to(self, device: torch.device | str | int, *, non_blocking: bool = False) -> Self:
        """Copy to a device; tensors that are there already are shared."""
        return dataclasses.replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=non_blocking),
            position_ids=self.position_ids.to(device, non_blocking=non_blocking),
            cu_seqlens=self.cu_seqlens.to(device, non_blocking=non_blocking),
            rows=self.rows.to(device, non_blocking=non_blocking),
        )


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Records in both variants. Entry k of all that has length N is the same response token.

    The int64 tensors are parts of one block of memory: to keep one is to keep them all.

    Attributes:
        with_profile: the long stream.
        without_profile: the short stream.
        labels: int64 [N], response ids; -100 throughout in a repeat that only keeps ranks in step.
        segment: int64 [N], record within the batch, 0 to S - 1.
        ledger_index: int64 [N], index among all response tokens of the data; -1 throughout in a
            repeat.
        records: int64 [S], index of each record in the data.
    """

    with_profile: PackedStream
    without_profile: PackedStream
    labels: torch.Tensor
    segment: torch.Tensor
    ledger_index: torch.Tensor
    records: torch.Tensor

    @property
    def num_items(self) -> int:
        """Response tokens that count (label other than -100); waits for the labels' device."""
        return int((self.labels != -100).sum())

    def to(self, device: torch.device | str | int, *, non_blocking: bool = False) -> Self:
        """Copy to a device; tensors that are there already are shared."""
        return dataclasses.replace(
            self,
            with_profile=self.with_profile.to(device, non_blocking=non_blocking),
            without_profile=self.without_profile.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
            segment=self.segment.to(device, non_blocking=non_blocking),
            ledger_index=self.ledger_index.to(device, non_blocking=non_blocking),
            records=self.records.to(device, non_blocking=non_blocking),
        )


class Fill(NamedTuple):
    """Share of the capacity in use, averaged over the bins, for each stream."""

    with_profile: float
    without_profile: float


class PairLoader(DataLoader[PairBatch]):
    """Iterates over :class:`PairBatch` es of prepared data, one micro-batch of one rank each.

    With ``packing`` bins are filled up to ``max_tokens`` by best-fit decreasing, both variants of a
    record in the same bin; without, a micro-batch is ``per_device_train_batch_size`` records. Both
    are padding-free. The short stream's capacity follows from the data: ``max_tokens`` times the
    ratio of mean lengths times ``short_ratio``, or the longest short sequence where that is more.

    The plan depends on the lengths and options alone: the same on every platform, ``len()`` the
    same in every epoch, and ``accelerate.skip_first_batches`` continues bit for bit. Where the bins
    do not divide by ``world_size``, short ranks end with a *repeat* whose labels are all -100, so
    that all ranks take the same number of steps.

    The price: packing takes milliseconds for 10,000 records and leaves some capacity empty (see
    :attr:`fill`): of the long stream 2 % at 8,192 tokens, 1 % at 16,384 and 0.5 % at 32,768 with
    records of 1,900 tokens on average, as a bin holds few of them, and about a fifth of the short
    stream, its slack of ``short_ratio``. Each token is copied once, from the store's int32 into
    int64. Collation runs in the calling thread: it is far faster than handing a batch over from a
    worker process.

    Args:
        data: prepared data, or a token store of your own.
        packing: fill bins up to ``max_tokens``.
        max_tokens: capacity of the long stream in tokens; used with ``packing``.
        per_device_train_batch_size: records in a micro-batch; used without ``packing``.
        short_ratio: room for the short stream over the mean ratio of lengths; below 1.25 it costs
            fill: at 16,384 tokens 1 % at 1.1, 5 % at 1.
        seed: seed of the order of bins (and of the grouping without ``packing``), 0 to 2**64 - 1.
        shuffle: permute the bins anew in every epoch; otherwise they come in a fixed order, for
            evaluation.
        rank: this process among ``world_size``.
        world_size: number of processes that share the data.
        ring_size: None gives every batch memory of its own. A number k allocates k sets of buffers
            once; a batch is then valid until k further batches have been drawn.

    Raises:
        OptionError: an option is out of range.
        PackingError: there are no records, or one is longer than ``max_tokens``; ``.record`` is its
            index.
    """

    def __init__(
        self,
        data: Prepared | _core.TokenStore,
        *,
        packing: bool = True,
        max_tokens: int = 16384,
        per_device_train_batch_size: int = 32,
        short_ratio: float = 1.25,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        ring_size: int | None = None,
    ) -> None:
        _within("max_tokens", max_tokens, 1)
        _within("per_device_train_batch_size", per_device_train_batch_size, 1)
        _within("world_size", world_size, 1)
        if not (math.isfinite(short_ratio) and short_ratio > 0):
            raise OptionError("short_ratio", f"{short_ratio} is not a positive number, as 1.25 is")
        _within("seed", seed, 0, 2**64 - 1)
        _within("rank", rank, 0, world_size - 1)
        if ring_size is not None:
            _within("ring_size", ring_size, 1)

        store = data if isinstance(data, _core.TokenStore) else data.core
        if len(store) == 0:
            raise PackingError("the data hold no records; prepare at least one")
        lengths = store.lengths()
        capacities: tuple[int, int] | None = None
        if packing:
            capacities = (max_tokens, _short_capacity(*lengths, max_tokens, short_ratio))
            bins = _core.pack_pairs(*lengths, *capacities)
        else:
            batch_size = min(per_device_train_batch_size, len(store))
            bins = _core.group_records(len(store), batch_size, seed if shuffle else None)
        options = {
            "version": PLAN_VERSION,
            "capacities": capacities,
            "batch_size": None if packing else per_device_train_batch_size,
            "seed": seed,
            "shuffle": shuffle,
        }
        self.plan_hash = _hash(options, *lengths, *bins)
        """What a checkpoint stores and a resumed run compares: data lengths, options and bins. Rank
        and ``world_size`` are no part of it: they deal the same bins out in the same order."""
        self.n_bins = len(bins[0]) - 1
        """Bins over all ranks."""
        loads = _loads(bins, lengths)
        self.fill = _fill(loads, capacities)
        """Share of each stream's capacity in use; without ``packing`` the largest batch is full."""
        self._plan = _PlanSampler(
            self.n_bins, seed=seed if shuffle else None, rank=rank, world_size=world_size
        )
        super().__init__(
            _Bins(store, bins, loads, ring_size),
            batch_sampler=self._plan,
            collate_fn=itemgetter(0),
            # Without a generator of its own an iterator would draw from torch's global one, and so
            # change a run's dropout by being restarted.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[PairBatch]:  # type: ignore[override]
        """The epoch's batches, without DataLoader's own iterator: that takes longer than a batch.

        A loader that ``skip_first_batches`` makes of this one has that iterator, and gives the
        same.
        """
        dataset = self.dataset
        for (code,) in self._plan:
            yield dataset[code]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, whose order the next iterator takes.

        Raises:
            OptionError: a negative epoch.
        """
        self._plan.set_epoch(epoch)


class _PlanSampler(Sampler[list[int]]):
    """Yields this rank's bins in the epoch's order, a repeat as ``-1 - bin``, as lists of one."""

    def __init__(self, n_bins: int, *, seed: int | None, rank: int, world_size: int) -> None:
        self._n_bins = n_bins
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        _within("epoch", epoch, 0, 2**64 - 1)
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._n_bins // self._world_size)

    def __iter__(self) -> Iterator[list[int]]:
        if self._seed is None:
            order = np.arange(self._n_bins, dtype=np.int64)
        else:
            order = _core.epoch_order(self._n_bins, self._seed, self._epoch)
        for code in _core.rank_bins(order, self._rank, self._world_size).tolist():
            yield [code]


class _Bins(Dataset[PairBatch]):
    """Collates a bin by its number, or, as ``-1 - bin``, with everything ignored."""

    def __init__(
        self,
        store: _core.TokenStore,
        bins: tuple[_I64, _I64],
        loads: list[_I64],
        ring_size: int | None,
    ) -> None:
        self._store = store
        self._offsets, self._records = bins
        most_records = int(np.diff(self._offsets).max())
        long, short = (int(load.max()) for load in loads)
        # A response is shorter than its short sequence.
        self._ring = [_Memory(long, short, short, most_records) for _ in range(ring_size or 0)]
        self._drawn = 0

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, code: int) -> PairBatch:
        number = code if code >= 0 else -1 - code
        records = self._records[self._offsets[number] : self._offsets[number + 1]]
        memory = self._ring[self._drawn % len(self._ring)] if self._ring else None
        self._drawn += 1
        return _collate(self._store, records, memory, ignore=code < 0)


class _Memory:
    """What a batch is written into: a block for all its int64 parts, and one of ``cu_seqlens``.

    One call of torch cuts a block into its parts; a call a part takes longer than to write them.
    """

    def __init__(self, long: int, short: int, response: int, records: int) -> None:
        self.block = torch.empty(2 * (long + short) + 5 * response + records, dtype=torch.int64)
        self.borders = torch.empty(2 * (records + 1), dtype=torch.int32)
        self.arrays = (self.block.numpy(), self.borders.numpy())


def _collate(
    store: _core.TokenStore, records: _I64, memory: _Memory | None, *, ignore: bool
) -> PairBatch:
    if memory is None:
        memory = _Memory(*store.measure(records)[:3], len(records))
    long, short, n, longest_long, longest_short = store.collate(
        records, *memory.arrays, ignore=ignore
    )
    parts = _cut(memory.block, long, long, short, short, n, n, n, n, n, len(records))
    cu_long, cu_short = _cut(memory.borders, len(records) + 1, len(records) + 1)
    return PairBatch(
        with_profile=PackedStream(parts[0], parts[1], cu_long, parts[4], longest_long),
        without_profile=PackedStream(parts[2], parts[3], cu_short, parts[5], longest_short),
        labels=parts[6],
        segment=parts[7],
        ledger_index=parts[8],
        records=parts[9],
    )


def _cut(memory: torch.Tensor, *sizes: int) -> tuple[torch.Tensor, ...]:
    """Parts of so many numbers each, one behind the other.

    Unlike views, parts of the unsafe cut have a version each: to write to the labels does not tell
    autograd that the ids have changed.
    """
    *parts, _ = memory.unsafe_split_with_sizes([*sizes, len(memory) - sum(sizes)])
    return tuple(parts)


def _within(option: str, value: object, least: int, most: int | None = None) -> None:
    if isinstance(value, int) and least <= value and (most is None or value <= most):
        return
    bounds = f"of {least} or more" if most is None else f"from {least} to {most}"
    raise OptionError(option, f"{value!r} is not an integer {bounds}")


def _short_capacity(
    with_profile: _I64,
    without_profile: _I64,
    max_tokens: int,
    short_ratio: float,
) -> int:
    total = int(without_profile.sum())
    wanted = max_tokens * (total / int(with_profile.sum())) * short_ratio
    # More than all short sequences together is never used; the bound keeps an extravagant ratio in
    # range.
    bounded = min(wanted, total, 2**31 - 1)
    return max(math.ceil(bounded), int(without_profile.max()))


def _loads(bins: tuple[_I64, _I64], lengths: tuple[_I64, _I64]) -> list[_I64]:
    """Tokens of each bin, in the long stream and in the short one."""
    offsets, records = bins
    return [np.add.reduceat(stream[records], offsets[:-1]) for stream in lengths]


def _fill(loads: list[_I64], capacities: tuple[int, int] | None) -> Fill:
    full = capacities or tuple(int(load.max()) for load in loads)
    return Fill(
        *(float(load.mean() / capacity) for load, capacity in zip(loads, full, strict=True))
    )


def _hash(options: Mapping[str, object], *arrays: _I64) -> str:
    digest = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    for array in arrays:
        digest.update(len(array).to_bytes(8, "little"))
        digest.update(array.astype("<i8", copy=False).tobytes())
    return digest.hexdigest()
