"""What a store of profiles offers, wherever it keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from perce_serving.profile import ProfileItem


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One user's profile as it was set once; another content is another version."""

    user: str
    """Whose it is."""
    version: str
    """SHA-256 over its items, in hexadecimal digits."""
    updated: str
    """When it was set, UTC, as ``2026-11-22T13:12:29Z``."""
    items: tuple[ProfileItem, ...]
    """In the order in which they were set."""


class ProfileStore(Protocol):
    """The current profile of each user.

    Every change is atomic for readers, in this process and others: they read a profile whole, the
    one before it or the one after it. Readers never wait. What was replaced or cleared is kept
    nowhere: nothing but its user's next prompt needs it. Every method that takes a user raises
    ``UserError`` for an id that breaks the rules, and ``StoreError`` where what the store holds is
    not what it wrote.
    """

    def set(self, user: str, items: Sequence[ProfileItem]) -> Profile:
        """Make these items the user's profile, in place of any that was there.

        Args:
            user: whose they are; need not be known to the store of adapters.
            items: may be none, which is a profile as well.

        Raises:
            ProfileError: they may not be a profile; the store is as it was.
            OSError: the disk is full, or the like; the store is as it was.
        """
        ...

    def read(self, user: str) -> Profile | None:
        """The user's profile; None for a user without one."""
        ...

    def clear(self, user: str) -> bool:
        """Delete the user's profile; False where there is none."""
        ...
