"""Which requests go through: an allow-list of exact paths, one for users, one for operators.

vLLM 0.32 answers some seventy routes: loading an adapter from any path, ``/invocations`` and
``/tokenize`` without a key, ``/v1/responses/{id}`` with another user's conversation, more with each
release and plugin. Hence nothing is forbidden here: what is not in the list does not exist.

A path matches byte for byte, undecoded, so no two readings of it can differ; and what is forwarded
is the list's own entry, not the caller's text (``canonical``).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from perce_serving.refusal import refuse
from perce_serving.tenant.identity import Caller


class Route(Enum):
    """A method and a path that the server answers."""

    CHAT = ("POST", "/v1/chat/completions")
    COMPLETIONS = ("POST", "/v1/completions")
    MODELS = ("GET", "/v1/models")
    HEALTH = ("GET", "/health")
    LOAD = ("GET", "/load")
    METRICS = ("GET", "/metrics")
    VERSION = ("GET", "/version")

    @property
    def method(self) -> str:
        """The one method."""
        return self.value[0]

    @property
    def path(self) -> str:
        """The one path."""
        return self.value[1]


USER_ROUTES = frozenset({Route.CHAT, Route.COMPLETIONS, Route.MODELS})
"""For a user's key. ``MODELS`` is answered here: vLLM's own list is everybody's."""

OPERATOR_ROUTES = frozenset({Route.MODELS, Route.HEALTH, Route.LOAD, Route.METRICS, Route.VERSION})
"""For an operator's key: reading only. Adapters come and go by the store, not by vLLM's routes."""


def match(scope: Mapping[str, Any], caller: Caller) -> Route:
    """Return the route that an ASGI HTTP scope asks for, if ``caller`` may.

    A route of the other kind of key does not exist either.

    Raises:
        RequestError: 404 for no such path, 405 for another method on a path.
    """
    allowed = OPERATOR_ROUTES if caller.operator else USER_ROUTES
    path = _path(scope)
    # Paths are distinct: a test says so.
    route = next((route for route in allowed if route.path == path), None)
    if route is None:
        raise refuse("route", "there is no such route, or not for this key")
    if route.method != scope["method"]:
        raise refuse("method", f"{path} takes {route.method} only")
    return route


def canonical(
    scope: Mapping[str, Any], route: Route, headers: list[tuple[bytes, bytes]]
) -> dict[str, Any]:
    """Return a scope that says ``route`` in every field that says where to, and has ``headers``.

    The query string goes: none of the routes reads one.
    """
    return {
        **scope,
        "path": route.path,
        "raw_path": route.path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
    }


def _path(scope: Mapping[str, Any]) -> str | None:
    """The path below the server's prefix; None if it was spelled in any unusual way."""
    path: str = scope["path"]
    raw = scope.get("raw_path")
    if raw is not None and raw != path.encode(errors="surrogatepass"):
        return None  # percent-encoded, or the whole URL as the target
    root: str = scope.get("root_path", "").rstrip("/")
    # Frameworks set the prefix even where the server left it out of the path, so it is optional.
    return path.removeprefix(root)
