"""The score ledger: what every response token's PIR did during training.

Each rank journals what it computes, visit by visit, and keeps the state it leads to in 8 bytes a
token. Ranks exchange the new frames of their journals at checkpoints and at the end of epochs. A
checkpoint holds a snapshot; going on from it cuts the journals back to its step.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from perce._core import JournalWriter, Scores
from perce.errors import LedgerError
from perce.ledger.continuing import cut_back, history_start, share_of_journals
from perce.ledger.distribution import Distribution, by_steps, by_visit
from perce.ledger.exchange import Gather, Outbox
from perce.ledger.export import Pieces, export
from perce.ledger.files import writing
from perce.ledger.history import F32, U32, History
from perce.ledger.layout import BASE_FILE, INFO_FILE, LedgerInfo, find_ledger, journal_path
from perce.ledger.personal import NEVER, THRESHOLD, became_personal
from perce.ledger.ragged import I64, token_index
from perce.ledger.replay import base_state, replay
from perce.tokens import PreparedData


class ScoreLedger:
    """Scores of every response token of prepared data.

    Make one with one of three methods:

    * :meth:`create` for a fresh run, :meth:`resume` to go on from a checkpoint: both write;
    * :meth:`open` to read what a run left, also while it is running.

    Ranks exchange before a record is visited again, at an epoch's end: then the state after it is
    the same, bit for bit, on every rank and for any number of ranks.

    Attributes:
        folder: where it lies.
        info: whose scores these are.
        data: the prepared data.
        notes: what to know about it, in sentences: torn tails left out, a history cut short.
    """

    def __init__(
        self,
        folder: Path,
        info: LedgerInfo,
        data: PreparedData,
        scores: Scores,
        *,
        journal: JournalWriter | None = None,
        rank: int = 0,
        last_step: int | None = None,
    ) -> None:
        self.folder = folder
        self.info = info
        self.data = data
        self.notes: list[str] = []
        if info.first_step:
            self.notes.append(
                f"the history begins after step {info.first_step}: what came before was journalled "
                "elsewhere, or lost"
            )
        self._scores = scores
        offsets = _offsets(data)
        self._starts, self._lengths = offsets[:-1], np.diff(offsets)
        self._journal = journal
        self._rank = rank
        self._last_step = last_step
        self._outbox: Outbox | None = None
        if journal is not None and info.world_size > 1:
            self._outbox = Outbox(journal_path(folder, rank))

    # ---- making one ----

    @classmethod
    def create(
        cls,
        folder: str | Path,
        data: PreparedData,
        *,
        decay: float = 0.5,
        rank: int = 0,
        world_size: int = 1,
    ) -> ScoreLedger:
        """Start the ledger of a fresh run; an older one in that place is deleted.

        Args:
            folder: the ledger's folder, ``<output_dir>/ledger`` for a trainer; made if need be.
            data: the data in training.
            decay: share of its old value that the moving average keeps at each visit.
            rank: of this process.
            world_size: number of ranks; each calls this.

        Raises:
            LedgerError: the folder cannot be written.
            OptionError: ``decay`` is not in 0 .. 1.
        """
        place = Path(folder)
        scores = Scores(_offsets(data), decay)
        info = LedgerInfo.of(data, decay=scores.decay, world_size=world_size)
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
            for path in share_of_journals(place, rank, world_size):
                path.unlink(missing_ok=True)
            if rank == 0:
                (place / BASE_FILE).unlink(missing_ok=True)
        if rank == 0:
            info.write(place)
        journal = JournalWriter(str(journal_path(place, rank)))
        return cls(place, info, data, scores, journal=journal, rank=rank)

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        data: PreparedData,
        *,
        snapshot: str | Path,
        rank: int = 0,
        world_size: int = 1,
    ) -> ScoreLedger:
        """Go on from a checkpoint's snapshot, whatever the number of ranks before.

        Every journal is cut back to the snapshot's step. A damaged one is set aside (its name then
        ends in ``.set-aside``). Where the journals do not lead to the snapshot, as for a new
        ``output_dir``, the history begins at the snapshot, and the log says so.

        Args:
            folder: the ledger's folder; made if need be.
            data: the data in training.
            snapshot: what :meth:`write_snapshot` wrote.
            rank: of this process.
            world_size: number of ranks; each calls this.

        Raises:
            LedgerError: the snapshot is torn, corrupt or of other data, or the folder cannot be
                written.
        """
        place = Path(folder)
        offsets = _offsets(data)
        scores, step = Scores.read_snapshot(str(snapshot), offsets)
        info = LedgerInfo.of(data, decay=scores.decay, world_size=world_size)
        info = replace(info, resumed_at=step)
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
        journal = None
        for path in share_of_journals(place, rank, world_size):
            writer = cut_back(path, step)
            if path == journal_path(place, rank):
                journal = writer
            else:
                writer.close()
        if rank == 0:
            first_step = history_start(place, info, offsets, scores, step)
            info = replace(info, first_step=first_step)
            if first_step == step:
                scores.write_snapshot(str(place / BASE_FILE), step)
            info.write(place)
        return cls(place, info, data, scores, journal=journal, rank=rank)

    @classmethod
    def open(cls, path: str | Path, data: PreparedData | str | Path | None = None) -> ScoreLedger:
        """Open a ledger to read it.

        Args:
            path: the folder of a run, of its ledger, or of one of its checkpoints: then everything
                is as it was after that step.
            data: its data, or their prepared folder; by default where they were in training.

        Raises:
            LedgerError: there is no ledger, a file of it is damaged, or its data is gone or other.
        """
        place = find_ledger(path)
        info = None
        if (place.folder / INFO_FILE).is_file():
            info = LedgerInfo.read(place.folder)
            data = info.open_data(data)
        elif data is None:
            raise LedgerError(
                f"{path} lies outside its run's folder, so that its data is not known: give its "
                "data (--data)"
            )
        elif not isinstance(data, PreparedData):
            data = PreparedData.open(data)
        if place.checkpoint is not None:
            scores, step = Scores.read_snapshot(str(place.checkpoint), _offsets(data))
            if info is None:
                info = LedgerInfo.of(data, decay=scores.decay, world_size=1)
                info = replace(info, first_step=step)
            return cls(place.folder, info, data, scores, last_step=step)
        assert info is not None, "find_ledger gives a folder with it, or a checkpoint"
        scores = base_state(place.folder, info, _offsets(data))
        history = History(place.folder, after=info.first_step)
        replay(scores, history)
        ledger = cls(place.folder, info, data, scores)
        ledger.notes += history.notes()
        return ledger

    # ---- writing ----

    def update(self, step: int, records: I64, pir: F32, logp_without: F32) -> None:
        """Take in what was computed for some records.

        Args:
            step: the optimizer step under way, 1 for the first.
            records: int64 [S], index of each record in the data, none twice.
            pir: float32 [N], in nats, of their response tokens, record after record.
            logp_without: float32 [N], in nats.

        Raises:
            LedgerError: a value that is not finite, arrays that do not fit the records, a step
                before the last one, or a journal that cannot be written; nothing has changed then.

        The journal is handed to the system at once: killing this process loses nothing of it.
        """
        journal = self._writer()
        frames = journal.append(step, records, self._rows(records), pir, logp_without)
        if self._outbox is not None:
            self._outbox.add(len(frames))
        self._scores.update(step, records, pir, logp_without)

    def exchange(self, gather: Gather) -> None:
        """Take in what the other ranks computed since the last exchange; every rank calls this.

        Args:
            gather: collects a block of bytes from every rank, in the order of ranks, on every rank;
                called as often as there are blocks, as often on every rank.

        Raises:
            LedgerError: frames arrived damaged, or the journal cannot be written.
        """
        self.sync()
        if self._outbox is None:
            return
        mine = self._outbox.take()
        while any(blocks := gather(next(mine, b""))):
            for rank, block in enumerate(blocks):
                if block and rank != self._rank:
                    self._scores.apply_frames(block)

    def write_snapshot(self, path: str | Path, step: int) -> None:
        """Write the state after a step, whole or not at all; its journal is on disk before it.

        Call :meth:`exchange` before, that the snapshot holds what all ranks computed.

        Args:
            path: the file, ``checkpoint-N/ledger.bin`` for a trainer.
            step: optimizer steps done.

        Raises:
            LedgerError: it cannot be written.
        """
        self.sync()
        self._scores.write_snapshot(str(path), step)

    def sync(self) -> None:
        """Bring the journal onto the disk: a power cut no longer loses it either."""
        self._writer().sync()

    def close(self) -> None:
        """Write what is left and close the journal; the ledger can still be read."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- the state ----

    def pir(self) -> F32:
        """float32 [N]: each response token's moving average of PIR, NaN before its first visit."""
        return self._scores.pir()

    def visits(self) -> U32:
        """uint32 [n]: how often each record was visited."""
        return self._scores.visits()

    def last_step(self) -> U32:
        """uint32 [n]: step of each record's last visit, 0 before the first."""
        return self._scores.last_step()

    def logp_without(self, index: I64) -> F32:
        """Last profile-free log-probabilities, as stored.

        Args:
            index: int64 [M], of response tokens among all of the data, as
                :attr:`perce.pairs.PairBatch.ledger_index` gives them; -1 gives 0.

        Returns:
            float32 [M], in nats; NaN before a token's first visit.
        """
        return self._scores.gather_logp_without(index)

    def covers(self, records: I64) -> bool:
        """Whether each of these records was visited, so that :meth:`logp_without` has its values.

        Args:
            records: int64 [S], indices of records in the data.
        """
        lengths = self._rows(records)
        index = token_index(self._starts[records], lengths)
        return not np.isnan(self._scores.gather_logp_without(index)).any()

    # ---- the history ----

    def history(self) -> History:
        """Every visit so far, in the order of steps; iterate over it as often as you like."""
        return History(self.folder, after=self.info.first_step, last_step=self._last_step)

    def became_personal(self, threshold: float = THRESHOLD) -> I64:
        """First step at which each token's moving average of PIR was above a threshold.

        Args:
            threshold: in nats.

        Returns:
            int64 [N], -1 for tokens that never were. Where the history begins at a later step than
            0, tokens that were personal then have that step.
        """
        before, first_step = self._scores, self._last_step
        if first_step is None or first_step > self.info.first_step:
            before = base_state(self.folder, self.info, _offsets(self.data))
            first_step = self.info.first_step
        since = became_personal(
            self.history(),
            _offsets(self.data),
            before.pir(),
            decay=self.info.decay,
            threshold=threshold,
            first_step=first_step,
        )
        # What a run under way has journalled since this was opened is not in the state either.
        known = np.maximum(self.last_step(), first_step)
        since[since > np.repeat(known, self._lengths)] = NEVER
        return since

    def quantiles(
        self, *, every: int | None = None, threshold: float = THRESHOLD
    ) -> list[Distribution]:
        """How PIR was distributed over training, each visit counted.

        Args:
            every: steps a range; by default one distribution for all records' first visits, one
                for their second, and so on, which is one an epoch.
            threshold: PIR in nats above which a token counts as personal.

        Raises:
            OptionError: ``every`` is below 1.
        """
        if every is None:
            return by_visit(self.history(), len(self._lengths), threshold=threshold)
        return list(by_steps(self.history(), every, threshold=threshold))

    def export(
        self, path: str | Path, *, threshold: float = THRESHOLD, pieces: Pieces | None = None
    ) -> int:
        """Write one row a token; see :func:`perce.ledger.export.export`."""
        return export(self, path, threshold=threshold, pieces=pieces)

    def _rows(self, records: I64) -> I64:
        """Response tokens of each record; int64 [S]."""
        if len(records) and not (records.min() >= 0 and records.max() < len(self._lengths)):
            raise LedgerError(
                f"records {records.min()} to {records.max()} are not all among the ledger's "
                f"{len(self._lengths)}; give the data that it was made with"
            )
        return self._lengths[records]

    def _writer(self) -> JournalWriter:
        if self._journal is None:
            raise LedgerError(
                f"the ledger in {self.folder} is open for reading only: make one to write with "
                "ScoreLedger.create or resume",
                str(self.folder),
            )
        return self._journal


def _offsets(data: PreparedData) -> I64:
    return np.ascontiguousarray(data.response_offsets)
