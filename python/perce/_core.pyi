"""The compiled core: NumPy arrays in, NumPy arrays out; and the CUDA kernels over device memory.

All arrays are 1-D and C-contiguous and have exactly the dtype given here; anything else is a
``TypeError`` that names the argument. Calls release the GIL and start no threads.
``perce.errors.StoreError``, ``PackingError`` and ``LedgerError`` carry ``record``, the index of the
first record at fault, or None; ``LedgerError`` carries ``path``, the file at fault, or None.
"""

import os
from collections.abc import Sequence
from typing import Self, TypeAlias, final

import numpy as np
import numpy.typing as npt

__all__ = [
    "JournalReader",
    "JournalWriter",
    "Scores",
    "TokenStore",
    "cuda_architectures",
    "cuda_load",
    "cuda_logp_rows",
    "cuda_weighted_rows",
    "epoch_order",
    "group_records",
    "histogram",
    "pack_pairs",
    "quantiles",
    "rank_bins",
]

_F32: TypeAlias = npt.NDArray[np.float32]
_F64: TypeAlias = npt.NDArray[np.float64]
_U32: TypeAlias = npt.NDArray[np.uint32]
_U64: TypeAlias = npt.NDArray[np.uint64]
_I32: TypeAlias = npt.NDArray[np.int32]
_I64: TypeAlias = npt.NDArray[np.int64]

_Path: TypeAlias = str | os.PathLike[str]

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
        self, records: _I64, block: _I64, cu_seqlens: _I32, *, ignore: bool = False
    ) -> tuple[int, int, int, int, int]:
        """Write a batch of S records into the caller's arrays, which may be longer than it needs.

        T, U and N are the tokens with profile, without, and of the responses. Entry k of all that
        has length N is the same response token.

        Args:
            records: [S], indices into the store.
            block: int64 [2 T + 2 U + 5 N + S or more]. Takes, one behind the other: token ids and
                positions with the profile, [T] each; the same without, [U] each; the index of the
                logits that predict each response token, with profile and without; labels; segment
                (record within the batch); ledger index, [N] each; the records, [S].
            cu_seqlens: int32 [2 S + 2 or more]. Takes where sequences start and end: [S + 1] with
                the profile, then [S + 1] without.
            ignore: write -100 for every label and -1 for every ledger index.

        Returns:
            As :meth:`measure`.

        Raises:
            PackingError: as for :meth:`measure`, or a buffer that is too short; nothing has been
                written then.
            StoreError: the arrays were changed after the store was opened.
        """

def pack_pairs(
    lengths_with: _I64, lengths_without: _I64, capacity_with: int, capacity_without: int
) -> tuple[_I64, _I64]:
    """Pack records by best-fit decreasing over the long stream, within both capacities.

    Both variants of a record go into the same bin. Records are taken by falling ``with + without *
    capacity_with // (4 * capacity_without)``, where the first capacity is at most the sum of its
    lengths. Among bins with equal long room the one with the most short room is taken, then the one
    opened first.

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
        PackingError: a batch size of 0, or more records than memory holds.
    """

def epoch_order(n_bins: int, seed: int, epoch: int) -> _I64:
    """Permutation of the bins for an epoch, the same on every platform; [n_bins].

    Raises:
        PackingError: more bins than memory holds.
    """

def rank_bins(order: _I64, rank: int, world_size: int) -> _I64:
    """Bins ``order[rank::world_size]`` of one rank, [ceil(n_bins / world_size)] on every rank.

    A short rank ends with a repeat, encoded as ``-1 - bin``, to be collated with ``ignore``.

    Raises:
        PackingError: a rank outside its world, or an order with negative bins.
    """

