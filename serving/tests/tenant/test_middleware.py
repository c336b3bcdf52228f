"""The middleware as a server drives it: streams, hang-ups, sockets, many callers at once."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from prometheus_client import CollectorRegistry

from asgi import SECRET, Server, Shelf, Tenancy
from perce_serving.errors import ServingError
from perce_serving.gate import Gate, GateConfig, Metrics
from perce_serving.refusal import CODES
from perce_serving.tenant.identity import Caller
from perce_serving.tenant.limits import Limits
from perce_serving.tenant.middleware import TenantMiddleware
from perce_serving.users import adapter_name

ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_a_stream_arrives_piece_by_piece_and_untouched() -> None:
    async def main() -> None:
        tenancy = Tenancy(Shelf(ann=[ONE]), server=Server(hold=asyncio.Event()))
        scope_sent: list[dict] = []

        async def send(message: dict) -> None:
            scope_sent.append(message)

        messages = [{"type": "http.request", "body": b'{"model":"me"}', "more_body": False}]

        async def receive() -> dict:
            if messages:
                return messages.pop()
            return await asyncio.get_running_loop().create_future()

        headers = [(b"content-type", b"application/json"), (b"authorization", b"ann")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": headers,
        }
        task = asyncio.create_task(tenancy.app(scope, receive, send))
        await until(lambda: scope_sent)
        # The start is through while the model still works: nothing is gathered on the way.
        assert scope_sent == [
            {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}
        ]
        tenancy.server.hold.set()
        await task
        assert [message.get("body") for message in scope_sent[1:]] == [
            b"data: 0\n\n",
            b"data: 1\n\n",
            b"data: 2\n\n",
            b"",
        ]

    asyncio.run(main())


def test_a_hang_up_in_the_middle_of_a_stream_frees_the_slot() -> None:
    async def main() -> None:
        tenancy = Tenancy(
            Shelf(ann=[ONE], bob=[TWO]),
            gate_config=GateConfig(max_adapters=1),
            server=Server(hold=asyncio.Event()),
        )
        hang_up = asyncio.Event()
        first = asyncio.create_task(tenancy.request(hang_up=hang_up))
        await until(lambda: tenancy.server.running)
        second = asyncio.create_task(tenancy.request(key="bob"))
        await until(lambda: len(tenancy.gate.in_use()) == 2)
        assert len(tenancy.server.seen) == 1
        hang_up.set()
        await first
        await until(lambda: len(tenancy.server.seen) == 2)
        assert tenancy.gate.in_use() == {adapter_name("bob", TWO)}
        tenancy.server.hold.set()
        assert (await second).status == 200
        assert tenancy.gate.in_use() == frozenset()

    asyncio.run(main())


def test_a_hang_up_while_waiting_never_reaches_the_server() -> None:
    async def main() -> None:
        tenancy = Tenancy(
            Shelf(ann=[ONE], bob=[TWO]),
            gate_config=GateConfig(max_adapters=1),
            server=Server(hold=asyncio.Event()),
        )
        first = asyncio.create_task(tenancy.request())
        await until(lambda: tenancy.server.running)
        hang_up = asyncio.Event()
        second = asyncio.create_task(tenancy.request(key="bob", hang_up=hang_up))
        await until(lambda: len(tenancy.gate.in_use()) == 2)
        hang_up.set()
        assert (await second).status is None
        assert tenancy.gate.in_use() == {adapter_name("ann", ONE)}
        tenancy.server.hold.set()
        await first
        assert len(tenancy.server.seen) == 1

    asyncio.run(main())


def test_a_hang_up_in_the_middle_of_the_body_is_answered_by_nothing() -> None:
    async def main() -> None:
        tenancy = Tenancy(Shelf())

        async def receive() -> dict:
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            raise AssertionError(message)

        headers = [(b"content-type", b"application/json"), (b"authorization", b"ann")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/completions",
            "headers": headers,
        }
        await tenancy.app(scope, receive, send)
        assert tenancy.server.seen == []
        assert tenancy.refusals() == {}

    asyncio.run(main())


def test_a_user_sends_no_more_bodies_at_once_than_may_be() -> None:
    async def main() -> None:
        tenancy = Tenancy(Shelf(), limits=Limits(bodies=2))

        async def receive() -> dict:
            return await asyncio.get_running_loop().create_future()

        async def send(message: dict) -> None:
            pass

        headers = [(b"content-type", b"application/json"), (b"authorization", b"ann")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/completions",
            "headers": headers,
        }
        slow = [asyncio.create_task(tenancy.app(scope, receive, send)) for _ in range(2)]
        await asyncio.sleep(0)
        answer = await tenancy.request()
        assert (answer.status, answer.error["code"]) == (429, "waiting")
        assert answer.headers[b"retry-after"] == b"1"
        assert (await tenancy.request(key="bob")).status == 200
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert (await tenancy.request()).status == 200
        assert not tenancy.app._bodies

    asyncio.run(main())


def test_a_body_that_never_ends_is_given_up() -> None:
    async def main() -> None:
        tenancy = Tenancy(Shelf(), limits=Limits(body_seconds=0.01))
        answers = []

        async def receive() -> dict:
            return await asyncio.get_running_loop().create_future()

        async def send(message: dict) -> None:
            answers.append(message)

        headers = [(b"content-type", b"application/json"), (b"authorization", b"ann")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/completions",
            "headers": headers,
        }
        await tenancy.app(scope, receive, send)
        assert answers[0]["status"] == 408
        assert tenancy.gate.in_use() == frozenset()

    asyncio.run(main())


def test_a_server_that_fails_or_is_cancelled_frees_the_slot() -> None:
    async def main() -> None:
        async def broken(scope, receive, send) -> None:
            raise ZeroDivisionError

        tenancy = Tenancy(Shelf(ann=[ONE]), server=broken)
        with pytest.raises(ZeroDivisionError):
            await tenancy.request()
        assert tenancy.gate.in_use() == frozenset()

        tenancy = Tenancy(Shelf(ann=[ONE]), server=Server(hold=asyncio.Event()))
        task = asyncio.create_task(tenancy.request())
        await until(lambda: tenancy.server.running)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tenancy.gate.in_use() == frozenset()

    asyncio.run(main())


def test_what_may_not_wait_is_told_when_to_come_back() -> None:
    async def main() -> None:
        tenancy = Tenancy(
            Shelf(ann=[ONE], bob=[TWO]),
            gate_config=GateConfig(max_adapters=1, waiting_per_user=0),
            server=Server(hold=asyncio.Event()),
        )
        first = asyncio.create_task(tenancy.request())
        await until(lambda: tenancy.server.running)
        answer = await tenancy.request(key="bob")
        assert (answer.status, answer.error["code"]) == (429, "waiting")
        assert answer.headers[b"retry-after"] == b"1"
        tenancy.server.hold.set()
        await first

    asyncio.run(main())


def test_many_users_at_once_each_get_their_own_and_no_more_adapters_than_turns() -> None:
    async def main() -> None:
        names = [f"user {number}" for number in range(12)]
        tenancy = Tenancy(
            Shelf(**{name: [f"{number:064x}"] for number, name in enumerate(names)}),
            gate_config=GateConfig(max_adapters=3, per_user=2, patience=0.0),
        )
        tenancy.identity.update({name: Caller(name) for name in names})
        at_once: set[str] = set()
        inner = tenancy.server

        async def watched(scope, receive, send) -> None:
            at_once.update(tenancy.gate.in_use())
            assert tenancy.gate._rules.hot <= 3
            await asyncio.sleep(0)
            await inner(scope, receive, send)

        tenancy.app._app = watched
        answers = await asyncio.gather(
            *(tenancy.request(key=name) for name in names for _ in range(4))
        )
        assert {answer.status for answer in answers} == {200}
        assert len(inner.seen) == 48
        arrived = {body["model"] for _, body in inner.seen}
        assert arrived == {adapter_name(name, f"{n:064x}") for n, name in enumerate(names)}
        assert len({body["cache_salt"] for _, body in inner.seen}) == 12
        assert tenancy.gate.in_use() == frozenset()

    asyncio.run(main())


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/chat/completions"])
def test_a_websocket_is_closed_before_it_opens(path: str) -> None:
    async def main() -> None:
        tenancy = Tenancy(Shelf())
        sent: list[dict] = []

        async def receive() -> dict:
            return {"type": "websocket.connect"}

        async def send(message: dict) -> None:
            sent.append(message)

        scope = {"type": "websocket", "path": path, "headers": [(b"authorization", b"ann")]}
        await tenancy.app(scope, receive, send)
        assert [message["type"] for message in sent] == ["websocket.close"]
        assert sent[0]["code"] == 1008
        assert tenancy.server.seen == []

    asyncio.run(main())


def test_the_servers_own_start_and_stop_pass_and_what_asgi_does_not_know_does_not() -> None:
    async def main() -> None:
        tenancy = Tenancy(Shelf())
        await tenancy.app({"type": "lifespan"}, None, None)
        assert tenancy.server.seen == [({"type": "lifespan"}, None)]
        with pytest.raises(ServingError, match="unknown type 'carrier pigeon'"):
            await tenancy.app({"type": "carrier pigeon"}, None, None)

    asyncio.run(main())


def test_through_a_stock_http_client() -> None:
    async def main() -> None:
        tenancy = Tenancy(Shelf(ann=[ONE]))
        transport = httpx.ASGITransport(app=tenancy.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            ann = {"authorization": "ann"}
            answer = await client.post("/v1/completions", json={"model": "me"}, headers=ann)
            assert answer.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
            listed = await client.get("/v1/models", headers=ann)
            assert listed.headers["content-type"] == "application/json"
            assert int(listed.headers["content-length"]) == len(listed.content)
            assert [model["id"] for model in listed.json()["data"]] == [
                "me",
                adapter_name("ann", ONE),
            ]
            for url in (
                "/v1/%63ompletions",
                "/v1/completions/../load_lora_adapter",
                "//v1/completions",
                "/v1/load_lora_adapter",
                "/v1/completions;a=b",
            ):
                refused = await client.post(url, json={"model": "me"}, headers=ann)
                assert refused.status_code == 404, url
            form = await client.post("/v1/completions", files={"model": b"user-bob"}, headers=ann)
            assert form.status_code == 415
            chunked = await client.post(
                "/v1/completions",
                content=_pieces(),
                headers={**ann, "content-type": "application/json"},
            )
            assert chunked.status_code == 200

    async def _pieces():
        yield b'{"mod'
        yield b'el": "me"}'

    asyncio.run(main())


def test_refusals_have_the_shape_of_openais_and_are_counted() -> None:
    tenancy = Tenancy(Shelf())
    answers = [
        tenancy.ask(key=None),
        tenancy.ask("/nowhere"),
        tenancy.ask(method="PUT"),
        tenancy.ask(headers=[]),
        tenancy.ask(chunks=[b"{"]),
        tenancy.ask(body={"model": "me", "a": 1}),
        tenancy.ask(body={"model": "other"}),
    ]
    for answer in answers:
        assert answer.error.keys() == {"message", "type", "param", "code"}
        assert answer.status == CODES[answer.error["code"]]
        assert answer.headers[b"content-type"] == b"application/json"
        assert int(answer.headers[b"content-length"]) == len(answer.body)
        assert "\n" not in answer.error["message"]
    assert tenancy.refusals() == dict.fromkeys(
        ("key", "route", "method", "media", "body", "field", "model"), 1.0
    )
    assert json.loads(answers[0].body)["error"]["type"] == "authentication_error"


def test_vllm_makes_middleware_from_a_class_with_the_application_alone() -> None:
    tenancy = Tenancy(Shelf())

    class Configured(TenantMiddleware):
        def __init__(self, app) -> None:
            metrics = Metrics(CollectorRegistry())
            super().__init__(
                app,
                identity=tenancy.identity,
                models=tenancy.app._models,
                gate=Gate(GateConfig(max_adapters=1), metrics),
                limits=Limits(),
                rate_limit=tenancy.app._rate_limit,
                secret=SECRET,
                metrics=metrics,
            )

    tenancy.app = Configured(tenancy.server)
    assert tenancy.ask().status == 200
