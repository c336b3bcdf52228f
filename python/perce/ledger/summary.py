"""What a ledger tells at a glance: counts by user, and the most personal tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from perce.errors import OptionError
from perce.ledger.personal import NEVER, THRESHOLD

if TYPE_CHECKING:
    from perce.ledger.ledger import ScoreLedger


@dataclass(frozen=True, slots=True)
class UserCounts:
    """A user's tokens; records that were not visited yet count in ``records`` alone.

    Attributes:
        user: their id.
        records: their records in the data.
        visited: those visited at least once.
        tokens: response tokens of these.
        personal: tokens whose moving average of PIR is above the threshold now.
        ever: tokens whose average ever was.
        mean_pir: mean of the averages, in nats; NaN without tokens.
        first_step: the first step at which a token of theirs became personal, or None.
    """

    user: str
    records: int
    visited: int
    tokens: int
    personal: int
    ever: int
    mean_pir: float
    first_step: int | None


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A token whose moving average of PIR is above the threshold.

    Attributes:
        user: whose.
        record: index in the data.
        record_id: the record's id.
        position: within the response.
        token_id: its id.
        pir: the moving average, in nats.
        since: first step at which it was above the threshold.
        visits: how often it was visited.
    """

    user: str
    record: int
    record_id: str
    position: int
    token_id: int
    pir: float
    since: int
    visits: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over all chosen users, each of them by personal share, and the top tokens by PIR."""

    total: UserCounts
    users: list[UserCounts]
    tokens: list[PersonalToken]


def summarise(
    ledger: ScoreLedger,
    *,
    threshold: float = THRESHOLD,
    user: str | None = None,
    top: int = 20,
) -> Summary:
    """Count by user and find the most personal tokens.

    Args:
        ledger: what to look at.
        threshold: PIR in nats above which a token counts as personal.
        user: only this one.
        top: most tokens to return.

    Raises:
        OptionError: no record is of this user.
    """
    data = ledger.data
    since, pir, visits = ledger.became_personal(threshold), ledger.pir(), ledger.visits()
    encoded = pa.array(data.user_ids, pa.string()).dictionary_encode()
    names, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    if user is not None and user not in names:
        raise OptionError("--user", f"{user!r} has no record in {data.path}")
    chosen = np.ones(len(data), dtype=bool) if user is None else codes == names.index(user)
    starts = data.response_offsets[:-1]
    by_record = {
        "visited": visits > 0,
        # A record's tokens have all been visited, or none has.
        "tokens": np.diff(data.response_offsets) * (visits > 0),
        "personal": np.add.reduceat(pir > threshold, starts, dtype=np.int64),
        "ever": np.add.reduceat(since != NEVER, starts, dtype=np.int64),
        "sum": np.add.reduceat(np.nan_to_num(pir), starts, dtype=np.float64),
    }
    first = np.minimum.reduceat(np.where(since == NEVER, _NO_STEP, since), starts)
    by_user = {
        name: np.bincount(codes, weights=values, minlength=len(names))
        for name, values in {"records": np.ones(len(data)), **by_record}.items()
    }
    first_by_user = np.full(len(names), _NO_STEP)
    np.minimum.at(first_by_user, codes, first)
    every = [
        _counts(
            name,
            {key: values[code] for key, values in by_user.items()},
            int(first_by_user[code]),
        )
        for code, name in enumerate(names)
        if user is None or name == user
    ]
    every.sort(key=lambda c: (-c.personal / max(c.tokens, 1), c.user))
    total = _counts(
        "all",
        {key: sum(values) for key, values in by_user.items()},
        int(first_by_user.min()),
    )
    return Summary(total, every, _top(ledger, since, pir, chosen, threshold, top))


_NO_STEP = np.iinfo(np.int64).max


def _counts(user: str, sums: dict[str, float], first: int) -> UserCounts:
    tokens = int(sums["tokens"])
    return UserCounts(
        user=user,
        records=int(sums["records"]),
        visited=int(sums["visited"]),
        tokens=tokens,
        personal=int(sums["personal"]),
        ever=int(sums["ever"]),
        mean_pir=sums["sum"] / tokens if tokens else float("nan"),
        first_step=None if first == _NO_STEP else first,
    )


def _top(
    ledger: ScoreLedger,
    since: npt.NDArray[np.int64],
    pir: npt.NDArray[np.float32],
    chosen: npt.NDArray[np.bool_],
    threshold: float,
    top: int,
) -> list[PersonalToken]:
    data, offsets, visits = ledger.data, ledger.data.response_offsets, ledger.visits()
    candidates = np.flatnonzero(np.repeat(chosen, np.diff(offsets)) & (pir > threshold))
    if len(candidates) > top:
        candidates = candidates[np.argpartition(-pir[candidates], top - 1)[:top]]
    best = candidates[np.lexsort((candidates, -pir[candidates]))]
    records = np.searchsorted(offsets, best, side="right") - 1
    return [
        PersonalToken(
            user=data.user_ids[record],
            record=record,
            record_id=data.record_ids[record],
            position=token - int(offsets[record]),
            token_id=int(data.response_ids[token]),
            pir=float(pir[token]),
            since=int(since[token]),
            visits=int(visits[record]),
        )
        for token, record in zip(best.tolist(), records.tolist(), strict=True)
    ]
