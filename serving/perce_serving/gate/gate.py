"""The gate on an event loop: requests await their start, and always give their place back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from perce_serving.gate.metrics import Metrics
from perce_serving.gate.rules import GateConfig, Rules, Ticket


class Gate:
    """Lets requests through by the rules of ``perce_serving.gate.rules``; for one event loop.

    Args:
        config: how many may run and wait.
        metrics: where to count.
        clock: gives seconds at the pace of the event loop's own clock, never going back.
    """

    def __init__(
        self,
        config: GateConfig,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = Rules(config)
        self._metrics = metrics
        self._clock = clock
        self._starts: dict[Ticket, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._drains_shown = 0

    def in_use(self) -> frozenset[str]:
        """Adapters that a request in flight or waiting needs: none of them may be collected."""
        return self._rules.in_use()

    @asynccontextmanager
    async def slot(
        self,
        user: str,
        adapter: str | None,
        gone: Callable[[], Coroutine[Any, Any, NoReturn]],
    ) -> AsyncIterator[None]:
        """Hold a place in the engine: entering waits for it, leaving gives it back.

        The request is known to ``in_use`` before the first await. Cancelling it, at any moment,
        leaves nothing behind.

        Args:
            user: whose request it is.
            adapter: the adapter that it needs; None for the base model.
            gone: awaited while the request waits; raises when its caller has gone away, and that
                error is then raised here.

        Raises:
            RequestError: too many wait already.
        """
        ticket = self._rules.enter(user, adapter, self._clock())
        try:
            if ticket.started is None:
                start = self._starts[ticket] = asyncio.get_running_loop().create_future()
                # Time has passed since the last event: a turn may be due to end by now.
                self._go_on(self._rules.advance(self._clock()))
                await _first(start, gone())
            else:
                self._show()
            self._metrics.wait.observe(ticket.wait)
            yield
        finally:
            self._starts.pop(ticket, None)
            if ticket.started is None:
                self._metrics.abandoned.inc()
            self._go_on(self._rules.leave(ticket, self._clock()))

    def _go_on(self, started: list[Ticket]) -> None:
        """Wake the requests that start, and see to it that the next moment to act is not missed."""
        for ticket in started:
            start = self._starts[ticket]
            if not start.done():  # cancelled in this very moment: its own `finally` gives way
                start.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._clock()
        deadline = self._rules.deadline(now)
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(deadline - now, self._tick)
        self._show()

    def _tick(self) -> None:
        self._timer = None
        self._go_on(self._rules.advance(self._clock()))

    def _show(self) -> None:
        metrics, rules = self._metrics, self._rules
        metrics.hot.set(rules.hot)
        metrics.in_flight.set(rules.in_flight)
        metrics.waiting.set(rules.waiting)
        metrics.drains.inc(rules.drains - self._drains_shown)
        self._drains_shown = rules.drains


async def _first(start: asyncio.Future[None], gone: Coroutine[Any, Any, NoReturn]) -> None:
    """Wait for ``start``, or raise what ``gone`` raises, even if both happen at once."""
    watcher: asyncio.Future[Any] = asyncio.ensure_future(gone)
    try:
        await asyncio.wait([start, watcher], return_when=asyncio.FIRST_COMPLETED)
    finally:
        start.cancel()
        watcher.cancel()
        # Awaited, so that it has let go of the connection when the next reader comes.
        await asyncio.gather(watcher, return_exceptions=True)
    if not watcher.cancelled():
        watcher.result()
