"""LongLaMP (``LongLaMP/LongLaMP``): long texts written as their user writes (arXiv 2407.11016).

Read from local copies of its files or from the hub; the wording of prompts and what retrieval
searches are those of the benchmark's own code. Its e-mail task is not public.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from perce.errors import MissingExtraError, OptionError, RecordError

HUB_ID = "LongLaMP/LongLaMP"
SETTINGS = ("user", "temporal")
"""``user``: other users in each split. ``temporal``: the same users, later texts."""

_MAX_ABSTRACT_WORDS = 750  # as in the benchmark's code


@dataclass(frozen=True, slots=True)
class Task:
    """How one of the benchmark's tasks is laid out.

    Attributes:
        config: The start of its configurations' names on the hub; a setting follows.
        user_field: The field that names the writer.
        item_fields: The fields of a profile item that are read.
        title: Which of them asks for the text, in history expansion.
        content: Which of them is the text.
        show: From an item's fields to the text in the prompt.
        search: The item fields that retrieval indexes, in order.
        query: From ``input`` to what retrieval searches with.
        end: What stands between the last item and ``input``.
        history_instruction: How the task asks for a text by its title.
    """

    config: str
    user_field: str
    item_fields: tuple[str, ...]
    title: str
    content: str
    show: Callable[[Mapping[str, str]], str]
    search: tuple[str, ...]
    query: Callable[[str], str]
    end: str
    history_instruction: str


def _show_abstract(item: Mapping[str, str]) -> str:
    abstract = " ".join(item["abstract"].split()[:_MAX_ABSTRACT_WORDS])
    return f'"{abstract}" is the abstract for the title "{item["title"]}"'


def _show_review(item: Mapping[str, str]) -> str:
    return (
        f'"{item["overall"]}" is a rating for the product with description '
        f'"{item["description"]}". "{item["summary"]}" is summary for "{item["reviewText"]}"'
    )


def _show_topic(item: Mapping[str, str]) -> str:
    # The benchmark's code reads `input` and `output` here; its data have `summary` and `content`.
    return f'"{item["summary"]}" is a summary for "{item["content"]}"'


def _after_items(text: str) -> str:
    """The key words of an abstract's request; all of it, if it lists none."""
    return text.rpartition("items:")[2].strip() or text


def _whole(text: str) -> str:
    return text


TASKS: Mapping[str, Task] = {
    "abstract": Task(
        config="abstract_generation",
        user_field="name",
        item_fields=("title", "abstract", "year"),
        title="title",
        content="abstract",
        show=_show_abstract,
        search=("title", "abstract"),
        query=_after_items,
        end=(
            ". Use the above abstracts as context to understand the style and language of the "
            "user and, "
        ),
        history_instruction='Generate an abstract for the title "{title}"',
    ),
    "review": Task(
        config="product_review",
        user_field="reviewerId",
        item_fields=("overall", "description", "summary", "reviewText"),
        title="summary",
        content="reviewText",
        show=_show_review,
        search=("overall", "summary", "description", "reviewText"),
        query=_whole,
        end=". Following the given patterns ",
        history_instruction='Generate the text of a product review with the summary "{title}"',
    ),
    "topic": Task(
        config="topic_writing",
        user_field="author",
        item_fields=("summary", "content"),
        title="summary",
        content="content",
        show=_show_topic,
        search=("summary", "content"),
        query=_whole,
        end=". Following the given patterns ",
        history_instruction='Generate the content of a post with the summary "{title}"',
    ),
}
"""The public tasks by name."""


