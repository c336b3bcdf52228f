"""A request's body: read within bounds, and only one strict JSON object accepted.

Two JSON parsers may read one text differently (a key twice, NaN, a byte-order mark), and then what
was checked is not what is served. So such texts are refused, and what goes on to the server is
written anew from what was read here.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NoReturn

from perce_serving.errors import RequestError
from perce_serving.refusal import refuse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Headers = Iterable[tuple[bytes, bytes]]

MAX_DEPTH = 64
"""Most levels of objects and lists in each other; a JSON schema of a tool needs a dozen."""

MAX_CONTAINERS = 10_000
"""Most objects and lists of one body: each costs about a microsecond of the event loop, and with it
of every stream of the server. A thousand messages with their parts are 3,000."""


class DisconnectedError(Exception):
    """The caller went away: there is nobody to answer."""


def single(headers: Headers, name: bytes) -> str | None:
    """Return the value of a header that may be given once, or None.

    Raises:
        RequestError: it is given several times: servers differ in which of them they believe.
    """
    values = [value for key, value in headers if key.lower() == name]
    if len(values) > 1:
        raise refuse("header", f"the header {name.decode()} is given {len(values)} times; give one")
    return values[0].decode("latin-1") if values else None


async def read(receive: Receive, headers: Headers, *, limit: int, seconds: float) -> bytes:
    """Read a JSON body from an ASGI connection.

    Holds at most ``limit`` bytes and the server's last chunk, however small the chunks are and
    whatever length was announced.

    Args:
        receive: the connection's messages.
        headers: the request's.
        limit: most bytes.
        seconds: within which the whole body has to arrive.

    Raises:
        RequestError: the body is announced as something other than plain JSON, is longer than
            ``limit`` or than announced, or does not arrive in time.
        DisconnectedError: the caller went away before its end.
    """
    headers = list(headers)
    media = (single(headers, b"content-type") or "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise refuse("media", f"content-type {media[:80]!r}: only application/json is read")
    coding = single(headers, b"content-encoding")
    if coding is not None:
        raise refuse("media", f"content-encoding {coding[:80]!r}: send the body as it is")
    announced = single(headers, b"content-length")
    if announced is not None:
        if not (announced.isascii() and announced.isdigit()):
            raise refuse("header", f"content-length {announced[:80]!r} is not a number")
        # Compared by digits first: int() is slow, then refuses, for numbers of thousands of them.
        if len(announced) > 20 or int(announced) > limit:
            raise refuse("size", f"the body is over {limit} bytes; send less")
    try:
        async with asyncio.timeout(seconds):
            body = await _collect(receive, limit)
    except TimeoutError:
        raise refuse("slow", f"the body did not arrive within {seconds:g} s; try again") from None
    if announced is not None and int(announced) != len(body):
        raise refuse("header", f"content-length is {announced}, the body has {len(body)} bytes")
    return body


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object that ``body`` is.

    Raises:
        RequestError: it is not UTF-8, not JSON, not an object, has a key twice, a number that is
            not finite, more than ``MAX_DEPTH`` levels or than ``MAX_CONTAINERS``.
    """
    # Counted as they are read, not as characters: a text may hold any number of braces.
    left = iter(range(MAX_CONTAINERS))

    def make(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if next(left, None) is None:
            raise _too_many()
        return _object(pairs)

    try:
        content = json.loads(body.decode(), object_pairs_hook=make, parse_constant=_refuse_constant)
    except RequestError:
        raise  # one of the hooks'
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError as error:
        raise refuse("body", f"byte {error.start} of the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise refuse("body", f"the body is not JSON: {error}") from None
    except ValueError:
        # Python's own bound on digits: converting a long number takes quadratic time.
        raise refuse("body", "the body has a number of thousands of digits") from None
    if not isinstance(content, dict):
        raise refuse("body", "the body is not a JSON object")
    # Nothing is deeper than it has brackets: the walk is only for bodies that have many.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check_shape(content)
    return content


def write(content: dict[str, Any]) -> bytes:
    """Return ``content`` as JSON.

    Raises:
        RequestError: a number is too large for a float, or a text holds half a surrogate pair.
    """
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise refuse("body", "a text holds half a surrogate pair, which no encoding has") from None
    except ValueError:
        raise refuse("body", "a number is too large for a 64-bit float") from None


async def _collect(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        chunk: bytes = message.get("body", b"")
        if len(body) + len(chunk) > limit:
            raise refuse("size", f"the body is over {limit} bytes; send less")
        body += chunk
        if not message.get("more_body", False):
            return bytes(body)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0][:80]
        raise refuse("body", f"the key {twice!r} appears twice in one object", param=twice)
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise refuse("body", f"{name} is not JSON")


def _check_shape(content: dict[str, Any]) -> None:
    level: list[Any] = [content]
    containers = 0
    for _ in range(MAX_DEPTH):
        containers += len(level)
        if containers > MAX_CONTAINERS:
            raise _too_many()
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if type(item) is dict or type(item) is list  # a fifth of isinstance's time
        ]
        if not level:
            return
    raise _too_deep()


def _too_many() -> RequestError:
    return refuse("body", f"the body has over {MAX_CONTAINERS} objects and lists; send fewer")


def _too_deep() -> RequestError:
    return refuse("body", f"the body has over {MAX_DEPTH} levels of objects and lists")
