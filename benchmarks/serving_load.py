"""What drives a server: streamed requests, busy callers, users who come now and then."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Request:
    """One completion: what is asked of whom."""

    model: str
    key: str
    """Sent as a bearer key; a server without keys ignores it."""
    prompt: list[int]
    tokens: int
    """Exactly as many are answered."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a request. Times are seconds of the event loop's clock."""

    begin: float
    first: float
    """When the first token came; infinite if none did."""
    end: float
    tokens: int
    error: str | None = None

    @property
    def wait(self) -> float:
        """Seconds to the first token."""
        return self.first - self.begin


class BrokenError(RuntimeError):
    """A server refused a request, or broke off."""


Stream = Callable[[Request], AsyncIterator[dict[str, Any]]]
"""Asks a server for a streamed completion and gives its events; may raise ``BrokenError``."""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all are no larger than (nearest rank).

    Unlike an interpolated one, it is a time that was waited, also where some waits never ended.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def prompts(words: int, length: int, *, seed: int = 0) -> Iterator[list[int]]:
    """Endless random prompts of token ids, no two alike, so that no prefix cache helps."""
    draw = np.random.default_rng(seed)
    while True:
        yield draw.integers(3, words, length).tolist()  # the first three are special


def in_turn(names: Sequence[str], count: int | None = None) -> Iterator[str]:
    """So many names, or without end, each as often as any other but for one."""
    return itertools.islice(itertools.cycle(names), count)


def whole(answer: Answer) -> Answer:
    """Return an answer that is all that was asked for.

    Raises:
        BrokenError: it is not, so that nothing is to be measured.
    """
    if answer.error is not None:
        raise BrokenError(answer.error)
    return answer


async def ask(stream: Stream, request: Request, *, longest: float = math.inf) -> Answer:
    """Stream one completion to its end.

    Args:
        stream: the server.
        request: what to ask.
        longest: seconds to wait for the first token; the request is then given up.
    """
    clock = asyncio.get_running_loop().time
    begin = clock()
    first = math.inf
    tokens = 0
    error = None
    try:
        async with asyncio.timeout(None if longest == math.inf else longest) as deadline:
            async for event in stream(request):
                if event.get("choices") and first == math.inf:
                    first = clock()
                    deadline.reschedule(None)
                if event.get("usage"):
                    tokens = event["usage"]["completion_tokens"]
    except TimeoutError:
        error = f"no token within {longest:g} s"
    except BrokenError as fault:
        error = str(fault)
    if error is None and tokens != request.tokens:
        error = f"{tokens} tokens, not {request.tokens}"
    return Answer(begin=begin, first=first, end=clock(), tokens=tokens, error=error)


async def keep_busy(
    stream: Stream, requests: Iterator[Request], *, callers: int, seconds: float = math.inf
) -> list[Answer]:
    """Have so many callers ask one request after the other until there is none, or time is up.

    Args:
        stream: the server.
        requests: shared among the callers, in this order.
        callers: requests in flight together.
        seconds: after which no caller begins another.
    """
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    answers: list[Answer] = []

    async def caller() -> None:
        for request in requests:
            answers.append(await ask(stream, request))
            if clock() >= until:
                return

    await asyncio.gather(*(caller() for _ in range(callers)))
    return answers


async def cold_waits(
    stream: Stream,
    hot: Sequence[Iterator[Request]],
    cold: Sequence[Request],
    *,
    callers: int,
    every: float,
    longest: float,
) -> list[Answer]:
    """Ask once for each cold user while hot users keep the server busy to the end.

    Args:
        stream: the server.
        hot: endless requests of each hot user.
        cold: one request of each cold user.
        callers: of each hot user, each asking again as soon as it is answered.
        every: seconds between two cold users.
        longest: seconds after which a cold user gives up.

    Raises:
        ExceptionGroup: of a ``BrokenError``: a hot user's request failed.
    """

    async def busy(requests: Iterator[Request]) -> None:
        for request in requests:
            whole(await ask(stream, request))

    async def come(number: int, request: Request) -> Answer:
        # The first after a while, too: until all hot users have their answers under way.
        await asyncio.sleep((number + 1) * every)
        return await ask(stream, request, longest=longest)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(busy(requests)) for requests in hot for _ in range(callers)]
        answers = await asyncio.gather(*(come(*entry) for entry in enumerate(cold)))
        for task in tasks:
            task.cancel()
    return answers