class LongLaMPSource:
    """One task in one setting. Records have no id of their own: it is the row index.

    Args:
        task: ``abstract``, ``review`` or ``topic``.
        setting: ``user`` or ``temporal``.
        path: Local files: a folder with ``<split>.jsonl``, ``.jsonl.gz`` or Parquet, a copy of the
            hub's repository (the setting's folder is found in it), or one file. None loads from
            the hub.

    Raises:
        OptionError: An unknown task or setting, or nothing of the kind at ``path`` or on the hub.
        MissingExtraError: The hub without ``datasets`` installed.
    """

    def __init__(self, task: str, *, setting: str = "user", path: str | Path | None = None) -> None:
        if task not in TASKS:
            raise OptionError("task", f"unknown task {task!r}; one of {', '.join(TASKS)}")
        if setting not in SETTINGS:
            raise OptionError("setting", f"{setting!r} is not one of {', '.join(SETTINGS)}")
        self._task = TASKS[task]
        config = f"{self._task.config}_{setting}"
        self.name = f"longlamp/{config}"
        self.style = ProfileStyle(intro="", separator=", and ", end=self._task.end)
        self.history_instruction = self._task.history_instruction
        self._files: dict[str, tuple[Path, ...]] = {}
        self._hub: Mapping[str, Any] = {}
        if path is None:
            self._hub = _load_hub(config)
        else:
            folder = Path(path) / config
            self._files = find_split_files(folder if folder.is_dir() else Path(path))

    def splits(self) -> tuple[str, ...]:
        """The splits found; the benchmark has train, val and test."""
        return sort_splits([*self._files, *self._hub])

    def records(self, split: str, *, on_bad: OnBad | None = None) -> Iterator[Record]:
        """The records of a split; see :meth:`perce.data.sources.base.Source.records`."""
        check_split(self, split)
        rows = read_rows(self._files[split]) if split in self._files else self._hub_rows(split)
        return build_records(rows, self._build, on_bad=on_bad)

    def fingerprint(self, split: str) -> str:
        """Over the files' bytes, or the hub data set's own fingerprint."""
        check_split(self, split)
        if split in self._files:
            return f"{self.name}({fingerprint_files(self._files[split])})"
        return f"{self.name}({self._hub[split]._fingerprint})"

    def _hub_rows(self, split: str) -> Iterator[Row]:
        for row, fields in enumerate(self._hub[split], start=1):
            yield f"{HUB_ID}/{split}", row, fields

    def _build(self, row: Mapping[str, Any], index: int) -> Record:
        request = _text(row, "input", required=True)
        profile = row.get("profile")
        if not isinstance(profile, list):
            raise RecordError(f"is {kind_of(profile)}, not a list of objects", field="profile")
        return Record(
            id=str(index),
            user_id=_text(row, self._task.user_field, required=True),
            profile=tuple(self._item(item, place) for place, item in enumerate(profile)),
            messages=(Message("user", request),),
            response=_text(row, "output", required=True),
            retrieval_query=self._task.query(request),
        )

    def _item(self, item: Any, place: int) -> ProfileItem:
        task = self._task
        where = f"profile[{place}]"
        if not isinstance(item, Mapping):
            raise RecordError(f"is {kind_of(item)}, not an object", field=where)
        if task.content not in item:
            raise RecordError(
                "is missing: is this another task's file?", field=f"{where}.{task.content}"
            )
        fields = {name: _text(item, name, where=f"{where}.") for name in task.item_fields}
        return ProfileItem(
            text=task.show(fields),
            title=fields[task.title],
            content=fields[task.content],
            date=fields.get("year", ""),
            search_text=" ".join(filter(None, (fields[name] for name in task.search))),
        )


def _text(row: Mapping[str, Any], name: str, *, required: bool = False, where: str = "") -> str:
    """A field as text; the files hold years and ratings as numbers, and null for nothing."""
    value = row.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        if required:
            raise RecordError("is missing", field=where + name)
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RecordError(f"is {kind_of(value)}, not a string", field=where + name)


def _load_hub(config: str) -> Mapping[str, Any]:
    try:
        import datasets
    except ImportError:
        raise MissingExtraError("datasets", "hub") from None
    try:
        loaded: Mapping[str, Any] = datasets.load_dataset(HUB_ID, config)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OptionError(
            "path", f"{HUB_ID} ({config}) cannot be loaded from the hub: {reason}; give --path"
        ) from None
    return loaded
