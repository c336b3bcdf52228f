"""The Rust core: NumPy arrays in, NumPy arrays out.

All arrays are 1-D and C-contiguous and have exactly the dtype given here; anything else is a
``TypeError`` that names the argument. Calls release the GIL and start no threads.
``perce.errors.StoreError`` and ``PackingError`` carry ``record``, the index of the first record at
fault, or None.
"""

from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

__all__ = ["TokenStore", "epoch_order", "group_records", "pack_pairs", "rank_bins"]

_I32: TypeAlias = npt.NDArray[np.int32]
_I64: TypeAlias = npt.NDArray[np.int64]

_StreamArrays: TypeAlias = tuple[_I64, _I64, _I32, _I64]
"""A stream's buffers: input_ids [T], position_ids [T], cu_seqlens [S + 1] (int32), rows [N]."""

@final
class TokenStore:
    """Prepared token ids of n records: two prefixes and a response each, in three ragged columns.

    Row i of a column is ``ids[offsets[i]:offsets[i + 1]]``. Every row has at least one id, every id
    is 0 or more; all of it is checked once, here. The arrays are kept, not copied: memory maps stay
    maps.

    Args:
        prefix_with: int32, prompt ids with the profile.
        prefix_with_offsets: int64 [n + 1].
        prefix_without: int32, prompt ids without the profile.
        prefix_without_offsets: int64 [n + 1].
        response: int32, response ids.
        response_offsets: int64 [n + 1].

    Raises:
        StoreError: the columns are not n rows each; names the column and the record.
    """

    def __new__(
        cls,
        prefix_with: _I32,
        prefix_with_offsets: _I64,
        prefix_without: _I32,
        prefix_without_offsets: _I64,
        response: _I32,
        response_offsets: _I64,
    ) -> TokenStore: ...
    def __len__(self) -> int:
        """Number of records n."""

    @property
    def n_response_tokens(self) -> int:
        """Response tokens over all records."""

    def lengths(self) -> tuple[_I64, _I64]:
        """Whole-sequence lengths, prefix and response together: (with profile [n], without [n])."""

    def measure(self, records: _I64) -> tuple[int, int, int, int, int]:
        """Sizes of a batch.

        Returns:
            Tokens with profile, without, response tokens, longest sequence with, without.

        Raises:
            PackingError: a record is not in the store, or a stream has more than 2**31 - 1 tokens.
            StoreError: the arrays were changed after the store was opened.
        """

    def collate(
        self,
        records: _I64,
        with_profile: _StreamArrays,
        without_profile: _StreamArrays,
        targets: tuple[_I64, _I64, _I64],
        *,
        ignore: bool = False,
    ) -> None:
        """Write a batch of S records into the caller's arrays, of the lengths of :meth:`measure`.

        Args:
            records: [S], indices into the store.
            with_profile: buffers of the stream with the profile.
            without_profile: buffers of the stream without it.
            targets: labels, segment and ledger index, [N] each.
            ignore: write -100 for every label and -1 for every ledger index.

        Raises:
            PackingError: as for :meth:`measure`, or a buffer of another length; nothing has been
                written then.
            StoreError: the arrays were changed after the store was opened.
        """

def pack_pairs(
    lengths_with: _I64, lengths_without: _I64, capacity_with: int, capacity_without: int
) -> tuple[_I64, _I64]:
    """Pack records by best-fit decreasing over the long stream, within both capacities.

    Both variants of a record go into the same bin. Among bins with equal long room the one with the
    most short room is taken, then the one opened first.

    Returns:
        ``(bin_offsets [B + 1], records [n])``: bin b holds ``records[bin_offsets[b]:bin_offsets[b +
        1]]``.

    Raises:
        PackingError: a length or capacity is out of range, or a record is longer than its capacity.
    """

def group_records(n_records: int, batch_size: int, seed: int | None = None) -> tuple[_I64, _I64]:
    """Group records into batches of ``batch_size``, shuffled first where there is a seed.

    Returns:
        As :func:`pack_pairs`; the last batch is smaller where it must be.

    Raises:
        PackingError: a batch size of 0.
    """

def epoch_order(n_bins: int, seed: int, epoch: int) -> _I64:
    """Permutation of the bins for an epoch, the same on every platform; [n_bins]."""

def rank_bins(order: _I64, rank: int, world_size: int) -> _I64:
    """Bins ``order[rank::world_size]`` of one rank, [ceil(n_bins / world_size)] on every rank.

    A short rank ends with a repeat, encoded as ``-1 - bin``, to be collated with ``ignore``.

    Raises:
        PackingError: a rank outside its world, or an order with negative bins.
    """