@final
class Scores:
    """The ledger's state: each response token's scores after the last visit to its record.

    Record i has the tokens ``response_offsets[i]`` to ``response_offsets[i + 1]``. A token's PIR is
    an exponential moving average over the visits to its record: the first visit sets it, a later
    one makes it ``decay * before + (1 - decay) * pir``, in float32. Its log-prob without the
    profile is the last one. It takes 8 bytes a token and 16 a record.

    Only finite values enter; NaN means that a token was never visited.

    Args:
        response_offsets: int64 [n + 1], from 0 on and never decreasing.
        decay: share of the past, from 0 (the last value alone) to below 1.

    Raises:
        LedgerError: offsets or decay out of range.
    """

    def __new__(cls, response_offsets: _I64, decay: float) -> Scores: ...
    def __len__(self) -> int:
        """Number of records n."""

    @property
    def decay(self) -> float:
        """Share of the past in the moving average, as float32 holds it."""

    def update(self, step: int, records: _I64, pir: _F32, logp_without: _F32) -> None:
        """Take in a batch.

        Args:
            step: optimizer step, 0 to 2**32 - 1.
            records: [S], in the order of their values.
            pir: [N], of the records' response tokens, record after record.
            logp_without: [N], log-probs without the profile.

        Raises:
            LedgerError: a record is not in the data, an array has another length, or a value is not
                finite; nothing has been changed then.
        """

    def replay(
        self, steps: _U32, records: _I64, lengths: _I64, pir: _F32, logp_without: _F32
    ) -> None:
        """Take in visits one after the other, as a :class:`JournalReader` yields them.

        Raises:
            LedgerError: as for :meth:`update`, or a visit has another number of tokens than its
                record; nothing has been changed then.
        """

    def apply_frames(self, frames: bytes) -> int:
        """Take in the visits of another rank, as its :meth:`JournalWriter.append` returned them.

        Returns:
            The number of visits.

        Raises:
            LedgerError: as for :meth:`replay`, or the bytes are no whole frames; nothing has been
                changed then.
        """

    def pir(self) -> _F32:
        """Moving average of every response token's PIR; NaN before the first visit."""

    def logp_without(self) -> _F32:
        """Last log-prob without the profile of every response token; NaN before the first visit."""

    def gather_logp_without(self, index: _I64) -> _F32:
        """Last log-probs without the profile of the tokens of a batch, by its ledger index, [N].

        The index -1, of tokens that count nowhere, gives 0.

        Raises:
            LedgerError: an index is not in the data.
        """

    def visits(self) -> _U32:
        """Number of visits to every record, [n]."""

    def last_step(self) -> _U32:
        """Step of the last visit to every record; 0 before the first, [n]."""

    def write_snapshot(self, path: _Path, step: int) -> None:
        """Write the state after a step: to ``path`` + ".tmp", synced and renamed into place.

        Raises:
            LedgerError: the system refuses; an older file at ``path`` is as it was then.
        """

    @staticmethod
    def read_snapshot(path: _Path, response_offsets: _I64) -> tuple[Scores, int]:
        """Read a snapshot of these records: the scores, and the step that they stand after.

        Raises:
            LedgerError: the file is missing, torn, damaged, of another release or of other data.
        """

@final
class JournalWriter:
    """A journal that is open for appending: every visit to a record, one frame each.

    Frames are with the operating system once :meth:`append` returns: a killed process loses none, a
    machine that loses power those since :meth:`sync`. Opening drops what is left of a write that
    was cut short and, with ``keep_to``, the frames of later steps, in one change of the file's
    length.

    Args:
        path: the file; made where there is none.
        keep_to: last step whose frames are kept; None keeps all.

    Raises:
        LedgerError: the file is no journal, cannot be written, or is damaged before frames that
            would be kept; it is as it was then.
    """

    def __new__(cls, path: _Path, *, keep_to: int | None = None) -> JournalWriter: ...
    @property
    def dropped_frames(self) -> int:
        """Whole frames that were dropped on opening, as their steps lie beyond ``keep_to``."""

    @property
    def dropped_bytes(self) -> int:
        """Bytes that were dropped on opening: of dropped frames and of a write cut short."""

    def append(
        self, step: int, records: _I64, lengths: _I64, pir: _F32, logp_without: _F32
    ) -> bytes:
        """Append the visits of a batch.

        Args:
            step: optimizer step, 0 to 2**32 - 1, at least that of the frame before.
            records: [S], each below 2**32.
            lengths: [S], the records' numbers of response tokens.
            pir: [N], record after record.
            logp_without: [N], log-probs without the profile.

        Returns:
            The frames, for other ranks to :meth:`Scores.apply_frames`.

        Raises:
            LedgerError: an argument does not fit; or the system takes a part only, as a full disk
                does, and the file was cut back to what it held before.
        """

    def sync(self) -> None:
        """Wait until everything that was appended is on disk.

        Raises:
            LedgerError: the system refuses, or the journal is closed.
        """

    def close(self) -> None:
        """Sync and close the file; closing again does nothing.

        Raises:
            LedgerError: the system refuses.
        """

@final
class JournalReader:
    """Iterates over the visits that journals hold, in blocks, never holding more than one of them.

    Journals (of ranks) are merged by step; visits of one step come in the order of ``paths``. A
    block is ``(steps uint32 [F], records int64 [F], lengths int64 [F], pir float32 [N],
    logp_without float32 [N])``: F visits, and the values of their N response tokens, visit after
    visit. :meth:`Scores.replay` takes it as it is.

    What is appended after opening is not read, nor is what is left at the end of a write that was
    cut short: see :attr:`torn_bytes`.

    Args:
        paths: the journals.
        block_tokens: a block ends with the visit that brings it to this many tokens.
        after: read only steps above it.
        through: read only steps up to it.

    Raises:
        LedgerError: a file is no journal; or, from the iteration, it is damaged before whole frames
            or its steps go back.
    """

    def __new__(
        cls,
        paths: Sequence[_Path],
        *,
        block_tokens: int = 1_048_576,
        after: int | None = None,
        through: int | None = None,
    ) -> JournalReader: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> tuple[_U32, _I64, _I64, _F32, _F32]: ...
    @property
    def torn_bytes(self) -> _U64:
        """Bytes at the end of each journal that are no whole frame; known once it was iterated."""

