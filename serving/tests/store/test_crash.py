"""kill -9 after every step of every change, and several publishers at once."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from perce_serving.adapter_files import read_content
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
}
STEPS = {"first": 5, "next": 6, "rollback": 2, "retire": 1, "erase": 2}


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
        other.erase("bob")
        assert read_content(folder) == read_content(source("1"))

    store = LocalStore(root)
    store.publish("alice", source("1"), check=others)
    assert store.users() == ["alice"]


def test_a_publishing_outlived_by_the_user(root: Path, source: Source) -> None:
    store = LocalStore(root)
    store.publish("alice", source("1"), check=accept)
    store.publish("alice", source("2"), check=lambda folder: LocalStore(root).erase("alice"))
    assert seen(store, "alice") == (
        read_content(source("2")).version,
        {read_content(source("2")).version: False},
    )
