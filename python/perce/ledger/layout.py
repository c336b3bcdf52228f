"""Where a ledger lies and whose it is: ``ledger.json``, the files beside it, and its data.

A run's folder holds::

    ledger/ledger.json          whose scores these are
    ledger/journal-<rank>.log   every visit that rank computed, in the order of steps
    ledger/snapshot.bin         the state before the journals' first step, where that is not 0
    checkpoint-N/ledger.bin     the state after step N
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import get_type_hints

from perce.errors import LedgerError, StoreError
from perce.ledger.files import replacing
from perce.tokens import PreparedData, list_splits, read_meta

FORMAT_VERSION = 1
"""Raised whenever an older ``ledger.json`` can no longer be read right."""

LEDGER_FOLDER = "ledger"
INFO_FILE = "ledger.json"
BASE_FILE = "snapshot.bin"
CHECKPOINT_FILE = "ledger.bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerInfo:
    """What ``ledger.json`` holds.

    Attributes:
        data_key: key of the prepared data.
        data_path: the split's folder, absolute.
        records: records of the data.
        tokens: response tokens of the data.
        decay: of the moving average of PIR.
        world_size: ranks of the run, or of its last part.
        first_step: the journals hold the steps after this one; 0 where they are complete.
        resumed_at: step of the checkpoint that the run last went on from, or None.
    """

    data_key: str
    data_path: str
    records: int
    tokens: int
    decay: float
    world_size: int
    first_step: int = 0
    resumed_at: int | None = None

    @classmethod
    def of(cls, data: PreparedData, *, decay: float, world_size: int) -> LedgerInfo:
        """Describe the ledger of a fresh run on some data."""
        return cls(
            data_key=data.meta["key"],
            data_path=str(data.path.resolve()),
            records=len(data),
            tokens=int(data.response_offsets[-1]),
            decay=decay,
            world_size=world_size,
        )

    @classmethod
    def read(cls, folder: Path) -> LedgerInfo:
        """Read a ledger's ``ledger.json``.

        Raises:
            LedgerError: it is absent, no JSON, or of another version.
        """
        path = folder / INFO_FILE
        try:
            stored = json.loads(path.read_bytes())
            version = stored.pop("format_version")
        except FileNotFoundError:
            raise LedgerError(
                f"{folder} holds no ledger: it has no {INFO_FILE}", str(path)
            ) from None
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise LedgerError(f"{path} is corrupt: {error!r}", str(path)) from None
        if version != FORMAT_VERSION:
            raise LedgerError(
                f"{path} has format version {version}, this perce reads {FORMAT_VERSION}", str(path)
            )
        names = {field.name for field in fields(cls)}
        if set(stored) != names:
            wrong = ", ".join(sorted(names ^ set(stored)))
            raise LedgerError(f"{path} is corrupt: it lacks or has too much of {wrong}", str(path))
        for name, kind in get_type_hints(cls).items():
            if not isinstance(stored[name], kind):
                raise LedgerError(f"{path} is corrupt: {name} is {stored[name]!r}", str(path))
        return cls(**stored)

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            LedgerError: the folder cannot be written.
        """
        text = json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=1)
        with replacing(folder / INFO_FILE) as scratch:
            scratch.write_text(text + "\n", encoding="utf-8")

    def open_data(self, data: PreparedData | str | Path | None = None) -> PreparedData:
        """Open the ledger's data.

        Args:
            data: it, or its prepared folder, or one of the splits there; by default where it was in
                training.

        Raises:
            LedgerError: it is gone from where it was, or it is other data.
            StoreError: ``data`` is no prepared folder.
        """
        if not isinstance(data, PreparedData):
            data = self._find_data(data)
        if data.meta["key"] != self.data_key:
            raise LedgerError(
                f"{data.path} holds other data than this ledger's, which was {self.data_path} "
                f"({self.records:,} records): give that (--data)"
            )
        return data

    def _find_data(self, path: str | Path | None) -> PreparedData:
        folder = Path(path or self.data_path)
        try:
            for split in list_splits(folder):
                if read_meta(folder / split)["key"] == self.data_key:
                    folder = folder / split
            return PreparedData.open(folder)
        except StoreError as error:
            if path is not None:
                raise
            raise LedgerError(
                f"the data of this ledger is gone: {error}; or say where it is now (--data)"
            ) from None


@dataclass(frozen=True, slots=True)
class LedgerPlace:
    """What a path stands for.

    Attributes:
        folder: the folder with ``ledger.json`` and the journals.
        checkpoint: the checkpoint's snapshot where the path was a checkpoint, else None.
    """

    folder: Path
    checkpoint: Path | None = None


def find_ledger(path: str | Path) -> LedgerPlace:
    """The ledger of a run's folder, of a checkpoint in it, or a ledger's own folder.

    Raises:
        LedgerError: there is none.
    """
    given = Path(path)
    snapshot = given / CHECKPOINT_FILE
    if snapshot.is_file():
        return LedgerPlace(given.resolve().parent / LEDGER_FOLDER, snapshot)
    for folder in (given, given / LEDGER_FOLDER):
        if (folder / INFO_FILE).is_file():
            return LedgerPlace(folder)
    if not given.is_dir():
        raise LedgerError(f"{given}: no such folder; give a run's folder or one of its checkpoints")
    raise LedgerError(
        f"{given} holds no ledger: give the folder of a run that was trained with ledger true, its "
        f"{LEDGER_FOLDER} folder, or one of its checkpoints"
    )


def find_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Step and snapshot of each checkpoint beside a ledger's folder, in the order of steps."""
    found = []
    for snapshot in folder.resolve().parent.glob(f"checkpoint-*/{CHECKPOINT_FILE}"):
        number = snapshot.parent.name.removeprefix("checkpoint-")
        if number.isdecimal():
            found.append((int(number), snapshot))
    return sorted(found)


def journal_path(folder: Path, rank: int) -> Path:
    """The journal of one rank."""
    return folder / f"journal-{rank}.log"


def find_journals(folder: Path) -> dict[int, Path]:
    """Every rank's journal, by rank; those of ranks that a later part of the run lacks too."""
    found = {}
    for path in folder.glob("journal-*.log"):
        number = path.stem.removeprefix("journal-")
        if number.isdecimal():
            found[int(number)] = path
    return dict(sorted(found.items()))
