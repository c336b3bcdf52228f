"""What a store of adapters offers, wherever it keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Check = Callable[[Path], str | None]
"""Raises ``ValidationError`` unless the adapter in this folder may be served; returns the
fingerprint of the base model that it was checked against, or None where that is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One published adapter of one user; its files never change."""

    user: str
    """Whose it is."""
    version: str
    """SHA-256 over its files, in hexadecimal digits."""
    published: str
    """When it was first published, UTC, as ``2026-11-22T13:12:29Z``."""
    size: int
    """Bytes of its files."""
    retired: bool
    """Whether it is served no more, retired or its user erased; its files are still there."""
    base: str | None = None
    """Fingerprint of the base model that it was last checked against on publishing, if known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One result of checking a store."""

    text: str
    """What was looked at, and what is wrong with it."""
    damage: bool
    """Whether something is wrong."""


class AdapterStore(Protocol):
    """Immutable versions of users' adapters, one of each user's versions being the current one.

    Every change is atomic for readers, in this process and others: they see the state before it or
    after it. Readers never wait. Every method that takes a user raises ``UserError`` for an id that
    breaks the rules, and ``StoreError`` where what the store holds is not what it wrote.
    """

    def publish(self, user: str, folder: Path, *, check: Check) -> Version:
        """Store a copy of the adapter in ``folder`` and make it the user's current version.

        Publishing the same content again stores nothing; it makes that version current, and serves
        it again if it was retired. What is damaged of the user's files is mended.

        Args:
            user: whose it is; need not be known to the store.
            folder: holds what PEFT saved; other files in it are left alone.
            check: called with the copy, so that what was checked is what is stored.

        Raises:
            ValidationError: ``check`` refuses the adapter, or a file is absent or a link; the store
                is as it was.
            OSError: the disk is full, or the like; the store is as it was.
        """
        ...

    def check_writable(self) -> None:
        """Make sure, before long work, that its result can be published; makes the store.

        Raises:
            OSError: it cannot be written.
        """
        ...

    def current(self, user: str) -> str | None:
        """Version that the user's next request gets; None for a user without an adapter."""
        ...

    def has(self, user: str, version: str) -> bool:
        """Whether this version is served: published and not retired."""
        ...

    def served(self, user: str) -> list[str]:
        """Versions of a user that are served, the current one first, in some 10 us each."""
        ...

    def versions(self, user: str) -> list[Version]:
        """All versions of a user by the second of publishing, the retired included."""
        ...

    def open(self, user: str, version: str, *, retired: bool = False) -> Path:
        """A local folder with the files of a served version.

        Args:
            user: whose it is.
            version: which.
            retired: also of one that is served no more and not yet collected: for requests that
                were admitted before it was retired.

        Raises:
            StoreError: it is not served or, with ``retired``, not stored.
        """
        ...

    def rollback(self, user: str, to: str | None = None) -> str:
        """Make an earlier version current: ``to``, or the last that was before and is served.

        Raises:
            StoreError: there is no such version, or it is retired.
        """
        ...

    def retire(self, user: str, version: str) -> None:
        """Serve this version no longer; its files stay until ``collect``. Twice is as once.

        Raises:
            StoreError: there is no such version, or it is the current one.
        """
        ...

    def collect(self, user: str, version: str) -> None:
        """Delete the files of a version that is served no more, retired or its user erased.

        An engine that is asked for an adapter it has evicted reads the files again and dies where
        there are none: call this only when no server of those that share the store can still ask
        for them.

        Raises:
            StoreError: there is no such version, or it is not retired.
        """
        ...

    def erase(self, user: str, *, delete: bool = False) -> bool:
        """Withdraw a user with every version; False where the store has nothing of the user.

        A profile, which no engine reads, is deleted at once.

        From now on no version is current and none is served. The files stay until ``collect`` has
        deleted the last version, and with it the user's folder. A publishing that is under way
        makes the user anew; what was withdrawn stays so.

        Args:
            user: whose.
            delete: also delete all files, now; only when no server runs (see ``collect``).

        Raises:
            StoreError: what was to be deleted could not be.
        """
        ...

    def users(self) -> list[str]:
        """All users of whom the store has files, the erased included, sorted.

        Raises:
            StoreError: there is no store.
        """
        ...

    def verify(self, check: Check | None = None) -> Iterator[Finding]:
        """Compare every file with what was published; pass every served version to ``check``."""
        ...
