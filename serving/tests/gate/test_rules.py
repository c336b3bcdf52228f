"""The gate's rules on a simulated clock, against what they promise."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asgi import refusal
from perce_serving.gate.rules import GateConfig, Rules, Ticket

ADAPTERS = st.sampled_from([None, "a", "b", "c", "d", "e"])
USERS = st.sampled_from(["ann", "bob", "cat"])


class Gate(RuleBasedStateMachine):
    """Anybody enters and leaves at any time, waiting or running."""

    def __init__(self) -> None:
        super().__init__()
        self.config = GateConfig(
            max_adapters=3,
            per_user=3,
            turns_per_user=2,
            waiting_per_user=4,
            waiting=9,
            patience=1.0,
        )
        self.rules = Rules(self.config)
        self.now = 0.0
        self.running: list[Ticket] = []
        self.queued: list[Ticket] = []

    def started(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            assert ticket.started == self.now
            self.queued.remove(ticket)
            self.running.append(ticket)

    @rule(user=USERS, adapter=ADAPTERS)
    def enter(self, user: str, adapter: str | None) -> None:
        mine = sum(ticket.user == user for ticket in self.queued)
        entered = []
        refused = refusal(lambda: entered.append(self.rules.enter(user, adapter, self.now)))
        if refused is not None:
            all_mine = mine == self.config.waiting_per_user
            assert all_mine or len(self.queued) == self.config.waiting
            assert (refused.code, refused.status) == (
                ("waiting", 429) if all_mine else ("full", 503)
            )
            assert refused.retry_after
            return
        (ticket,) = entered
        if ticket.started is None:
            assert mine < self.config.waiting_per_user
            assert len(self.queued) < self.config.waiting
            self.queued.append(ticket)
        else:
            self.running.append(ticket)
        self.started(self.rules.advance(self.now))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.running))
        self.running.remove(ticket)
        self.started(self.rules.leave(ticket, self.now))

    @precondition(lambda self: self.queued)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.queued))
        self.queued.remove(ticket)
        self.started(self.rules.leave(ticket, self.now))

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.started(self.rules.advance(self.now))

    def adapters_of(self, user: str) -> set[str | None]:
        return {ticket.adapter for ticket in self.running if ticket.user == user} - {None}

    @invariant()
    def never_more_than_may(self) -> None:
        hot = {ticket.adapter for ticket in self.running} - {None}
        assert len(hot) <= self.config.max_adapters
        assert self.rules.hot == len(hot)
        per_user = Counter(ticket.user for ticket in self.running)
        assert all(count <= self.config.per_user for count in per_user.values())
        for user in per_user:
            assert len(self.adapters_of(user)) <= self.config.turns_per_user
        assert len(self.queued) <= self.config.waiting

    @invariant()
    def counts_are_right(self) -> None:
        assert self.rules.in_flight == len(self.running)
        assert self.rules.waiting == len(self.queued)
        used = {ticket.adapter for ticket in self.running + self.queued}
        assert self.rules.in_use() == used - {None}

    @invariant()
    def the_line_is_of_those_without_a_turn_that_takes_more(self) -> None:
        rules = self.rules
        takes_more = {adapter for adapter, turn in rules._hot.items() if not turn.draining}
        waiting = {ticket.adapter for ticket in self.queued} - {None}
        assert rules._line.keys() == waiting - takes_more

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """A waiting request is held back by its user's caps or by turns, never by nothing."""
        per_user = Counter(ticket.user for ticket in self.running)
        hot = {ticket.adapter for ticket in self.running} - {None}
        for ticket in self.queued:
            if per_user[ticket.user] == self.config.per_user:
                continue
            assert ticket.adapter is not None
            if len(self.adapters_of(ticket.user) | {ticket.adapter}) > self.config.turns_per_user:
                continue
            assert len(hot) == self.config.max_adapters
            if ticket.adapter in hot:  # its turn has to end: for an adapter that lost patience
                assert any(
                    adapter not in hot and joined + self.config.patience <= self.now
                    for adapter, joined in self.rules._line.items()
                )

    def teardown(self) -> None:
        """When all have left, nothing is left of them."""
        while self.running or self.queued:
            ticket = (self.running or self.queued).pop()
            self.started(self.rules.leave(ticket, self.now))
        assert self.rules.in_use() == frozenset()
        assert (self.rules.hot, self.rules.in_flight, self.rules.waiting) == (0, 0, 0)
        assert self.rules.deadline(self.now) is None
        left = [value for value in vars(self.rules).values() if isinstance(value, dict)]
        assert not any(left)


TestGate = Gate.TestCase


@dataclass(frozen=True)
class Work:
    """A request of a simulated server: when it comes, whose, for what, how long it runs."""

    at: float
    user: str
    adapter: str
    seconds: float


