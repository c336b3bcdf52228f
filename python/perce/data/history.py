"""From a user's history to training records: each item the target once, the others its profile.

This is how a user with a history and no labelled pairs gets an adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from perce.data.record import Message, ProfileItem, Record
from perce.errors import OptionError

if TYPE_CHECKING:
    from perce.data.sources.base import OnBad, Source

DEFAULT_INSTRUCTION = 'Write the text with the title "{title}".'
"""Asks for an item by its title, where a source has no wording of its own."""


def expand_history(
    records: Iterable[Record], *, instruction: str = DEFAULT_INSTRUCTION, earlier: bool = False
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
        earlier: Take into a record's profile only the items before its target, by date where every
            item of the record has one, else in their order, and give the records in that order. A
            user's last records can then be held out: no record before them shows their responses.

    Raises:
        OptionError: ``instruction`` does not hold ``{title}``.
    """
    if "{title}" not in instruction:
        raise OptionError("history_instruction", f"{instruction!r} does not hold {{title}}")
    seen: set[tuple[str, str, str]] = set()
    for record in records:
        profile = _in_time(record.profile) if earlier else record.profile
        keys = [(_normal(item.title), _normal(item.content)) for item in profile]
        texts = [_normal(f"{item.text} {item.content}") for item in profile]
        for index, (target, (title, content)) in enumerate(zip(profile, keys, strict=True)):
            key = (record.user_id, title, content)
            if not (title and content) or key in seen:
                continue
            seen.add(key)
            end = index if earlier else len(profile)
            others = tuple(
                item
                for item, other, text in zip(profile[:end], keys[:end], texts[:end], strict=True)
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
        earlier: See :func:`expand_history`.
    """

    def __init__(
        self, source: Source, instruction: str | None = None, *, earlier: bool = False
    ) -> None:
        self._source = source
        self._earlier = earlier
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
            self._source.records(split, on_bad=on_bad),
            instruction=self._instruction,
            earlier=self._earlier,
        )

    def fingerprint(self, split: str) -> str:
        """The source's, the instruction, and which items make a profile."""
        earlier = ", earlier" if self._earlier else ""
        return f"history({self._source.fingerprint(split)}, {self._instruction!r}{earlier})"


def _in_time(items: tuple[ProfileItem, ...]) -> tuple[ProfileItem, ...]:
    """The items by date, or as they are where one has none."""
    return tuple(sorted(items, key=_date)) if all(item.date for item in items) else items


def _date(item: ProfileItem) -> str:
    return item.date


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
