"""The gate's rules as a state machine: no clock, no tasks, no waiting of its own.

vLLM runs at most ``max_loras`` adapters in one batch and takes requests first come, first served
among those whose adapter is in it. So while as many users keep it busy, all others wait for as long
as those please. Here an adapter has to have a *turn* before its requests go to the engine:

* There are ``max_adapters`` turns. An adapter with a turn, a hot one, passes its requests at once.
* The adapters without one stand in line. A turn ends when the adapter has nothing in flight, and
  the first in line gets it: as long as turns are free, nobody waits and nothing is held back.
* When an adapter has stood in line for ``patience`` seconds, one turn of that age or older, the
  oldest, is *drained*: its requests in flight finish, its new ones go to the end of the line. So a
  turn lasts at least ``patience`` under the heaviest load, and the engine does not change adapters
  for every request.
* A drained turn that has not ended after ``patience`` seconds more may never do so soon: another is
  drained beside it. One long answer, or a caller who does not read it, holds up no line.
* The line is of users, not of adapters: when one of a user's adapters gets a turn, those that only
  this user waits for go to the end of the line, and only the first of them lets turns be drained.

With requests of at most T seconds, but for some that leave a turn to the others, a user with k
others ahead in line waits at most (k + 1)(patience + T) for an adapter, and as long again for each
further one; as the turns end side by side, mostly a ``max_adapters``-th of that.

Beside that, no user has more than ``per_user`` requests in flight, nor requests for more than
``turns_per_user`` adapters: what is more waits, in nobody's way. Requests for the base model need
no turn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from perce_serving.refusal import refuse

_Key = TypeVar("_Key")


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """How many may run and wait.

    Raises:
        ValueError: a number is out of range.
    """

    max_adapters: int
    """Adapters in flight together: the engine's ``max_loras``, shared out among the processes in
    front of it that have a gate each."""

    per_user: int = 4
    """Most requests that a user has in flight; what is more waits."""

    turns_per_user: int = 2
    """Most adapters for which a user has requests in flight: a new version's beside the old one's
    that still run. Where it is under ``max_adapters``, no user alone can hold all turns."""

    waiting_per_user: int = 16
    """Most requests of a user that wait; what is more is refused."""

    waiting: int = 1024
    """Most requests that wait in all; what is more is refused."""

    patience: float = 0.5
    """Seconds in line after which a turn is drained, and least length of a turn in demand."""

    def __post_init__(self) -> None:
        for name, least in (
            ("max_adapters", 1),
            ("per_user", 1),
            ("turns_per_user", 1),
            ("waiting_per_user", 0),
            ("waiting", 0),
        ):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} is {value}: {least} is the least")
        if not 0 <= self.patience < math.inf:
            raise ValueError(f"patience is {self.patience}: seconds from 0 are expected")


@dataclass(eq=False)
class Ticket:
    """One request at the gate, from entry to leaving. ``started`` is None while it waits."""

    user: str
    adapter: str | None
    entered: float
    started: float | None = None

    @property
    def wait(self) -> float:
        """Seconds from entry to start; 0 while that is to come."""
        return 0.0 if self.started is None else self.started - self.entered


@dataclass
class _Turn:
    """A hot adapter: since when, with how many requests in flight, and since when it has to end."""

    since: float
    in_flight: int = 0
    draining_since: float | None = None

    @property
    def draining(self) -> bool:
        """Whether it has to end."""
        return self.draining_since is not None


class Rules:
    """Who runs and who waits. All times are seconds on one clock that never goes back.

    Each call costs time linear in the requests that wait, which ``GateConfig.waiting`` bounds.
    """

    def __init__(self, config: GateConfig) -> None:
        self.config = config
        self.drains = 0
        """Turns that had to end so far."""
        self._hot: dict[str, _Turn] = {}
        # Adapters with waiting requests and no turn that takes them, in order, each with the time
        # at which it joined. One whose turn is being drained stands in line for the next.
        self._line: dict[str, float] = {}
        self._waiting: dict[str | None, dict[Ticket, None]] = {}
        # By user, and then by what they run on.
        self._in_flight: dict[str, Counter[str | None]] = {}
        self._queued: Counter[str] = Counter()

    @property
    def hot(self) -> int:
        """Adapters with a turn."""
        return len(self._hot)

    @property
    def in_flight(self) -> int:
        """Requests that run."""
        return sum(counts.total() for counts in self._in_flight.values())

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._queued.total()

    def in_use(self) -> frozenset[str]:
        """Adapters that a request in flight or waiting needs: none of them may be collected."""
        return frozenset(self._hot).union(name for name in self._waiting if name is not None)

    def enter(self, user: str, adapter: str | None, now: float) -> Ticket:
        """Take a request in: it starts at once if it may, and waits otherwise.

        Args:
            user: whose it is.
            adapter: the adapter it needs; None for the base model.
            now: the time.

        Raises:
            RequestError: it would have to wait, and too many wait already.
        """
        ticket = Ticket(user, adapter, now)
        if self._has_room(ticket) and self._takes(adapter):
            self._start(ticket, now)
            return ticket
        if self._queued[user] >= self.config.waiting_per_user:
            raise refuse(
                "waiting",
                f"{self._queued[user]} of your requests wait already; let one finish",
                retry_after=1.0,
            )
        if self.waiting >= self.config.waiting:
            raise refuse(
                "full", f"{self.waiting} requests wait already; try later", retry_after=5.0
            )
        self._waiting.setdefault(adapter, {})[ticket] = None
        self._queued[user] += 1
        if adapter is not None and not self._is_open(adapter):
            self._line.setdefault(adapter, now)
        return ticket

    def leave(self, ticket: Ticket, now: float) -> list[Ticket]:
        """Take a request out, whether it ran or waited, and return those that start for it."""
        if ticket.started is None:
            self._unqueue(ticket)
        else:
            counts = self._in_flight[ticket.user]
            _decrement(counts, ticket.adapter)
            if not counts:
                del self._in_flight[ticket.user]
            if ticket.adapter is not None:
                self._end(ticket.adapter, now)
        return self.advance(now)

    def advance(self, now: float) -> list[Ticket]:
        """Bring the gate to the time ``now`` and return the requests that start.

        To be called after ``enter`` has made a request wait, and at ``deadline``.
        """
        started: list[Ticket] = []
        while True:
            for adapter in list(self._waiting):
                if adapter is None or self._is_open(adapter):
                    started += self._start_all(adapter, now)
            while len(self._hot) < self.config.max_adapters:
                first = next(self._cold(), None)
                if first is None:
                    break
                del self._line[first]
                self._send_back(self._only_user(first), now)
                self._hot[first] = _Turn(now)
                started += self._start_all(first, now)
            # A turn given back to its adapter may let requests of its own start.
            if not self._drain(now):
                return started

    def deadline(self, now: float) -> float | None:
        """When ``advance`` may have something to do though nobody enters or leaves, or None."""
        if not self._line:
            return None
        ages = [
            *self._line.values(),
            *(turn.since for turn in self._hot.values()),
            *(
                turn.draining_since
                for turn in self._hot.values()
                if turn.draining_since is not None
            ),
        ]
        times = (since + self.config.patience for since in ages)
        return min((time for time in times if time > now), default=None)

    def _drain(self, now: float) -> bool:
        """Drain as many turns as users have lost patience; return whether one was let go on."""
        patience = self.config.patience
        impatient = sum(self._line[adapter] + patience <= now for adapter in self._cold())
        draining = [adapter for adapter, turn in self._hot.items() if turn.draining]
        # Turns that may still end soon: one that has had its time for that counts for nobody.
        ending = [name for name in draining if not self._is_stuck(self._hot[name], now)]
        # Oldest turns first: a dict keeps the order in which they began.
        for adapter, turn in self._hot.items():
            if len(ending) >= impatient:
                break
            if not turn.draining and turn.since + patience <= now:
                turn.draining_since = now
                ending.append(adapter)
                self.drains += 1
                if adapter in self._waiting:
                    self._line.setdefault(adapter, now)
        # The adapter for which a turn was being drained has got another, or its caller went away.
        surplus = ending[impatient:] if impatient else draining
        for adapter in surplus:
            self._hot[adapter].draining_since = None
            self._line.pop(adapter, None)
        return bool(surplus)

    def _is_stuck(self, turn: _Turn, now: float) -> bool:
        """Whether a turn has had to end for longer than ``patience``."""
        since = turn.draining_since
        return since is not None and since + self.config.patience <= now

    def _cold(self) -> Iterator[str]:
        """First adapter of each user in line that has no turn and a request that could start."""
        users = set()
        for adapter in self._line:
            if adapter not in self._hot and any(map(self._has_room, self._waiting[adapter])):
                user = self._only_user(adapter)
                if user not in users:
                    yield adapter
                if user is not None:
                    users.add(user)

    def _only_user(self, adapter: str) -> str | None:
        """The user of all requests that wait for an adapter; None if they are of several."""
        users = {ticket.user for ticket in self._waiting[adapter]}
        return users.pop() if len(users) == 1 else None

    def _send_back(self, user: str | None, now: float) -> None:
        """Put the adapters in line that only ``user`` waits for at its end, as if they came now."""
        for adapter in list(self._line) if user is not None else ():
            if self._only_user(adapter) == user:
                del self._line[adapter]
                self._line[adapter] = now

    def _is_open(self, adapter: str) -> bool:
        """Whether an adapter has a turn that takes further requests."""
        turn = self._hot.get(adapter)
        return turn is not None and not turn.draining

    def _takes(self, adapter: str | None) -> bool:
        """Whether a request for ``adapter`` could start, were there only it."""
        if adapter is None or self._is_open(adapter):
            return True
        return adapter not in self._hot and len(self._hot) < self.config.max_adapters

    def _has_room(self, ticket: Ticket) -> bool:
        """Whether a request's user has fewer in flight, and on fewer adapters, than may."""
        counts = self._in_flight.get(ticket.user)
        if counts is None:
            return True
        if counts.total() >= self.config.per_user:
            return False
        adapters = {*counts, ticket.adapter} - {None}
        return ticket.adapter is None or len(adapters) <= self.config.turns_per_user

    def _start_all(self, adapter: str | None, now: float) -> list[Ticket]:
        """Start the waiting requests of an adapter that may run, oldest first."""
        started = []
        for ticket in list(self._waiting.get(adapter, ())):
            if self._has_room(ticket):
                self._unqueue(ticket)
                self._start(ticket, now)
                started.append(ticket)
        return started

    def _start(self, ticket: Ticket, now: float) -> None:
        """Let a request run; an adapter without a turn begins one."""
        ticket.started = now
        self._in_flight.setdefault(ticket.user, Counter())[ticket.adapter] += 1
        if ticket.adapter is not None:
            if ticket.adapter not in self._hot:
                self._line.pop(ticket.adapter, None)
            self._hot.setdefault(ticket.adapter, _Turn(now)).in_flight += 1

    def _end(self, adapter: str, now: float) -> None:
        """One request of a hot adapter is over; with the last, its turn is."""
        turn = self._hot[adapter]
        turn.in_flight -= 1
        if turn.in_flight == 0:
            del self._hot[adapter]
            if adapter in self._waiting:
                self._line.setdefault(adapter, now)

    def _unqueue(self, ticket: Ticket) -> None:
        """Take a request out of those that wait; with the last, its adapter out of the line."""
        tickets = self._waiting[ticket.adapter]
        del tickets[ticket]
        _decrement(self._queued, ticket.user)
        if not tickets:
            del self._waiting[ticket.adapter]
            if ticket.adapter is not None:
                self._line.pop(ticket.adapter, None)


def _decrement(counts: Counter[_Key], key: _Key) -> None:
    """Count one less, forgetting a key at zero: memory does not grow with every user seen."""
    counts[key] -= 1
    if counts[key] == 0:
        del counts[key]
