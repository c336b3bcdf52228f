"""People's own data: JSONL, Parquet, or any ``datasets`` data set.

Fields (each can be mapped to another name)::

    id          optional; the row index when absent
    user_id     whose record it is: a string or a whole number
    profile     a string, a list of strings, or a list of objects with ``text``, or with ``content``
                and optionally ``title`` and ``date``; absent or null is an empty profile
    query       the request; or ``prompt`` (TRL): a string or a list of messages;
                or ``messages``: [{"role": ..., "content": ...}, ...]
    response    what the user wrote; or ``completion`` (TRL): a string or a list of one assistant
                message; or the last of ``messages``, if that is the assistant's
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perce.data.history import DEFAULT_INSTRUCTION
from perce.data.prompts import ProfileStyle
from perce.data.record import Message, ProfileItem, Record, kind_of
from perce.data.sources.base import (
    OnBad,
    Row,
    build_records,
    check_split,
    find_split_files,
    fingerprint_files,
    read_rows,
    sort_splits,
)
from perce.errors import OptionError, RecordError

FIELDS = ("id", "user_id", "profile", "query", "prompt", "messages", "response", "completion")
"""Every field that a row may have; others are ignored."""


class TabularSource:
    """Rows of the user's own, from files or from a ``datasets`` data set.

    Args:
        data: A ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file; a folder with one or more such files
            a split; a ``datasets.Dataset`` (its split is called ``train``); or a
            ``datasets.DatasetDict``.
        fields: Field of ours -> its name in the rows, such as ``{"user_id": "author"}``.
        name: What to call the source.

    Raises:
        OptionError: ``data`` is none of these, or ``fields`` names a field that is not ours.
    """

    style = ProfileStyle()
    history_instruction = DEFAULT_INSTRUCTION

    def __init__(
        self, data: Any, *, fields: Mapping[str, str] | None = None, name: str = "tabular"
    ) -> None:
        self.name = name
        self._fields = dict(fields or {})
        for field in self._fields:
            if field not in FIELDS:
                raise OptionError("field", f"unknown field {field!r}; one of {', '.join(FIELDS)}")
        self._files: dict[str, tuple[Path, ...]] = {}
        self._datasets: dict[str, Any] = {}
        if isinstance(data, str | Path):
            self._files = find_split_files(Path(data))
        elif isinstance(data, Mapping):
            self._datasets = dict(data)
        elif hasattr(data, "__iter__") and hasattr(data, "_fingerprint"):
            self._datasets = {"train": data}
        else:
            raise OptionError(
                "data",
                f"is {kind_of(data)}, neither a path, a datasets.Dataset nor a DatasetDict",
            )

    def splits(self) -> tuple[str, ...]:
        """The splits found."""
        return sort_splits([*self._files, *self._datasets])

    def records(self, split: str, *, on_bad: OnBad | None = None) -> Iterator[Record]:
        """The records of a split; see :meth:`perce.data.sources.base.Source.records`."""
        check_split(self, split)
        rows = read_rows(self._files[split]) if split in self._files else self._dataset_rows(split)
        return build_records(self._check_mapping(rows, split), self._build, on_bad=on_bad)

    def fingerprint(self, split: str) -> str:
        """Over the files' bytes, or the data set's own fingerprint; and the field mapping."""
        check_split(self, split)
        if split in self._files:
            content = fingerprint_files(self._files[split])
        else:
            content = str(self._datasets[split]._fingerprint)
        return f"tabular({content}, {sorted(self._fields.items())})"

    def _check_mapping(self, rows: Iterator[Row], split: str) -> Iterator[Row]:
        """Pass rows on; at their end, refuse a mapping to a name that none of them has.

        Without this, a misspelt name of an optional field, the profile above all, would go unseen.
        """
        unseen = {theirs: ours for ours, theirs in self._fields.items()}
        for row in rows:
            if unseen and isinstance(row[2], Mapping):
                for name in unseen.keys() & row[2].keys():
                    del unseen[name]
            yield row
        for theirs, ours in unseen.items():
            raise OptionError("field", f"{ours}={theirs}: no row of split {split!r} has {theirs!r}")

    def _dataset_rows(self, split: str) -> Iterator[Row]:
        for row, fields in enumerate(self._datasets[split], start=1):
            yield f"{self.name}/{split}", row, fields

    def _build(self, row: Mapping[str, Any], index: int) -> Record:
        ours = {field: row.get(self._fields.get(field, field)) for field in FIELDS}
        try:
            return _record(ours, index)
        except RecordError as error:
            # Our field names mean nothing to somebody whose file calls them otherwise.
            field = error.field or ""
            first = field.partition("[")[0].partition(".")[0]
            theirs = self._fields.get(first, first) + field[len(first) :]
            raise RecordError(error.message, field=theirs or None, record=error.record) from None


def _record(row: Mapping[str, Any], index: int) -> Record:
    messages, answer = _messages(row)
    response = row["response"]
    if response is None:
        response = answer if row["completion"] is None else _completion(row["completion"])
    if response is None:
        raise RecordError(
            "is missing (or completion, or a last assistant message)", field="response"
        )
    return Record(
        id=str(index) if row["id"] is None else _name("id", row["id"]),
        user_id=_name("user_id", row["user_id"]),
        profile=_profile(row["profile"]),
        messages=messages,
        response=response,
    )


def _name(field: str, value: Any) -> str:
    """An id: a string, or a whole number as data bases give them."""
    if value is None:
        raise RecordError("is missing", field=field)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise RecordError(f"is {kind_of(value)}, not a string", field=field)
    return value


def _messages(row: Mapping[str, Any]) -> tuple[tuple[Message, ...], str | None]:
    """The messages up to the last user turn, and the assistant's answer if it follows them."""
    given = [field for field in ("query", "prompt", "messages") if row[field] is not None]
    if not given:
        raise RecordError("is missing (or prompt, or messages)", field="query")
    if len(given) > 1:
        raise RecordError(f"is given twice, as {' and as '.join(given)}: keep one", field=given[0])
    field = given[0]
    value = row[field]
    if isinstance(value, str) and field != "messages":
        return (Message("user", value),), None
    if field == "query":
        raise RecordError(f"is {kind_of(value)}, not a string", field=field)
    messages = _turns(field, value)
    if messages and messages[-1].role == "assistant" and field == "messages":
        return messages[:-1], messages[-1].content
    return messages, None


