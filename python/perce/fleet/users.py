"""Which users get an adapter, from which of their records, and which records judge it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perce.errors import OptionError
from perce.tokens import PreparedData

ALL = "all"
"""Value of ``users`` that means every user of the data."""

LEAST_TELLING = 32
"""Characters that a held-out response must have before finding it elsewhere counts as a leak: a
label or a rating stands in many texts by chance."""


@dataclass(frozen=True, slots=True)
class UserSplit:
    """One user's records.

    Attributes:
        train: indices into the training data, in its order.
        held_out: the data that judges the adapter, or None where the user has no such record.
        left_out: training records that show a held-out response and are therefore not trained on.
    """

    train: npt.NDArray[np.int64]
    held_out: PreparedData | None
    left_out: int


class UserSplits:
    """Splits the records of prepared data by user.

    A user's held-out records are all that ``eval_data`` has of them, or without it their last ones
    in the order of the data: a share of ``eval_share``, one at least. A training record that shows
    a held-out response, in the part of its profile that the prompt holds or as its own response,
    is left out of training: else the adapter would be judged on what it has read.

    Args:
        data: what to train on.
        eval_data: what to judge on, with the same users.
        eval_share: the share of a user's records to hold out where there is no ``eval_data``.

    Raises:
        OptionError: the share is not between 0 and 1, or ``eval_data`` is the training data.
    """

    def __init__(
        self, data: PreparedData, eval_data: PreparedData | None = None, eval_share: float = 0.2
    ) -> None:
        if not (math.isfinite(eval_share) and 0 < eval_share < 1):
            raise OptionError("eval_share", f"{eval_share}: give a share between 0 and 1")
        if eval_data is not None and eval_data.meta["key"] == data.meta["key"]:
            raise OptionError(
                "eval_data", f"{eval_data.path} is the training data itself: give another split"
            )
        self.data = data
        self._eval_data = eval_data
        self._share = eval_share
        self._train = _by_user(data)
        self._held_out = None if eval_data is None else _by_user(eval_data)

    @property
    def users(self) -> list[str]:
        """Every user of the training data, in its order."""
        return list(self._train)

    def split(self, user: str) -> UserSplit:
        """One user's records; reads their texts.

        Raises:
            KeyError: the training data has no such user.
        """
        train = self._train[user]
        if self._held_out is None:
            # The last ones: they stand for what the user will write next.
            count = min(len(train), max(1, math.floor(self._share * len(train))))
            train, last = train[:-count], train[-count:]
            held_out: PreparedData | None = self.data.select(last)
        else:
            assert self._eval_data is not None
            records = self._held_out.get(user)
            held_out = None if records is None else self._eval_data.select(records)
        if held_out is None:
            return UserSplit(train, None, 0)
        kept = self._without_leaks(train, held_out)
        return UserSplit(kept, held_out, len(train) - len(kept))

    def _without_leaks(
        self, train: npt.NDArray[np.int64], held_out: PreparedData
    ) -> npt.NDArray[np.int64]:
        responses = {
            text
            for record in range(len(held_out))
            if len(text := _normal(held_out.record(record).record.response)) >= LEAST_TELLING
        }
        if not responses:
            return train
        clean = [not any(r in text for text in self._texts(i) for r in responses) for i in train]
        kept: npt.NDArray[np.int64] = train[np.array(clean, dtype=bool)]
        return kept

    def _texts(self, index: int) -> list[str]:
        record = self.data.record(int(index))
        # An item cut for length counts as a whole: part of a held-out text is a leak, too.
        shown = [_normal(f"{item.text} {item.content}") for item in record.shown]
        return [*shown, _normal(record.record.response)]


def choose_users(option: str, known: Sequence[str]) -> list[str]:
    """The users that ``--users`` means.

    Args:
        option: ``all``, or a UTF-8 text file with a user id a line; blanks around it and empty
            lines are skipped.
        known: the users of the data.

    Raises:
        OptionError: the file cannot be read, is empty, or names a user twice or one that the data
            does not have; the message tells the line.
    """
    if option == ALL:
        return list(known)
    path = Path(option)
    try:
        # With the mark that some editors begin a file with; lines end as files' do, for an id may
        # hold other characters that Unicode counts among line ends.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise OptionError("users", f"cannot read {path}: {error.strerror}; or say all") from None
    except UnicodeDecodeError as error:
        raise OptionError("users", f"{path} is not UTF-8: {error.reason}") from None
    chosen: dict[str, int] = {}
    there = set(known)
    for number, line in enumerate(lines, start=1):
        user = line if line in there else line.strip()
        if not user:
            continue
        if user in chosen:
            raise OptionError("users", f"{path}:{number}: {user!r} stands on line {chosen[user]}")
        if user not in there:
            raise OptionError("users", f"{path}:{number}: the data have no user {user!r}")
        chosen[user] = number
    if not chosen:
        raise OptionError("users", f"{path} names no user: write one id a line")
    return list(chosen)


def _by_user(data: PreparedData) -> dict[str, npt.NDArray[np.int64]]:
    records: defaultdict[str, list[int]] = defaultdict(list)
    for index, user in enumerate(data.user_ids):
        records[user].append(index)
    return {user: np.array(indices, dtype=np.int64) for user, indices in records.items()}


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())
