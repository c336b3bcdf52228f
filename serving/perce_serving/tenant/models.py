"""Which model a caller gets: ``me``, or a version of one's own by name; and the list of them."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Protocol

from perce_serving.errors import UserError
from perce_serving.refusal import refuse
from perce_serving.users import adapter_name, check_user, parse_adapter_name

ME = "me"
"""The model name that stands for the caller's current adapter."""

MIN_SECRET_BYTES = 32
"""Least length of the server's secret."""


class Adapters(Protocol):
    """What the tenant layer asks of a store.

    All are called on the server's event loop, so they answer from memory or the node's own disk,
    in microseconds; and with no await between the answer and the request's entry at the gate, no
    version can be collected in between.
    """

    def current(self, user: str) -> str | None:
        """The user's current version; None for a user without one, or never seen."""
        ...

    def has(self, user: str, version: str) -> bool:
        """Whether this version of the user's is published and not retired."""
        ...

    def served(self, user: str) -> list[str]:
        """All versions of the user's of which ``has`` is true, the current one first."""
        ...


@dataclass(frozen=True)
class Model:
    """What the server is asked for: a name it knows, and whether that is an adapter's."""

    name: str
    is_adapter: bool


class Models:
    """Turns what a caller asks for into what the server serves.

    Args:
        adapters: the store.
        base: the name under which the server serves the base model.
        shared: the user whose current adapter is for all who have none; None for the base model.
            An id of nobody's own: who holds a key for it can ask for all its versions by name.

    Raises:
        UserError: ``shared`` may not be an id.
    """

    def __init__(self, adapters: Adapters, *, base: str, shared: str | None = None) -> None:
        self._adapters = adapters
        self._base = base
        self._shared = None if shared is None else check_user(shared)

    def resolve(self, user: str, asked: Any) -> Model:
        """Return the model that ``user`` gets for the ``model`` field ``asked``.

        Raises:
            RequestError: it is not a text, or neither ``me`` nor a version of the user's own that
                can be served. Another's version and one that never was are told in the same words.
        """
        if not isinstance(asked, str):
            raise refuse("field", f"model: a text is expected, such as {ME!r}", param="model")
        if asked == ME:
            return self._current(user)
        try:
            name = parse_adapter_name(asked)
        except UserError:
            name = None
        # The store is asked about the caller's own versions alone: nothing can be timed.
        if name is None or name.user != user or not self._adapters.has(user, name.version):
            raise refuse(
                "model",
                f"there is no model {asked[:80]!r} for this key; {ME!r} is your current one",
                param="model",
            )
        return Model(asked, is_adapter=True)

    def listed(self, user: str) -> dict[str, Any]:
        """Return the answer of ``/v1/models``: what ``resolve`` takes from the caller, no more."""
        names = [ME, *(adapter_name(user, version) for version in self._adapters.served(user))]
        return {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": 0, "owned_by": "user"} for name in names
            ],
        }

    def _current(self, user: str) -> Model:
        for owner in (user, self._shared):
            version = None if owner is None else self._adapters.current(owner)
            if owner is not None and version is not None:
                return Model(adapter_name(owner, version), is_adapter=True)
        return Model(self._base, is_adapter=False)


def check_secret(secret: bytes) -> bytes:
    """Return ``secret`` if it is long enough to keep salts from being guessed.

    Raises:
        ValueError: it has fewer than ``MIN_SECRET_BYTES``.
    """
    if len(secret) < MIN_SECRET_BYTES:
        raise ValueError(
            f"the server's secret has {len(secret)} bytes; {MIN_SECRET_BYTES} are needed"
        )
    return secret


def cache_salt(secret: bytes, user: str) -> str:
    """Return the salt of a user's part of the prefix cache, HMAC-SHA256(secret, user).

    Without it, the time to the first token would tell one user what another has asked. In
    hexadecimal digits, since vLLM refuses salts over 128 characters or with ``@``, ``/``, a
    backslash or NUL.
    """
    return hmac.new(secret, user.encode(), hashlib.sha256).hexdigest()
