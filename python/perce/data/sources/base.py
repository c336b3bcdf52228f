"""What every source of records offers, and the reading of files that several share."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from perce.data.prompts import ProfileStyle
from perce.data.record import Record, kind_of
from perce.errors import OptionError, RecordError

OnBad = Callable[[RecordError], None]
"""Called with each bad record's error, after which the source goes on with the next record."""

FIRST_SPLITS = ("train", "val", "validation", "test")
"""The order in which well-known splits are listed; others follow by name."""

_FILE = re.compile(
    # train.jsonl, train.jsonl.gz, train.parquet, and the hub's train-00000-of-00002.parquet
    r"(?P<split>.+?)(?:-\d{5}-of-\d{5})?\.(?:jsonl(?:\.gz)?|parquet)"
)


class Source(Protocol):
    """Somewhere records come from.

    Attributes:
        name: What the source is, for messages and for what a prepared folder records.
        style: The words around a profile's items that suit this source.
        history_instruction: How this source asks for an item by its ``{title}``.
    """

    name: str
    style: ProfileStyle
    history_instruction: str

    def splits(self) -> tuple[str, ...]:
        """The splits there are."""
        ...

    def records(self, split: str, *, on_bad: OnBad | None = None) -> Iterator[Record]:
        """The records of a split, always in the same order.

        Args:
            split: One of :meth:`splits`.
            on_bad: Called with the error of each bad record, which is then left out; None raises
                the first.

        Raises:
            OptionError: There is no such split.
            RecordError: A bad record, with source, line and field, if ``on_bad`` is None.
        """
        ...

    def fingerprint(self, split: str) -> str:
        """Changes whenever the records of the split may change; costs no parsing."""
        ...


def check_split(source: Source, split: str) -> None:
    """Raise an OptionError that lists the splits there are, if ``split`` is none of them."""
    known = source.splits()
    if split not in known:
        raise OptionError(
            "split", f"{source.name} has no split {split!r}; it has {', '.join(known)}"
        )


def sort_splits(names: Iterable[str]) -> tuple[str, ...]:
    """Well-known splits first, in their usual order, then the others by name."""
    rank = {name: position for position, name in enumerate(FIRST_SPLITS)}
    return tuple(sorted(names, key=lambda name: (rank.get(name, len(rank)), name)))


def find_split_files(path: Path) -> dict[str, tuple[Path, ...]]:
    """The files of each split under ``path``: one file, or a folder of ``<split>.<kind>``.

    Kinds are ``jsonl``, ``jsonl.gz`` and ``parquet``, also in the hub's numbered parts. A single
    file that is named after no well-known split is ``train``.

    Raises:
        OptionError: There is nothing of the kind.
    """
    if path.is_file():
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise OptionError("path", f"{path} is neither .jsonl, .jsonl.gz nor .parquet")
        split = match["split"]
        return {split if split in FIRST_SPLITS else "train": (path,)}
    if not path.is_dir():
        raise OptionError("path", f"{path} does not exist")
    found: dict[str, list[Path]] = {}
    for file in sorted(path.iterdir()):
        match = _FILE.fullmatch(file.name)
        if match is not None and file.is_file():
            found.setdefault(match["split"], []).append(file)
    if not found:
        raise OptionError("path", f"{path} holds no <split>.jsonl, .jsonl.gz or .parquet file")
    return {split: tuple(found[split]) for split in sort_splits(found)}


def fingerprint_files(files: Iterable[Path]) -> str:
    """SHA-256 over the bytes of some files.

    Raises:
        OptionError: One cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise OptionError("path", f"{file} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


Row = tuple[str, int, Mapping[str, Any] | RecordError]
"""File name and 1-based line (Parquet: row) of a row; and its fields, or why it has none."""


def read_rows(files: Iterable[Path]) -> Iterator[Row]:
    """The rows of JSONL and Parquet files, in order. Blank lines of JSONL are passed over.

    Raises:
        RecordError: A file is broken: what follows in it cannot be read. Or all are empty.
    """
    files = list(files)
    empty = True
    for file in files:
        for row in _read_parquet(file) if file.suffix == ".parquet" else _read_jsonl(file):
            empty = False
            yield row
    if empty:
        raise RecordError("is empty", source=", ".join(file.name for file in files))


def _read_jsonl(file: Path) -> Iterator[Row]:
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        line = 0
        while True:
            line += 1
            try:
                raw = stream.readline()
            except (OSError, EOFError, zlib.error) as error:  # a truncated or corrupt gzip stream
                raise RecordError(
                    f"cannot be read further: {error}", source=file.name, line=line
                ) from None
            if not raw:
                return
            if not raw.strip():
                continue
            yield file.name, line, _parse(raw)


def _parse(raw: bytes) -> Mapping[str, Any] | RecordError:
    try:
        fields = json.loads(raw.strip())
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at character {error.colno}"
    except UnicodeDecodeError as error:
        reason = f"byte {error.start + 1} is no UTF-8"
    except (ValueError, RecursionError) as error:  # a number too long, lists too deep
        reason = str(error)
    else:
        if isinstance(fields, dict):
            return fields
        reason = f"is {kind_of(fields)}"
    return RecordError(f"malformed line: {reason}; each line must be one JSON object")


def _read_parquet(file: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=512):
                for fields in batch.to_pylist():
                    row += 1
                    yield file.name, row, fields
    except (pa.ArrowException, OSError) as error:
        raise RecordError(f"cannot be read: {error}", source=file.name, line=row + 1) from None


def build_records(
    rows: Iterable[Row],
    build: Callable[[Mapping[str, Any], int], Record],
    *,
    on_bad: OnBad | None,
) -> Iterator[Record]:
    """Build a record from each row, naming file, line and field of the bad ones.

    Args:
        rows: From :func:`read_rows` or alike.
        build: From a row's fields and its index (0-based, over the split, bad rows counted) to a
            record; raises a RecordError for a bad one.
        on_bad: See :meth:`Source.records`.

    Raises:
        RecordError: A bad row or an id met before, if ``on_bad`` is None.
    """
    seen: set[str] = set()
    for index, (source, line, fields) in enumerate(rows):
        try:
            if isinstance(fields, RecordError):
                raise fields
            record = build(fields, index)
            if record.id in seen:
                raise RecordError(
                    "an earlier record has the same id; ids must differ within a split",
                    record=record.id,
                    field="id",
                )
        except RecordError as error:
            placed = RecordError(
                error.message, source=source, line=line, field=error.field, record=error.record
            )
            if on_bad is None:
                raise placed from None
            on_bad(placed)
            continue
        seen.add(record.id)
        yield record
