"""How long an answer may take, on a simulated clock: its beginning, its end, and who reads it."""

from __future__ import annotations

import asyncio

import pytest

from asgi import Shelf, Tenancy
from perce_serving.gate import GateConfig
from perce_serving.tenant.limits import Limits
from simulation import simulate

ONE, TWO = ("1" * 64, "2" * 64)


def test_an_answer_that_does_not_begin_in_time_is_refused() -> None:
    async def main() -> None:
        tenancy = Tenancy(Shelf(ann=[ONE]), limits=Limits(answer_seconds=60.0))

        async def asleep(scope, receive, send) -> None:
            await asyncio.Event().wait()

        tenancy.app._app = asleep
        answer = await tenancy.request()
        assert asyncio.get_running_loop().time() == pytest.approx(60.0)
        assert (answer.status, answer.error["code"]) == (504, "long")
        assert tenancy.refusals() == {"long": 1.0}
        assert tenancy.gate.in_use() == frozenset()

    simulate(main())


def test_an_answer_that_does_not_end_in_time_is_cut_off_without_an_end() -> None:
    async def main() -> None:
        tenancy = Tenancy(Shelf(ann=[ONE]), limits=Limits(answer_seconds=60.0, send_seconds=7.0))

        async def endless(scope, receive, send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await asyncio.sleep(8.0)  # longer than a piece may take to be sent
                await send({"type": "http.response.body", "body": b".", "more_body": True})

        tenancy.app._app = endless
        answer = await tenancy.request()
        assert asyncio.get_running_loop().time() == pytest.approx(60.0)
        assert (answer.status, answer.body) == (200, b"." * 7)
        assert tenancy.gate.in_use() == frozenset()

    simulate(main())


def test_a_caller_who_does_not_read_loses_the_place() -> None:
    async def main() -> None:
        tenancy = Tenancy(
            Shelf(ann=[ONE], bob=[TWO]),
            gate_config=GateConfig(max_adapters=1),
            limits=Limits(answer_seconds=60.0, send_seconds=7.0),
        )
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": [(b"content-type", b"application/json"), (b"authorization", b"ann")],
        }
        body = [{"type": "http.request", "body": b'{"model":"me"}', "more_body": False}]

        async def receive() -> dict:
            return body.pop() if body else await asyncio.get_running_loop().create_future()

        async def stuck(message: dict) -> None:
            await asyncio.Event().wait()

        await tenancy.app(scope, receive, stuck)
        assert asyncio.get_running_loop().time() == pytest.approx(7.0)
        assert tenancy.gate.in_use() == frozenset()
        assert (await tenancy.request(key="bob")).status == 200

    simulate(main())


def test_what_is_said_on_the_way_out_is_no_end_of_an_answer() -> None:
    async def main() -> None:
        tenancy = Tenancy(Shelf(ann=[ONE]), limits=Limits(answer_seconds=60.0))

        async def tidy(scope, receive, send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            try:
                await asyncio.Event().wait()
            finally:
                await send({"type": "http.response.body", "body": b"end", "more_body": False})

        tenancy.app._app = tidy
        answer = await tenancy.request()
        assert (answer.status, answer.parts) == (200, [])

    simulate(main())


def test_a_timeout_of_the_servers_own_is_not_taken_for_one_here() -> None:
    async def late(scope, receive, send) -> None:
        raise TimeoutError

    tenancy = Tenancy(Shelf(ann=[ONE]), server=late)
    with pytest.raises(TimeoutError):
        tenancy.ask()
