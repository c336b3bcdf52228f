"""A fake OpenAI server behind the tenant layer, and a caller whom no HTTP library holds back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from perce_serving.errors import RequestError
from perce_serving.gate import Gate, GateConfig, Metrics
from perce_serving.tenant.identity import Caller, Identity
from perce_serving.tenant.keys import KeyFile
from perce_serving.tenant.limits import Limits, RateLimit
from perce_serving.tenant.middleware import TenantMiddleware
from perce_serving.tenant.models import Models
from perce_serving.tenant.prompts import ProfileRenderer

SECRET = b"s" * 32
BASE = "the-base-model"


class Shelf:
    """A store in memory: a user's versions, the last one current unless taken down."""

    def __init__(self, **versions: list[str]) -> None:
        self.versions = versions
        self.asked: list[str] = []

    def current(self, user: str) -> str | None:
        self.asked.append(user)
        versions = self.versions.get(user)
        return versions[-1] if versions else None

    def has(self, user: str, version: str) -> bool:
        self.asked.append(user)
        return version in self.versions.get(user, [])

    def served(self, user: str) -> list[str]:
        self.asked.append(user)
        current = self.current(user)
        return sorted(self.versions.get(user, []), key=lambda version: version != current)


@dataclass
class Server:
    """Answers everything, remembers what reached it, and holds streams back until told."""

    seen: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    running: int = 0
    hold: asyncio.Event | None = None
    chunks: int = 3

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            self.seen.append((scope, None))
            return
        body = b""
        more = True
        while more:
            message = await receive()
            assert message["type"] == "http.request"
            body += message["body"]
            more = message["more_body"]
        self.seen.append((scope, json.loads(body) if body else None))
        self.running += 1
        try:
            await self._respond(receive, send)
        finally:
            self.running -= 1

    async def _respond(self, receive: Any, send: Any) -> None:
        """Stream as Starlette does: until the end, or until the caller hangs up."""
        gone = asyncio.ensure_future(receive())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]})
        for number in range(self.chunks):
            if self.hold is not None:
                held = asyncio.ensure_future(self.hold.wait())
                await asyncio.wait([held, gone], return_when=asyncio.FIRST_COMPLETED)
                held.cancel()
            if gone.done():
                assert gone.result()["type"] == "http.disconnect"
                return
            content = f"data: {number}\n\n".encode()
            await send({"type": "http.response.body", "body": content, "more_body": True})
        gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass
class Answer:
    """What a caller got; ``status`` is None if it got nothing."""

    status: int | None = None
    headers: dict[bytes, bytes] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]


class Known(dict[str, Caller]):
    """An identity that believes the header: the keys are its entries."""

    async def authenticate(self, authorization: str | None) -> Caller | None:
        return self.get(authorization or "")


@dataclass
class Tenancy:
    """The whole tenant layer around a fake server, with users ann and bob, and an operator."""

    shelf: Shelf
    identity: Identity = field(
        default_factory=lambda: Known(
            ann=Caller("ann"), bob=Caller("bob"), root=Caller(operator=True)
        )
    )
    limits: Limits = field(default_factory=lambda: Limits(rate=1e6, burst=1e6))
    gate_config: GateConfig = field(default_factory=lambda: GateConfig(max_adapters=2))
    shared: str | None = None
    renderer: ProfileRenderer | None = None
    server: Server = field(default_factory=Server)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        metrics = Metrics(self.registry)
        self.gate = Gate(self.gate_config, metrics)
        self.app = TenantMiddleware(
            self.server,
            identity=self.identity,
            models=Models(self.shelf, base=BASE, shared=self.shared),
            gate=self.gate,
            limits=self.limits,
            rate_limit=RateLimit(self.limits),
            secret=SECRET,
            metrics=metrics,
            renderer=self.renderer,
        )

    def ask(self, *args: Any, **kwargs: Any) -> Answer:
        """Make one request on a loop of its own."""
        return asyncio.run(self.request(*args, **kwargs))

    async def request(
        self,
        path: str = "/v1/chat/completions",
        body: Any = None,
        *,
        chunks: Iterable[bytes] | None = None,
        key: str | None = "ann",
        method: str = "POST",
        headers: Iterable[tuple[bytes, bytes]] = ((b"content-type", b"application/json"),),
        raw_path: bytes | None = None,
        root_path: str = "",
        hang_up: asyncio.Event | None = None,
    ) -> Answer:
        """Make one request as a server would hand it over.

        Args:
            path: the decoded path.
            body: what is to be sent as JSON; by default a request for ``me``.
            chunks: what is to be sent as it is, instead.
            key: the ``Authorization`` header; None for none.
            method: in capitals, as servers give it.
            headers: all others.
            raw_path: as sent; by default ``path``.
            root_path: the server's prefix.
            hang_up: when set, the caller goes away.
        """
        if chunks is None:
            chunks = [json.dumps({"model": "me"} if body is None else body).encode()]
        headers = [*headers, *([] if key is None else [(b"authorization", key.encode())])]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "method": method,
            "path": path,
            "raw_path": path.encode() if raw_path is None else raw_path,
            "root_path": root_path,
            "query_string": b"model=user-bob",
            "headers": headers,
        }
        messages = _messages(chunks)
        answer = Answer()

        async def receive() -> dict[str, Any]:
            message = next(messages, None)
            if message is None:
                await (hang_up or asyncio.Event()).wait()
                message = {"type": "http.disconnect"}
            return message

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert answer.status is None
                answer.status = message["status"]
                answer.headers = dict(message["headers"])
            else:
                answer.parts.append(message.get("body", b""))

        await self.app(scope, receive, send)
        return answer

    def refusals(self) -> dict[str, float]:
        """Refusals counted, by code."""
        return {
            sample.labels["code"]: sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "perce_refusals_total" and sample.value
        }


def refusal(call: Callable[[], object]) -> RequestError | None:
    """What ``call`` was refused with; None if it was not."""
    try:
        call()
    except RequestError as error:
        return error
    return None


def _messages(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for chunk in chunks:
        yield {"type": "http.request", "body": chunk, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


def with_keys(folder: Path) -> KeyFile:
    """A keys file in ``folder``, with no keys yet."""
    return KeyFile(folder / "keys.json", clock=lambda: 1_700_000_000.5)
