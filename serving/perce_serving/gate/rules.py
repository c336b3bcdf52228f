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

With requests of at most T seconds, an adapter with k others ahead in line waits at most
(k + 1)(patience + T); as the turns end side by side, mostly a ``max_adapters``-th of that.

Beside that, no user has more than ``per_user`` requests in flight, whatever their adapters: what is
more waits, in nobody's way. Requests for the base model need no turn.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from perce_serving.refusal import refuse


@dataclass(frozen=True, kw_only=True)
class GateConfig:
    """How many may run and wait.

    Raises:
        ValueError: a number is out of range.
    """

    max_adapters: int
    """Adapters in flight together: the engine's ``max_loras``."""

    per_user: int = 4
    """Most requests that a user has in flight; what is more waits."""

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
    """A hot adapter: since when, with how many requests in flight, and whether it has to end."""

    since: float
    in_flight: int = 0
    draining: bool = False


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
        self._in_flight: Counter[str] = Counter()
        self._queued: Counter[str] = Counter()

    @property
    def hot(self) -> int:
        """Adapters with a turn."""
        return len(self._hot)

    @property
    def in_flight(self) -> int:
        """Requests that run."""
        return self._in_flight.total()

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
        if self._has_room(user) and self._takes(adapter):
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
            self._count(self._in_flight, ticket.user, -1)
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
            for adapter in self._cold():
                if len(self._hot) == self.config.max_adapters:
                    break
                del self._line[adapter]
                self._hot[adapter] = _Turn(now)
                started += self._start_all(adapter, now)
            # A turn given back to its adapter may let requests of its own start.
            if not self._drain(now):
                return started

    def deadline(self, now: float) -> float | None:
        """When ``advance`` may have something to do though nobody enters or leaves, or None."""
        if not self._line:
            return None
        ages = [*self._line.values(), *(turn.since for turn in self._hot.values())]
        times = [since + self.config.patience for since in ages]
        return min((time for time in times if time > now), default=None)

    def _drain(self, now: float) -> bool:
        """Drain as many turns as adapters have lost patience; return whether one was let go on."""
        patience = self.config.patience
        impatient = sum(self._line[adapter] + patience <= now for adapter in self._cold())
        draining = [adapter for adapter, turn in self._hot.items() if turn.draining]
        # Oldest turns first: a dict keeps the order in which they began.
        for adapter, turn in self._hot.items():
            if len(draining) >= impatient:
                break
            if not turn.draining and turn.since + patience <= now:
                turn.draining = True
                draining.append(adapter)
                self.drains += 1
                if adapter in self._waiting:
                    self._line.setdefault(adapter, now)
        # The adapter for which a turn was being drained has got another, or its caller went away.
        surplus = draining[impatient:]
        for adapter in surplus:
            self._hot[adapter].draining = False
            self._line.pop(adapter, None)
        return bool(surplus)

    def _cold(self) -> Iterator[str]:
        """Adapters in line, in order, that have no turn and a request that could start."""
        for adapter in list(self._line):
            if adapter not in self._hot and any(
                self._has_room(ticket.user) for ticket in self._waiting[adapter]
            ):
                yield adapter

    def _is_open(self, adapter: str) -> bool:
        """Whether an adapter has a turn that takes further requests."""
        turn = self._hot.get(adapter)
        return turn is not None and not turn.draining

    def _takes(self, adapter: str | None) -> bool:
        """Whether a request for ``adapter`` could start, were there only it."""
        if adapter is None or self._is_open(adapter):
            return True
        return adapter not in self._hot and len(self._hot) < self.config.max_adapters

    def _has_room(self, user: str) -> bool:
        """Whether a user has fewer requests in flight than may."""
        return self._in_flight[user] < self.config.per_user

    def _start_all(self, adapter: str | None, now: float) -> list[Ticket]:
        """Start the waiting requests of an adapter that may run, oldest first."""
        started = []
        for ticket in list(self._waiting.get(adapter, ())):
            if self._has_room(ticket.user):
                self._unqueue(ticket)
                self._start(ticket, now)
                started.append(ticket)
        return started

    def _start(self, ticket: Ticket, now: float) -> None:
        """Let a request run; an adapter without a turn begins one."""
        ticket.started = now
        self._in_flight[ticket.user] += 1
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
        self._count(self._queued, ticket.user, -1)
        if not tickets:
            del self._waiting[ticket.adapter]
            if ticket.adapter is not None:
                self._line.pop(ticket.adapter, None)

    @staticmethod
    def _count(counts: Counter[str], user: str, change: int) -> None:
        """Change a count, forgetting a user at zero: memory does not grow with every user seen."""
        counts[user] += change
        if counts[user] == 0:
            del counts[user]
