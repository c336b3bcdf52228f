"""What is on the disk against what was published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perce_serving.adapter_files import read_content
from perce_serving.errors import DamagedError, ServingError, StoreError, ValidationError
from perce_serving.store.interface import Check, Finding, Version
from perce_serving.store.layout import (
    CURRENT,
    ERASED,
    USER_FILE,
    read_history,
    read_user,
    read_version,
)
from perce_serving.users import is_version


def verify_user(home: Path, check: Check | None) -> Iterator[Finding]:
    """Findings about one user's folder: whose it is, each version, and what is current."""
    try:
        user = read_user(home)
        history = read_history(home)
    except StoreError as error:
        if home.exists():  # not erased meanwhile
            yield Finding(text=str(error), damage=True)
        return
    served = set()
    for path in _listed(home):
        if path.is_symlink():
            yield Finding(text=f"{path}: a symbolic link; no part of the store", damage=True)
        elif is_version(path.name):
            try:
                retired = verify_version(path, user).retired
                if check is not None and not retired:
                    check(path)
            except (ServingError, OSError) as error:
                if path.exists():  # not collected meanwhile
                    yield Finding(text=f"user {user!r}: version {path.name}: {error}", damage=True)
                continue
            if not retired:
                served.add(path.name)
            state = "retired" if retired else "current" if path.name in history[:1] else "served"
            yield Finding(text=f"user {user!r}: version {path.name} ({state})", damage=False)
        elif path.name not in (CURRENT, ERASED, USER_FILE):
            yield Finding(text=f"{path}: no part of the store; take it away", damage=True)
    if served.isdisjoint(history[:1]) and history == _history(home) != []:
        yield Finding(
            text=f"user {user!r}: the current version {history[0]} cannot be served; "
            "roll back or publish again",
            damage=True,
        )


def _listed(home: Path) -> list[Path]:
    """What is in a user's folder; nothing once it is gone."""
    try:
        return sorted(home.iterdir())
    except FileNotFoundError:
        return []


def _history(home: Path) -> list[str]:
    """What was current, read once more: another process may have published or erased meanwhile."""
    try:
        return read_history(home)
    except StoreError:
        return []


def verify_version(folder: Path, user: str) -> Version:
    """Compare a version's files with what was published.

    Raises:
        DamagedError: they differ, or are another user's.
        ValidationError: a file is absent or a link.
        OSError: a file cannot be read.
    """
    version = read_version(folder)
    if version.user != user:
        raise DamagedError(f"was published for user {version.user!r}; publish it again")
    if read_content(folder).version != folder.name:
        raise DamagedError("its files have changed since it was published; publish it again")
    return version


def intact_version(folder: Path, user: str) -> Version | None:
    """The version in this folder if its files are what was published, all of which are read.

    Raises:
        StoreError: another release has written it.
        OSError: a file cannot be read.
    """
    try:
        return verify_version(folder, user)
    except (DamagedError, ValidationError):
        return None