def serve(rules: Rules, works: list[Work]) -> dict[Work, Ticket]:
    """Run ``works`` through the gate and a server that gives each its own time."""
    order = itertools.count()
    tickets: dict[Work, Ticket] = {}
    owners: dict[Ticket, Work] = {}
    events: list[tuple[float, int, Work | Ticket | None]] = [
        (work.at, next(order), work) for work in works
    ]
    heapq.heapify(events)
    while events:
        now, _, event = heapq.heappop(events)
        if isinstance(event, Work):
            ticket = tickets[event] = rules.enter(event.user, event.adapter, now)
            owners[ticket] = event
            started = [ticket] if ticket.started is not None else []
            started += rules.advance(now)
        else:
            started = rules.advance(now) if event is None else rules.leave(event, now)
        for ticket in started:
            heapq.heappush(events, (now + owners[ticket].seconds, next(order), ticket))
        deadline = rules.deadline(now)
        if deadline is not None:
            heapq.heappush(events, (deadline, next(order), None))
    return tickets


LONGEST = 1.0


@given(
    slots=st.integers(1, 4),
    patience=st.sampled_from([0.0, 0.5, 2.0]),
    works=st.lists(
        st.builds(
            Work,
            at=st.floats(0, 30),
            user=st.integers(0, 7).map("user {}".format),
            adapter=st.integers(0, 1).map("version {}".format),
            seconds=st.floats(0.5, LONGEST),
        ),
        max_size=120,
        unique=True,
    ),
)
def test_everybody_is_served_within_the_promised_time(slots, patience, works) -> None:
    rules = Rules(
        GateConfig(max_adapters=slots, per_user=1000, waiting_per_user=1000, patience=patience)
    )
    tickets = serve(rules, [replace(work, adapter=f"{work.user}@{work.adapter}") for work in works])
    # At most seven others stand ahead in line, for each of two versions in turn: that, in a row, is
    # the promise of the module.
    bound = 2 * 8 * (patience + LONGEST)
    for ticket in tickets.values():
        assert ticket.started is not None
        assert ticket.wait <= bound + 1e-6


@pytest.mark.parametrize("cold", [1, 5])
def test_a_cold_user_is_served_while_others_keep_all_turns_busy(cold: int) -> None:
    """The case in which vLLM by itself lets a user wait for as long as the others go on."""
    hot = [
        Work(0.1 * step + 0.01 * user, f"hot {user}", f"hot {user}", 1.0)
        for user in range(4)
        for step in range(600)
    ]
    late = [Work(10.0 + user, f"cold {user}", f"cold {user}", 1.0) for user in range(cold)]
    config = GateConfig(max_adapters=4, per_user=10, waiting_per_user=10_000, waiting=10_000)
    tickets = serve(Rules(config), hot + late)
    assert max(tickets[work].wait for work in late) <= config.patience + 1.0 + 1e-6


@pytest.mark.parametrize("stalled", [1, 3])
def test_an_answer_without_end_keeps_nobody_out(stalled: int) -> None:
    endless = [Work(0.0, f"stalled {user}", f"stalled {user}", 1e6) for user in range(stalled)]
    hot = [
        Work(0.1 * step + 0.01 * user, f"hot {user}", f"hot {user}", 1.0)
        for user in range(4 - stalled)
        for step in range(600)
    ]
    late = Work(10.0, "cold", "cold", 1.0)
    config = GateConfig(max_adapters=4, per_user=10, waiting_per_user=10_000, waiting=10_000)
    ticket = serve(Rules(config), [*endless, *hot, late])[late]
    assert ticket.started is not None
    assert ticket.wait <= (1 + stalled) * config.patience + 1.0 + 1e-6


def test_a_second_turn_is_drained_in_time_with_nobody_coming_or_going() -> None:
    rules = Rules(GateConfig(max_adapters=2, patience=1.0))
    for user in ("ann", "bob"):
        rules.enter(user, user, 0.0)
    rules.enter("cat", "cat", 0.25)
    for now, drains, deadline in ((0.25, 0, 1.0), (1.0, 0, 1.25), (1.25, 1, 2.25), (2.25, 2, 3.25)):
        assert rules.advance(now) == []
        assert (rules.drains, rules.deadline(now)) == (drains, deadline)


def test_many_versions_of_one_user_are_not_many_in_line() -> None:
    many = [Work(0.0, "ann", f"ann {version}", 2.0) for version in range(16)]
    late = Work(0.1, "bob", "bob", 2.0)
    tickets = serve(Rules(GateConfig(max_adapters=1)), [*many, late])
    assert tickets[late].wait < 4.0  # for the version that runs, and one that came before
    assert all(ticket.started is not None for ticket in tickets.values())


def test_one_user_in_line_drains_one_turn_at_a_time() -> None:
    rules = Rules(GateConfig(max_adapters=3, patience=1.0))
    for number in range(3):
        rules.enter(f"hot {number}", f"hot {number}", 0.0)
    for version in range(3):
        rules.enter("ann", f"ann {version}", 0.0)
    rules.advance(1.5)
    assert rules.drains == 1


