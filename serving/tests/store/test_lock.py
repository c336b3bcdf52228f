"""The store's lock is for renames: nobody waits for what another copies, hashes or deletes."""

from __future__ import annotations

import fcntl
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perce_serving.store import LocalStore, local
from perce_serving.store.scratch import SCRATCH

Source = Callable[[str], Path]


def accept(folder: Path) -> None:
    """Every adapter may be served."""


@pytest.fixture
def looks(root: Path) -> list[bool]:
    """Whether the lock was free, at each look that ``watched`` took."""
    return []


@pytest.fixture
def watched(root: Path, looks: list[bool]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The same function, which first looks whether the store's lock is free."""

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            looks.append(is_free(root))
            return function(*given, **named)

        return called

    return wrap


def is_free(root: Path) -> bool:
    with (root / SCRATCH / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_nothing_long_is_done_under_it(
    store: LocalStore, root: Path, source: Source, looks: list[bool], watched: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one = store.publish("alice", source("1"), check=accept).version
    monkeypatch.setattr(local, "copy_content", watched(local.copy_content))
    monkeypatch.setattr(local, "intact_version", watched(local.intact_version))
    monkeypatch.setattr(shutil, "rmtree", watched(shutil.rmtree))
    store.publish("alice", source("2"), check=watched(accept))
    store.retire("alice", one)
    for change in (
        lambda: store.publish("alice", source("2"), check=watched(accept)),
        lambda: store.collect("alice", one),
        lambda: store.erase("alice", delete=True),
    ):
        (root / SCRATCH / ("0" * 32)).mkdir()  # as a dead process leaves it
        change()
    assert len(looks) == 13
    assert all(looks)
    assert [path.name for path in (root / SCRATCH).iterdir()] == ["lock"]


def test_what_one_deletes_another_leaves_alone_and_waits_for(
    store: LocalStore, root: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish("alice", source("1"), check=accept)
    real, begun, go = shutil.rmtree, threading.Event(), threading.Event()
    deleted = []

    def slow(path: Path, ignore_errors: bool) -> None:
        deleted.append(path)
        if path.name != "0" * 32 and not begun.is_set():
            begun.set()
            assert go.wait(60)
        real(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", slow)
    eraser = threading.Thread(target=store.erase, args=("alice",), kwargs={"delete": True})
    eraser.start()
    assert begun.wait(60)
    (trashed,) = deleted
    LocalStore(root).publish("bob", source("2"), check=accept)
    assert deleted.count(trashed) == 1
    waiting = threading.Thread(target=store._delete, args=(trashed,))
    waiting.start()
    assert waiting.is_alive()
    go.set()
    waiting.join()
    eraser.join()
    assert not trashed.exists()
    assert store.users() == ["bob"]
    assert [path.name for path in (root / SCRATCH).iterdir()] == ["lock"]
