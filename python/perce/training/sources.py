"""Where the log-probabilities that make the weights come from, if not from this step's own passes.

``perce_weight_source`` chooses between the model in training, a frozen reference and a column of
stored scores. ``refresh_every`` lets the model's own profile-free log-probabilities be taken from
the score ledger in the epochs in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from perce.errors import StoreError
from perce.ledger import ScoreLedger
from perce.pairs import PairBatch
from perce.tokens import PreparedData

F32 = npt.NDArray[np.float32]

_COLUMNS = ("record", "id", "token_id", "logp_with", "logp_without")


class Lookup(NamedTuple):
    """Stored log-probabilities of one micro-batch's N response tokens, on the CPU.

    Attributes:
        logp_without: float32 [N], in nats.
        logp_with: float32 [N] of a source other than the model in training, or None.
    """

    logp_without: Tensor
    logp_with: Tensor | None = None


@dataclass(frozen=True, slots=True)
class StoredScores:
    """Log-probabilities of all response tokens of the data, in its order.

    Attributes:
        logp_with: float32 [N], in nats.
        logp_without: float32 [N], in nats.
        key: hash of both, which tells one column of scores from another.
    """

    logp_with: F32
    logp_without: F32
    key: str

    @classmethod
    def of(cls, logp_with: F32, logp_without: F32) -> StoredScores:
        """Scores from arrays."""
        digest = hashlib.sha256(logp_with.tobytes())
        digest.update(logp_without.tobytes())
        return cls(logp_with, logp_without, digest.hexdigest())

    @classmethod
    def read(cls, path: str | Path, data: PreparedData) -> StoredScores:
        """Read what ``perce score`` wrote, and make sure that it is about these very data.

        Args:
            path: Parquet with one row a response token, in the order of the records.
            data: the data in training.

        Raises:
            StoreError: it cannot be read, lacks a column or a value, or is about other data; the
                message names the first difference.
        """
        try:
            there = pq.read_schema(path).names
            table = pq.read_table(path, columns=[name for name in _COLUMNS if name in there])
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise StoreError(f"{path}: no scores: {reason}; make it with perce score") from None
        missing = [name for name in _COLUMNS if name not in there]
        if missing:
            raise StoreError(f"{path} has no column {', '.join(missing)}: make it with perce score")
        _check_rows(path, table, data)
        return cls.of(*(_values(path, table, name, data) for name in _COLUMNS[-2:]))

    def look_up(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Both log-probabilities by token, float32 [N] each; whatever for an index of -1."""
        where = index.numpy()
        return (
            torch.from_numpy(self.logp_with[where]),
            torch.from_numpy(self.logp_without[where]),
        )


class WeightSource:
    """Tells for each optimizer step which stored log-probabilities it takes, if any.

    Args:
        kind: ``perce_weight_source``.
        refresh_every: epochs between two profile-free passes over the data.
        scores: of the reference or the column; with "self" those of the first epoch, or None.
        ledger: what the run has stored so far; needed with ``refresh_every`` above 1.
    """

    def __init__(
        self,
        kind: str = "self",
        *,
        refresh_every: int = 1,
        scores: StoredScores | None = None,
        ledger: ScoreLedger | None = None,
    ) -> None:
        self._kind = kind
        self._refresh_every = refresh_every
        self._scores = scores
        self._ledger = ledger

    def look_up(
        self, batches: Sequence[PairBatch], *, epoch: int, anywhere: Callable[[bool], bool]
    ) -> list[Lookup] | None:
        """What an optimizer step takes instead of a profile-free pass.

        One decision for the whole step on all ranks: where passes run, all ranks enter the model.

        Args:
            batches: this rank's micro-batches, on the CPU.
            epoch: from 0.
            anywhere: whether a flag is set on any rank.

        Returns:
            One entry a micro-batch, or None: the step runs the passes.
        """
        if self._kind != "self":
            assert self._scores is not None
            both = [self._scores.look_up(batch.ledger_index) for batch in batches]
            return [Lookup(without, with_profile) for with_profile, without in both]
        if self._refresh_every == 1:
            return None
        if epoch == 0 and self._scores is not None:
            return [Lookup(self._scores.look_up(batch.ledger_index)[1]) for batch in batches]
        ledger = self._ledger
        if epoch % self._refresh_every == 0 or ledger is None:
            return None
        # A repeat counts nowhere, and is somebody else's to compute.
        counted = [batch for batch in batches if batch.num_items]
        if anywhere(not all(ledger.covers(batch.records.numpy()) for batch in counted)):
            return None
        return [
            Lookup(torch.from_numpy(ledger.logp_without(batch.ledger_index.numpy())))
            for batch in batches
        ]


def _check_rows(path: str | Path, table: pa.Table, data: PreparedData) -> None:
    """The rows are the data's response tokens, one after the other."""
    ids = np.asarray(data.response_ids)
    offsets = np.asarray(data.response_offsets)
    if len(table) != len(ids):
        raise StoreError(
            f"{path} has {len(table)} rows, {data.path} has {len(ids)} response tokens: "
            "score this very data"
        )
    record = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    for name, expected in (("record", record), ("token_id", ids)):
        found = table.column(name).to_numpy()
        wrong = np.flatnonzero(found != expected)
        if len(wrong):
            row = int(wrong[0])
            which = data.record_ids[int(record[row])]
            raise StoreError(
                f"{path} is about other data than {data.path}: in row {row}, of record {which!r} "
                f"there, {name} is {found[row]}, not {expected[row]}: score this very data"
            )
    names = table.column("id").take(pa.array(offsets[:-1])).to_pylist()
    for mine, theirs in zip(data.record_ids, names, strict=True):
        if mine != theirs:
            raise StoreError(
                f"{path} is about other data than {data.path}: record {theirs!r} stands where "
                f"{mine!r} should: score this very data"
            )


def _values(path: str | Path, table: pa.Table, name: str, data: PreparedData) -> F32:
    column: Any = table.column(name)
    if not pa.types.is_floating(column.type):
        raise StoreError(
            f"{path}: {name} holds {column.type}, not numbers: make it with perce score"
        )
    if column.null_count:
        raise StoreError(f"{path} has no values in {name}: score again, with the profile-free pass")
    values: F32 = np.ascontiguousarray(column.to_numpy(), dtype=np.float32)
    broken = np.flatnonzero(~np.isfinite(values))
    if len(broken):
        row = int(broken[0])
        which = int(np.searchsorted(data.response_offsets, row, side="right")) - 1
        raise StoreError(
            f"{path}: {name} is {values[row]} in row {row}, of record {data.record_ids[which]!r}"
        )
    return values
