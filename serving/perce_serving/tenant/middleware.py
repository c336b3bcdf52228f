"""The tenant layer as ASGI middleware, around vLLM's OpenAI server or any other application.

A request passes, in this order: its key, its user's rate, the route, the body, the fields, the
model, the profile if it asks for one, the gate. Whatever is refused on the way never reaches the
application; what does reach it is rebuilt from what was checked: path, headers and body alike.
Responses are not touched, but for one that takes too long.

vLLM's ``--middleware`` makes the class it is given with the application alone, and puts the last
one named outermost. So a server subclasses ``TenantMiddleware`` with its parts, and names it last.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any, NoReturn

from perce_serving.errors import RequestError, ServingError
from perce_serving.gate import Gate, Metrics
from perce_serving.refusal import refuse, response
from perce_serving.tenant import body as bodies
from perce_serving.tenant import prompts
from perce_serving.tenant.body import DisconnectedError, Message, Receive
from perce_serving.tenant.bounds import bounded
from perce_serving.tenant.fields import forwarded
from perce_serving.tenant.identity import Caller, Identity
from perce_serving.tenant.limits import Limits, RateLimit
from perce_serving.tenant.models import Model, Models, cache_salt, check_secret
from perce_serving.tenant.prompts import FIELD, Asked, ProfileRenderer, Turn, conversation
from perce_serving.tenant.routes import Route, canonical, match
from perce_serving.users import parse_adapter_name

Scope = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)

# The rest is dropped: vLLM 0.32 takes a request's id, session, priority and replica from headers,
# and none of these are a tenant's to choose; and so no key gets into the server's logs.
_HEADERS = frozenset({b"accept", b"accept-encoding", b"host", b"user-agent"})


class TenantMiddleware:
    """Lets users at the application behind it, each at their own models only.

    Args:
        app: the application.
        identity: tells who is calling.
        models: tells which model they get.
        gate: tells when.
        limits: how much they may ask for.
        rate_limit: how often, by the same limits.
        secret: of the server alone, 32 random bytes or more, for the salts of the prefix cache.
            Processes that share a cache share it; otherwise a new one at each start is best.
        metrics: where refusals are counted.
        renderer: puts profiles into prompts; without one they are not offered.

    Raises:
        ValueError: ``secret`` is too short.
    """

    def __init__(
        self,
        app: Application,
        *,
        identity: Identity,
        models: Models,
        gate: Gate,
        limits: Limits,
        rate_limit: RateLimit,
        secret: bytes,
        metrics: Metrics,
        renderer: ProfileRenderer | None = None,
    ) -> None:
        self._app = app
        self._identity = identity
        self._models = models
        self._gate = gate
        self._limits = limits
        self._rate_limit = rate_limit
        self._secret = check_secret(secret)
        self._metrics = metrics
        self._renderer = renderer
        self._bodies: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection.

        Raises:
            ServingError: the server offers a kind of connection that ASGI does not define.
        """
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            # vLLM's realtime audio; nothing of it is checked here, so nobody gets in.
            self._metrics.refused("route")
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not offered"})
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            raise ServingError(f"an ASGI connection of the unknown type {scope['type']!r}")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as held:
            try:
                passed = await self._check(scope, receive, held)
            except DisconnectedError:
                return
            except RequestError as error:
                await self._refuse(error, send)
                return
            if isinstance(passed, bytes):
                headers = [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(passed)).encode()),
                ]
                await _send_whole(send, 200, headers, passed)
            else:
                inner, content = passed
                await self._answer(inner, _replaying(content, receive), send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the application answer, for no longer than an answer may take.

        One that has begun is cut off without its end, by which clients tell that it is not whole.
        """
        limits = self._limits
        end = asyncio.get_running_loop().time() + limits.answer_seconds
        begun = False

        async def bounded_send(message: Message) -> None:
            nonlocal begun
            if deadline.expired():
                return  # an end that the application gives on its way out would look like one
            begun = True
            deadline.reschedule(min(end, asyncio.get_running_loop().time() + limits.send_seconds))
            await send(message)
            if not deadline.expired():
                deadline.reschedule(end)

        try:
            async with asyncio.timeout_at(end) as deadline:
                await self._app(scope, receive, bounded_send)
        except TimeoutError:
            if not deadline.expired():
                raise  # the application's own
            _log.warning("an answer was cut off: it took too long, or its caller did not read it")
            if not begun:
                await self._refuse(
                    refuse("long", f"no answer within {limits.answer_seconds:g} s; ask for less"),
                    send,
                )

    async def _refuse(self, error: RequestError, send: Send) -> None:
        self._metrics.refused(error.code)
        headers, content = response(error)
        await _send_whole(send, error.status, headers, content)

    async def _check(
        self, scope: Scope, receive: Receive, held: AsyncExitStack
    ) -> bytes | tuple[Scope, bytes]:
        """Return the answer itself, or scope and body for the application.

        What the application needs for its answer is entered into ``held``.
        """
        caller = await self._caller(scope)
        if caller.user is not None:
            self._rate_limit.take(caller.user)
        route = match(scope, caller)
        headers = [(name, value) for name, value in scope["headers"] if name.lower() in _HEADERS]
        if caller.user is None:
            return canonical(scope, route, headers), b""
        if route is Route.MODELS:
            with _reading("store"):
                return json.dumps(self._models.listed(caller.user)).encode()

        content = await self._content(scope, receive, route, caller.user)
        asked, profile = content.pop("model"), content.pop(FIELD)
        # From here to the gate there is no await: what the store says still holds there.
        model = self._resolve(caller.user, asked)
        if profile is not None:
            turns, rendered_for = conversation(content), None
            # But for rendering: if the store says something else afterwards, it is done again.
            while model != rendered_for:
                rendered_for = model
                content["messages"] = await self._render(
                    caller.user, model, turns, profile, content
                )
                model = self._resolve(caller.user, asked)
        body = bodies.write({"model": model.name, **content})
        adapter = model.name if model.is_adapter else None
        await held.enter_async_context(
            self._gate.slot(caller.user, adapter, lambda: _disconnect(receive))
        )
        headers += [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        return canonical(scope, route, headers), body

    def _resolve(self, user: str, asked: Any) -> Model:
        with _reading("store"):
            return self._models.resolve(user, asked)

    async def _render(
        self,
        user: str,
        model: Model,
        turns: list[Turn],
        asked: Asked,
        content: Mapping[str, Any],
    ) -> list[dict[str, str]]:
        """Make the messages with the user's profile, as many of a user's at once as bodies."""
        if self._renderer is None:
            raise refuse("profile", "profiles are not offered here; leave it out", param=FIELD)
        with self._reading_one_of(user), _reading("store"):
            return await self._renderer.render(
                user,
                parse_adapter_name(model.name) if model.is_adapter else None,
                turns,
                asked,
                answer_tokens=content.get("max_completion_tokens") or content["max_tokens"],
            )

    async def _caller(self, scope: Scope) -> Caller:
        authorization = bodies.single(scope["headers"], b"authorization")
        with _reading("identity"):
            caller = await self._identity.authenticate(authorization)
        if caller is None:
            raise refuse("key", "no valid key: send Authorization: Bearer KEY")
        return caller

    async def _content(
        self, scope: Scope, receive: Receive, route: Route, user: str
    ) -> dict[str, Any]:
        """Read the body: the fields that go on, the caller's salt, model and profile as asked."""
        limits = self._limits
        with self._reading_one_of(user):
            body = await bodies.read(
                receive, scope["headers"], limit=limits.body_bytes, seconds=limits.body_seconds
            )
        asked = bodies.parse(body)
        profile = prompts.asked(asked.pop(FIELD, None)) if route is Route.CHAT else None
        content = bounded(route, forwarded(route, asked), limits)
        content["cache_salt"] = cache_salt(self._secret, user)
        content["model"] = asked.get("model")
        content[FIELD] = profile
        return content

    @contextmanager
    def _reading_one_of(self, user: str) -> Iterator[None]:
        """Count a body of a user that is being read, and refuse it if there are too many."""
        if self._bodies[user] >= self._limits.bodies:
            raise refuse(
                "waiting",
                f"{self._bodies[user]} of your requests are being sent; let one arrive",
                retry_after=1.0,
            )
        self._bodies[user] += 1
        try:
            yield
        finally:
            self._bodies[user] -= 1
            if not self._bodies[user]:
                del self._bodies[user]


@contextmanager
def _reading(code: str) -> Iterator[None]:
    """Refuse the request with ``code`` where what the server knows of its users cannot be read.

    Whatever was raised, by a platform's own identity or a file system: nobody gets in by it. What
    it was is the operator's business: it is logged, not answered.
    """
    try:
        yield
    except RequestError:
        raise
    except Exception as error:
        # This project's own errors say all in their one line.
        _log.error("refused with %r: %s", code, error, exc_info=not isinstance(error, ServingError))
        raise refuse(code, f"the server's {code} cannot be read now; try later") from error


def _replaying(content: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives ``content`` whole, and then what the connection gives."""
    messages: list[Message] = [{"type": "http.request", "body": content, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


async def _disconnect(receive: Receive) -> NoReturn:
    """Wait until the caller goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass
    raise DisconnectedError


async def _send_whole(
    send: Send, status: int, headers: list[tuple[bytes, bytes]], content: bytes
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