def test_one_user_does_not_hold_all_turns() -> None:
    rules = Rules(GateConfig(max_adapters=3, turns_per_user=2))
    first, _, third = (rules.enter("ann", f"ann {version}", 0.0) for version in range(3))
    assert third.started is None
    assert rules.enter("ann", None, 0.0).started == 0.0
    assert rules.enter("bob", "bob", 0.0).started == 0.0
    assert rules.leave(first, 1.0) == [third]


def test_where_every_adapter_has_its_turn_nobody_waits_at_all() -> None:
    works = [
        Work(0.01 * step, f"user {step % 4}", f"adapter {step % 4}", 1.0) for step in range(800)
    ]
    rules = Rules(GateConfig(max_adapters=4, per_user=1000))
    tickets = serve(rules, works)
    assert all(ticket.wait == 0 for ticket in tickets.values())
    assert rules.drains == 0


def test_turns_that_change_keep_the_server_as_busy_as_turns_that_do_not() -> None:
    """Sixteen users, each with a request at a time, over four turns: the turns are never empty."""
    works = [Work(0.0, f"user {user}", f"adapter {user}", 1.0 + 1e-3 * user) for user in range(16)]
    tickets = serve(Rules(GateConfig(max_adapters=4)), works)
    last = max(tickets[work].started + work.seconds for work in works)
    assert last <= sum(work.seconds for work in works) / 4 + 1.1


def test_a_turn_lasts_as_long_as_patience_does() -> None:
    rules = Rules(GateConfig(max_adapters=1, patience=2.0, per_user=9))
    rules.enter("ann", "a", 0.0)
    rules.enter("bob", "b", 0.5)
    assert rules.advance(2.4) == []
    assert rules.enter("ann", "a", 2.4).started == 2.4  # b has waited 1.9 s
    assert rules.advance(2.5) == []
    assert rules.enter("ann", "a", 2.6).started is None  # a's turn is ending
    assert rules.drains == 1


def test_an_ending_turn_goes_on_when_the_one_it_ends_for_goes_away() -> None:
    rules = Rules(GateConfig(max_adapters=1, patience=1.0, per_user=9))
    rules.enter("ann", "a", 0.0)
    other = rules.enter("bob", "b", 0.0)
    rules.advance(1.0)
    mine = rules.enter("ann", "a", 1.1)
    assert mine.started is None
    assert rules.leave(other, 1.2) == [mine]


def test_what_waits_as_a_turn_is_ending_stands_in_line_from_then_on() -> None:
    for early, user in ((0.0, "ann"), (1.2, "dan")):  # held back by the cap; by the ending turn
        rules = Rules(GateConfig(max_adapters=1, patience=1.0, per_user=1))
        first = rules.enter("ann", "a", 0.0)
        if early < 1.0:
            again = rules.enter(user, "a", early)
        other = rules.enter("bob", "b", 0.0)
        rules.advance(1.0)
        if early > 1.0:
            again = rules.enter(user, "a", early)
        last = rules.enter("cat", "c", 1.5)
        assert rules.leave(first, 2.0) == [other]
        assert rules.leave(other, 2.1) == [again]
        assert rules.leave(again, 2.2) == [last]


def test_a_turn_that_begins_at_once_leaves_nobody_in_line_for_it() -> None:
    rules = Rules(GateConfig(max_adapters=2, patience=1.0, per_user=1))
    first = rules.enter("ann", "a", 0.0)
    capped = rules.enter("ann", "shared", 0.0)
    assert rules.enter("bob", "shared", 0.0).started == 0.0
    assert rules.deadline(0.0) is None
    assert rules.leave(first, 1.0) == [capped]


def test_a_user_over_the_cap_stands_in_nobodys_way() -> None:
    rules = Rules(GateConfig(max_adapters=1, per_user=1))
    first = rules.enter("ann", "shared", 0.0)
    second = rules.enter("ann", "shared", 0.0)
    assert second.started is None
    assert rules.enter("bob", "shared", 0.0).started == 0.0
    assert rules.leave(first, 1.0) == [second]


def test_the_base_model_needs_no_turn() -> None:
    rules = Rules(GateConfig(max_adapters=1))
    rules.enter("ann", "a", 0.0)
    assert rules.enter("bob", None, 0.0).started == 0.0
    assert rules.in_use() == {"a"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_adapters": 0},
        {"max_adapters": 1, "per_user": 0},
        {"max_adapters": 1, "turns_per_user": 0},
        {"max_adapters": 1, "waiting_per_user": -1},
        {"max_adapters": 1, "waiting": -1},
        {"max_adapters": 1, "patience": float("nan")},
        {"max_adapters": 1, "patience": float("inf")},
        {"max_adapters": 1, "patience": -1.0},
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=list(wrong)[-1]):
        GateConfig(**wrong)
