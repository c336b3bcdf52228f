"""The gate on an event loop of simulated time: starts, cancellations, callers who go away."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from perce_serving.errors import RequestError
from perce_serving.gate import Gate, GateConfig, Metrics
from simulation import simulate


class GoneError(Exception):
    """A caller hung up."""


async def never() -> NoReturn:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


async def after(seconds: float) -> NoReturn:
    await asyncio.sleep(seconds)
    raise GoneError


def make(**settings: float) -> tuple[Gate, CollectorRegistry]:
    registry = CollectorRegistry()
    config = GateConfig(**{"max_adapters": 2, **settings})
    clock = asyncio.get_running_loop().time
    return Gate(config, Metrics(registry), clock=clock), registry


def test_a_place_is_given_back_however_its_holder_ends() -> None:
    async def main() -> None:
        gate, registry = make(max_adapters=1)

        async def fail() -> None:
            async with gate.slot("ann", "a", never):
                assert gate.in_use() == {"a"}
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert gate.in_use() == frozenset()
        async with gate.slot("bob", "b", never):
            assert registry.get_sample_value("perce_gate_hot_adapters") == 1
        assert registry.get_sample_value("perce_gate_hot_adapters") == 0

    simulate(main())


def test_a_caller_who_goes_away_while_waiting_leaves_nothing_behind() -> None:
    async def main() -> None:
        gate, registry = make(max_adapters=1)
        async with gate.slot("ann", "a", never):
            with pytest.raises(GoneError):
                async with gate.slot("bob", "b", lambda: after(0.2)):
                    raise AssertionError("bob is not to start")
            assert gate.in_use() == {"a"}
        assert registry.get_sample_value("perce_gate_abandoned_total") == 1
        assert registry.get_sample_value("perce_gate_requests_waiting") == 0

    simulate(main())


def test_a_turn_that_comes_as_its_caller_goes_is_passed_on() -> None:
    async def main() -> None:
        gate, _ = make(max_adapters=1)
        order = []

        async def use(user: str, gone) -> None:
            async with gate.slot(user, user, gone):
                order.append(user)

        async with gate.slot("ann", "ann", never):
            hung_up = asyncio.get_running_loop().create_future()

            async def gone() -> NoReturn:
                await hung_up
                raise GoneError

            bob = asyncio.create_task(use("bob", gone))
            cat = asyncio.create_task(use("cat", never))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            hung_up.set_result(None)
        results = await asyncio.gather(bob, cat, return_exceptions=True)
        assert isinstance(results[0], GoneError)
        assert order == ["cat"]
        assert gate.in_use() == frozenset()

    simulate(main())


def test_a_turn_that_comes_while_its_holder_is_being_cancelled_is_passed_on() -> None:
    async def main() -> None:
        gate, _ = make(max_adapters=1)
        order = []

        async def use(user: str) -> None:
            async with gate.slot(user, user, never):
                order.append(user)

        async with gate.slot("ann", "ann", never):
            bob, cat = (asyncio.create_task(use(user)) for user in ("bob", "cat"))
            await asyncio.sleep(0.1)
            bob.cancel()
            await asyncio.sleep(0)  # bob has begun to give up, and has not left yet
            assert gate.in_use() == {"ann", "bob", "cat"}
        await cat
        assert order == ["cat"]
        assert bob.cancelled()
        assert gate.in_use() == frozenset()

    simulate(main())


def test_patience_is_kept_by_a_timer_with_nobody_coming_or_going() -> None:
    async def main() -> None:
        gate, registry = make(max_adapters=1, patience=0.5)
        loop = asyncio.get_running_loop()
        started = {}

        async def use(user: str, seconds: float) -> None:
            async with gate.slot(user, user, never):
                started[user] = loop.time()
                await asyncio.sleep(seconds)

        tasks = [asyncio.create_task(use("ann", 2.0))]
        await asyncio.sleep(0.1)
        tasks.append(asyncio.create_task(use("bob", 1.0)))
        await asyncio.sleep(0.6)
        assert registry.get_sample_value("perce_gate_drains_total") == 1
        await asyncio.gather(*tasks)
        assert started["bob"] == pytest.approx(2.0)
        assert registry.get_sample_value("perce_gate_wait_seconds_sum") == pytest.approx(1.9)

    simulate(main())


def test_what_may_not_wait_is_refused_and_not_counted_as_waiting() -> None:
    async def main() -> None:
        gate, registry = make(max_adapters=1, waiting=0)
        async with gate.slot("ann", "a", never):
            with pytest.raises(RequestError, match="try later") as caught:
                async with gate.slot("bob", "b", never):
                    raise AssertionError
            assert caught.value.code == "full"
            assert registry.get_sample_value("perce_gate_requests_waiting") == 0

    simulate(main())


@given(
    seed=st.integers(0, 2**32),
    slots=st.integers(1, 3),
    cap=st.integers(1, 3),
    users=st.integers(1, 8),
)
def test_a_slow_model_under_chaos(seed: int, slots: int, cap: int, users: int) -> None:
    """Users call, hang up and are cancelled at random: bounds hold, and all ends empty."""

    async def main() -> None:
        chance = random.Random(seed)
        gate, registry = make(max_adapters=slots, per_user=cap, waiting_per_user=99, patience=0.5)
        adapters: Counter[str] = Counter()
        holders: Counter[str] = Counter()

        async def call(user: str) -> None:
            adapter = f"{user}@{chance.randrange(2)}"
            gone = never if chance.random() < 0.7 else (lambda: after(chance.random()))
            async with gate.slot(user, adapter, gone):
                adapters[adapter] += 1
                holders[user] += 1
                try:
                    assert len(+adapters) <= slots
                    assert holders[user] <= cap
                    assert adapter in gate.in_use()
                    await asyncio.sleep(chance.random())
                finally:
                    adapters[adapter] -= 1
                    holders[user] -= 1

        async def user(name: str) -> None:
            for _ in range(8):
                calls = [asyncio.create_task(call(name)) for _ in range(chance.randrange(4))]
                await asyncio.sleep(chance.random())
                for task in calls:
                    if chance.random() < 0.2:
                        task.cancel()
                for outcome in await asyncio.gather(*calls, return_exceptions=True):
                    assert outcome is None or isinstance(
                        outcome, GoneError | asyncio.CancelledError
                    ), outcome

        await asyncio.gather(*(user(f"user {number}") for number in range(users)))
        assert gate.in_use() == frozenset()
        for name in ("hot_adapters", "requests_in_flight", "requests_waiting"):
            assert registry.get_sample_value(f"perce_gate_{name}") == 0
        # The last event lets no timer run on.
        assert gate._timer is None

    simulate(main())
