"""Who is calling: the interface behind which a platform brings its own way of telling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from perce_serving.users import check_user


@dataclass(frozen=True)
class Caller:
    """One user, or an operator of the server; never both, so that a key has one purpose.

    Raises:
        ValueError: neither a user nor an operator, or both.
        UserError: ``user`` may not be an id.
    """

    user: str | None = None
    operator: bool = False

    def __post_init__(self) -> None:
        if (self.user is None) is not self.operator:
            raise ValueError("a caller is either a user or an operator: give one of the two")
        if self.user is not None:
            check_user(self.user)


class Identity(Protocol):
    """Tells who is calling from the one header that carries a credential."""

    async def authenticate(self, authorization: str | None) -> Caller | None:
        """Return the caller, or None when the credential is absent, malformed, unknown or revoked.

        Called on the event loop for every request, ahead of everything else: whatever takes long is
        to be awaited. An error raised here refuses the request with status 503.

        Args:
            authorization: value of the ``Authorization`` header, as sent; None without one.
        """
        ...