def histogram(values: _F32, counts: _I64) -> None:
    """Count values into bins of fixed layout, on top of what ``counts`` holds; NaN is not counted.

    Counts of the same length mean the same everywhere: histograms merge by addition. Bin 2048 holds
    what is nearer to 0 than 2**-20; bin 2048 + k holds ``2**((k - 1) / 70 - 20) <= x < 2**(k / 70 -
    20)`` and bin 2048 - k the same below 0; the outermost bins hold all beyond 606 as well.

    Args:
        values: [N].
        counts: [4097], changed in place.

    Raises:
        LedgerError: counts of another length.
    """

def quantiles(counts: _I64, q: _F64) -> _F64:
    """Quantiles of what :func:`histogram` counted; NaN where it counted nothing.

    Quantile q is the smallest value v such that a share of at least q of the values is v or less
    (NumPy's ``method="inverted_cdf"``), within 0.5 % where its size is between 2**-20 and 606.

    Args:
        counts: [4097].
        q: [k], each from 0 to 1.

    Raises:
        LedgerError: counts of another length or below 0, or q out of range.
    """

def cuda_architectures() -> list[str]:
    """What the embedded CUDA kernels are compiled for, "sm_80" to "compute_120".

    Empty where this build has none.
    """

def cuda_load(device: int) -> None:
    """Load every kernel onto a CUDA device; once that is done, next to free.

    A CUDA graph may only be captured after it: during capture nothing can be loaded.

    Raises:
        perce.errors.KernelError: no kernels in this build, no driver or one too old, no such device
            or one older than compute capability 8.0.
    """

def cuda_weighted_rows(
    *,
    device: int,
    stream: int,
    n_rows: int,
    vocab: int,
    logits: int,
    logits_dtype: str,
    logits_stride: int,
    grad: int,
    grad_dtype: str,
    grad_stride: int,
    labels: int,
    logp_without: int,
    weights_given: int,
    bias: int,
    logp: int,
    weights: int,
    entropy: int,
    logit_scale: float,
    logit_softcap: float,
    objective: str,
    params: tuple[float, float],
) -> None:
    """Launch the weighted kernel: log-probs, entropies, weights and gradients of all rows.

    With x a raw product of hidden state and vocabulary, a logit is ``scale * (x + bias)``, or
    ``softcap * tanh(scale * (x + bias) / softcap)``; the gradient is that of ``-weight * logp`` to
    x, the weight a constant. Returns before the work is done; never waits for the device. How odd
    rows come out (bad labels, NaN, infinities) is in docs/kernel.md.

    Addresses are those of the device's memory, 0 where absent; strides count elements.

    Args:
        device: index of the device.
        stream: handle of a stream of its primary context; 0 is the default stream.
        n_rows: rows; 0 launches nothing.
        vocab: columns, 1 to 2**30.
        logits: [n_rows, vocab], raw products.
        logits_dtype: "float32", "bfloat16" or "float16".
        logits_stride: from a row to the next, ``vocab`` or more. Rows that start at multiples of 16
            bytes are read fastest.
        grad: [n_rows, vocab], written, or 0. It may be the logits' own memory: the same address and
            a stride of as many bytes.
        grad_dtype: that of the logits; from "float32" also "bfloat16" or "float16".
        grad_stride: as ``logits_stride``.
        labels: int64 [n_rows]; -100 ignores a row.
        logp_without: float32 [n_rows], for "perce", "longce" and "nextquill".
        weights_given: float32 [n_rows], for "given".
        bias: float32 [vocab], or 0.
        logp: float32 [n_rows], written.
        weights: float32 [n_rows], written, or 0.
        entropy: float32 [n_rows], written, or 0.
        logit_scale: finite.
        logit_softcap: above 0, or 0 for none.
        objective: "given", "ce", "perce", "longce", "entce", "dft" or "nextquill".
        params: the objective's options in the order of its signature, then zeros.

    Raises:
        perce.errors.KernelError: as for :func:`cuda_load`, an argument that cannot work, or a
            failing call of the driver; nothing has been launched then.
    """

def cuda_logp_rows(
    *,
    device: int,
    stream: int,
    n_rows: int,
    vocab: int,
    logits: int,
    logits_dtype: str,
    logits_stride: int,
    labels: int,
    bias: int,
    logp: int,
    entropy: int,
    logit_scale: float,
    logit_softcap: float,
) -> None:
    """Launch the read-only kernel: log-probs, and entropies where wanted, of all rows.

    Arguments and errors are those of :func:`cuda_weighted_rows`.
    """
