"""Prepared data of a few records, as training has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from perce.data import Message, Record
from perce.data import ProfileItem as TheirItem
from perce.data.prompts import ProfileStyle, PromptTemplate
from perce.prepare import PrepareOptions, prepare
from perce.tokens import PreparedData

from perce_serving.profile import ProfileItem
from perce_serving.tenant.prompts import Turn

OPTIONS = PrepareOptions(max_length=900, max_profile_length=120, k=3)


class Rows:
    """A source of these records."""

    name, style, history_instruction = "rows", ProfileStyle(), "{title}"

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def records(self, split: str, *, on_bad: Any = None) -> Iterator[Record]:
        return iter(self._records)

    def fingerprint(self, split: str) -> str:
        return "rows"


def record(items: Sequence[ProfileItem], messages: Sequence[Turn], query: str = "") -> Record:
    """What a user, of whom this is known, answered "A" to."""
    return Record(
        id="r",
        user_id="u",
        profile=tuple(TheirItem(*(getattr(i, n) for n in TheirItem.__slots__)) for i in items),
        messages=tuple(Message(turn.role, turn.content) for turn in messages),
        response="A",
        retrieval_query=query,
    )


def trained(
    folder: Path,
    tokenizer: Any,
    *records: Record,
    options: PrepareOptions = OPTIONS,
    template: PromptTemplate | None = None,
) -> PreparedData:
    """Prepare these records under ``folder``."""
    return prepare(
        Rows(records), "train", tokenizer, folder / "data", options=options, template=template
    )