def _turns(field: str, value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise RecordError(f"is {kind_of(value)}, not a list of messages", field=field)
    turns = []
    for index, turn in enumerate(value):
        place = f"{field}[{index}]"
        if not isinstance(turn, Mapping):
            raise RecordError(f"is {kind_of(turn)}, not an object", field=place)
        for part in ("role", "content"):
            if not isinstance(turn.get(part), str):
                raise RecordError(
                    f"is {kind_of(turn.get(part))}, not a string", field=f"{place}.{part}"
                )
        turns.append(Message(turn["role"], turn["content"]))
    return tuple(turns)


def _completion(value: Any) -> str:
    if isinstance(value, str):
        return value
    turns = _turns("completion", value)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise RecordError("is not one assistant message", field="completion")
    return turns[0].content


def _profile(value: Any) -> tuple[ProfileItem, ...]:
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        return (ProfileItem(value),)
    if not isinstance(value, list):
        raise RecordError(
            f"is {kind_of(value)}, not a string, a list of strings or a list of objects",
            field="profile",
        )
    return tuple(_item(f"profile[{index}]", item) for index, item in enumerate(value))


def _item(place: str, value: Any) -> ProfileItem:
    if isinstance(value, str):
        return ProfileItem(value)
    if not isinstance(value, Mapping):
        raise RecordError(f"is {kind_of(value)}, neither a string nor an object", field=place)
    parts: dict[str, str] = {}
    for part in ("text", "title", "content", "date"):
        text = value.get(part)
        if text is None:
            continue
        if not isinstance(text, str):
            raise RecordError(f"is {kind_of(text)}, not a string", field=f"{place}.{part}")
        parts[part] = text
    if "text" not in parts:
        if not parts.get("content"):
            raise RecordError("has neither text nor content", field=place)
        parts["text"] = "\n".join(filter(None, (parts.get("title"), parts["content"])))
    return ProfileItem(**parts)
