"""Going on from a checkpoint: which journals to cut, and where the history begins."""

from __future__ import annotations

import logging
from pathlib import Path

from perce._core import JournalWriter, Scores
from perce.errors import LedgerError
from perce.ledger.files import writing
from perce.ledger.history import History
from perce.ledger.layout import LedgerInfo, find_journals, journal_path
from perce.ledger.ragged import I64
from perce.ledger.replay import base_state, replay, same_state

logger = logging.getLogger(__name__)


def share_of_journals(folder: Path, rank: int, world_size: int) -> list[Path]:
    """The journals that a rank looks after: its own, and some of ranks that are no more."""
    others = [
        path
        for other, path in find_journals(folder).items()
        if other >= world_size and other % world_size == rank
    ]
    return [journal_path(folder, rank), *others]


def cut_back(path: Path, step: int) -> JournalWriter:
    """Open a journal without its frames after a step; a damaged one is set aside."""
    try:
        return JournalWriter(str(path), keep_to=step)
    except LedgerError as error:
        aside = path.with_name(path.name + ".set-aside")
        with writing(path.parent):
            path.replace(aside)
        logger.warning("%s; it is kept as %s", error, aside.name)
        return JournalWriter(str(path))


def history_start(folder: Path, info: LedgerInfo, offsets: I64, scores: Scores, step: int) -> int:
    """The step after which the journals lead to this state, or ``step`` itself if none does."""
    try:
        before = LedgerInfo.read(folder)
        if before.data_key == info.data_key and before.decay == info.decay:
            replayed = base_state(folder, before, offsets)
            replay(replayed, History(folder, after=before.first_step, last_step=step))
            if same_state(replayed, scores):
                return before.first_step
        why = "its journals do not lead to this checkpoint"
    except LedgerError as error:
        why = str(error)
    logger.warning("%s: the history of scores begins at step %d here: %s", folder, step, why)
    return step
