"""Rates, by a clock of the test's own."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi import Shelf, Tenancy, refusal
from perce_serving.errors import RequestError
from perce_serving.tenant.limits import Limits, RateLimit


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@given(
    start=st.sampled_from([0.0, 1e6, 1e9]),
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 20),
    pauses=st.lists(st.sampled_from([0.0, 0.001, 0.1, 1.0, 30.0]), max_size=60),
)
def test_no_span_of_time_lets_more_through_than_burst_and_rate(start, rate, burst, pauses) -> None:
    clock = Clock(start)
    limit = RateLimit(Limits(rate=rate, burst=burst), clock=clock)
    passed: list[float] = []
    for pause in pauses:
        clock.now += pause
        refused = refusal(lambda: limit.take("ann"))
        if refused is not None:
            assert (refused.status, refused.code) == (429, "rate")
            assert refused.retry_after
            clock.now += refused.retry_after
            limit.take("ann")
        passed.append(clock.now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            most = burst + rate * (passed[last] - passed[first])
            assert last - first + 1 <= most + 1e-3


def test_a_burst_then_the_rate_and_nobody_elses() -> None:
    clock = Clock()
    limit = RateLimit(Limits(rate=2.0, burst=3), clock=clock)
    for _ in range(3):
        limit.take("ann")
    with pytest.raises(RequestError, match=r"passes in 0\.50 s"):
        limit.take("ann")
    limit.take("bob")
    clock.now = 0.5
    limit.take("ann")
    with pytest.raises(RequestError):
        limit.take("ann")


def test_being_refused_costs_nothing() -> None:
    clock = Clock()
    limit = RateLimit(Limits(rate=1.0, burst=1), clock=clock)
    limit.take("ann")
    for _ in range(100):
        with pytest.raises(RequestError):
            limit.take("ann")
    clock.now = 1.0
    limit.take("ann")


def test_users_of_long_ago_are_forgotten() -> None:
    clock = Clock()
    limit = RateLimit(Limits(rate=100.0, burst=1), clock=clock)
    for number in range(20_000):
        clock.now += 0.01
        limit.take(f"user {number}")
    assert len(limit._full_at) <= 1024


def test_a_refusal_tells_the_client_when_to_come_back() -> None:
    tenancy = Tenancy(Shelf(), limits=Limits(rate=0.001, burst=1))
    assert tenancy.ask().status == 200
    answer = tenancy.ask()
    assert answer.status == 429
    assert 990 <= int(answer.headers[b"retry-after"]) <= 1000
    assert answer.error["type"] == "rate_limit_error"
    assert tenancy.ask(key="bob").status == 200
    assert len(tenancy.server.seen) == 2


@pytest.mark.parametrize("name", sorted({field.name for field in fields(Limits)} - {"schemas"}))
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_a_wrong_limit_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


def test_a_burst_of_less_than_one_request_is_refused() -> None:
    with pytest.raises(ValueError, match="no request would ever pass"):
        Limits(burst=0.5)
