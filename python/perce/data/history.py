"""From a user's history to training records: each item the target once, the others its profile.

This is how a user with a history and no labelled pairs gets an adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from perce.data.record import Message, Record
from perce.errors import OptionError

if TYPE_CHECKING:
    from perce.data.sources.base import OnBad, Source

DEFAULT_INSTRUCTION = 'Write the text with the title "{title}".'
"""Asks for an item by its title, where a source has no wording of its own."""


def expand_history(
    records: Iterable[Record], *, instruction: str = DEFAULT_INSTRUCTION
) -> Iterator[Record]:
    """Turn each profile item that has a title and a content into a record (leave one out).

    The new record asks for the item by its title, its response is the item's content, and its
    profile is the record's other items, in their order. Items that would give the target away are
    left out of the profile: those with the same title or the same content, and those whose text
    holds the target's whole content (white space and case aside). The record's own query and
    response are not used, so evaluation on them stays honest. An item that several records of one
    user share becomes one record, the first time it is met.

    Args:
        records: Records whose profile items have ``title`` and ``content``.
        instruction: The query, with ``{title}`` where the item's title goes.

    Raises:
        OptionError: ``instruction`` does not hold ``{title}``.
    """
    if "{title}" not in instruction:
        raise OptionError("history_instruction", f"{instruction!r} does not hold {{title}}")
    seen: set[tuple[str, str, str]] = set()
    for record in records:
        keys = [(_normal(item.title), _normal(item.content)) for item in record.profile]
        texts = [_normal(f"{item.text} {item.content}") for item in record.profile]
        for index, (target, (title, content)) in enumerate(zip(record.profile, keys, strict=True)):
            key = (record.user_id, title, content)
            if not (title and content) or key in seen:
                continue
            seen.add(key)
            others = tuple(
                item
                for item, other, text in zip(record.profile, keys, texts, strict=True)
                if item is not target and title != other[0] and content not in text
            )
            yield Record(
                id=f"{record.id}/{index}",
                user_id=record.user_id,
                profile=others,
                messages=(Message("user", instruction.replace("{title}", target.title)),),
                response=target.content,
                retrieval_query=target.title,
            )


class HistorySource:
    """A source whose records are the history expansion of another's.

    Args:
        source: Where the profiles come from.
        instruction: See :func:`expand_history`; the source's own wording when None.
    """

    def __init__(self, source: Source, instruction: str | None = None) -> None:
        self._source = source
        self._instruction = instruction or source.history_instruction
        self.name = f"{source.name}+history"
        self.style = source.style
        self.history_instruction = self._instruction

    def splits(self) -> tuple[str, ...]:
        """The splits of the source."""
        return self._source.splits()

    def records(self, split: str, *, on_bad: OnBad | None = None) -> Iterator[Record]:
        """The expanded records of a split; bad records of the source are reported as it does."""
        return expand_history(
            self._source.records(split, on_bad=on_bad), instruction=self._instruction
        )

    def fingerprint(self, split: str) -> str:
        """The source's, and the instruction."""
        return f"history({self._source.fingerprint(split)}, {self._instruction!r})"


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
