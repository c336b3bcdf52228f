"""kill -9 after every step of every change, and several publishers at once."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from perce_serving.adapter_files import ADAPTER_FILES, read_content
from perce_serving.store import LocalStore
from perce_serving.store.scratch import SCRATCH
from processes import KillAt, in_child, outcome

Source = Callable[[str], Path]


def accept(folder: Path) -> None:
    """Every adapter may be served."""


def seen(store: LocalStore, user: str) -> tuple[str | None, dict[str, bool]]:
    return store.current(user), {v.version: v.retired for v in store.versions(user)}


CHANGES: dict[str, Callable[[LocalStore, Path, str, str], object]] = {
    "first": lambda store, new, first, second: store.publish("bob", new, check=accept),
    "next": lambda store, new, first, second: store.publish("alice", new, check=accept),
    "rollback": lambda store, new, first, second: store.rollback("alice"),
    "retire": lambda store, new, first, second: store.retire("alice", first),
    "erase": lambda store, new, first, second: store.erase("alice"),
    "delete": lambda store, new, first, second: store.erase("alice", delete=True),
}
STEPS = {"first": 5, "next": 6, "rollback": 2, "retire": 1, "erase": 2, "delete": 2}


@pytest.mark.parametrize("change", CHANGES)
def test_killed_between_any_two_steps(tmp_path: Path, source: Source, change: str) -> None:
    new = source("new")
    for step in itertools.count():
        root = tmp_path / f"store{step}"
        store = LocalStore(root)
        first = store.publish("alice", source("1"), check=accept).version
        second = store.publish("alice", source("2"), check=accept).version
        user = "bob" if change == "first" else "alice"
        before = seen(store, user)

        killed = LocalStore(root, step=KillAt(step))
        code = outcome(in_child(partial(CHANGES[change], killed, new, first, second)))
        after = seen(store, user)
        assert not any(finding.damage for finding in store.verify())
        if code == 0:
            break
        assert code == -signal.SIGKILL

        # The next one finds no obstacle, ends where the change would have, and clears up.
        if after == before or change in ("first", "next"):
            CHANGES[change](store, new, first, second)
        store.erase("nobody")
        assert {path.name for path in (root / SCRATCH).iterdir()} <= {"lock", "file"}
        if change in ("first", "next"):
            assert store.current(user) == read_content(new).version
        else:
            assert seen(store, user) != before
    assert step == STEPS[change]


def test_killed_while_a_user_is_made_anew(root: Path, source: Source) -> None:
    one = read_content(source("1")).version
    two = read_content(source("2")).version
    store = LocalStore(root)
    for step in itertools.count():
        store.publish("alice", source("1"), check=accept)
        store.erase("alice")
        killed = LocalStore(root, step=KillAt(step))
        child = in_child(partial(killed.publish, "alice", source("2"), check=accept))
        code = outcome(child)
        assert not store.has("alice", one)
        assert store.current("alice") in (None, two)
        assert store.has("alice", two) == (store.current("alice") == two)
        assert not any(finding.damage for finding in store.verify())
        if code == 0:
            break
        assert code == -signal.SIGKILL
        store.erase("alice", delete=True)
    assert store.current("alice") == two
    assert {v.version: v.retired for v in store.versions("alice")} == {one: True, two: False}


def test_killed_while_mending(root: Path, source: Source) -> None:
    store = LocalStore(root)
    version = store.publish("alice", source("1"), check=accept).version
    folder = store.open("alice", version)
    for step in itertools.count():
        for name in ADAPTER_FILES:
            (folder / name).write_text("damaged")
        killed = LocalStore(root, step=KillAt(step))
        code = outcome(in_child(partial(killed.publish, "alice", source("1"), check=accept)))
        # Nothing that an engine may read is absent, whatever it holds.
        assert store.current("alice") == version
        assert all((store.open("alice", version) / name).is_file() for name in ADAPTER_FILES)
        if code == 0:
            break
    assert read_content(folder).version == version
    assert not any(finding.damage for finding in store.verify())


def test_a_process_forked_under_the_lock_does_not_keep_it(root: Path, source: Source) -> None:
    children = []

    def fork(step: str) -> None:
        if step == "user in place":
            children.append(in_child(signal.pause))

    LocalStore(root, step=fork).publish("alice", source("1"), check=accept)
    with (root / SCRATCH / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
    assert len(children) == 1


def test_publishers_at_once_and_a_reader(root: Path, source: Source) -> None:
    folders = [source(str(number)) for number in range(4)]
    names = {read_content(folder).version for folder in folders}

    def publish_often(first: int) -> None:
        store = LocalStore(root)
        for turn in range(20):
            store.publish("alice", folders[(first + turn) % len(folders)], check=accept)

    children = [in_child(partial(publish_often, first)) for first in range(2)]
    store = LocalStore(root)
    while store.current("alice") is None:
        pass
    for _ in range(200):
        version = store.current("alice")
        assert version in names
        assert read_content(store.open("alice", version)).version == version
    assert [outcome(child) for child in children] == [0, 0]
    assert {version.version for version in store.versions("alice")} == names
    assert not any(finding.damage for finding in store.verify())


def test_one_who_works_is_not_taken_for_dead(root: Path, source: Source) -> None:
    def others(folder: Path) -> None:
        other = LocalStore(root)
        other.publish("bob", source("2"), check=accept)
        other.erase("bob", delete=True)
        assert read_content(folder) == read_content(source("1"))

    store = LocalStore(root)
    store.publish("alice", source("1"), check=others)
    assert store.users() == ["alice"]


def test_a_publishing_outlived_by_the_user(root: Path, source: Source) -> None:
    store = LocalStore(root)
    store.publish("alice", source("1"), check=accept)
    store.publish("alice", source("2"), check=lambda folder: LocalStore(root).erase("alice"))
    one, two = (read_content(source(text)).version for text in "12")
    assert seen(store, "alice") == (two, {one: True, two: False})
