"""Users who are erased: withdrawn at once, their files deleted when nothing can ask for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from perce_serving.adapter_files import read_content
from perce_serving.errors import StoreError
from perce_serving.store import LocalStore

Source = Callable[[str], Path]


def accept(folder: Path) -> None:
    """Every adapter may be served."""


def test_erasing_withdraws_and_leaves_the_files_to_be_collected(
    store: LocalStore, source: Source
) -> None:
    versions = [store.publish("alice", source(text), check=accept).version for text in "12"]
    folders = [store.open("alice", version) for version in versions]
    assert store.erase("alice")
    assert store.current("alice") is None
    assert not any(store.has("alice", version) for version in versions)
    for call in (store.rollback, lambda user: store.open(user, versions[0])):
        with pytest.raises(StoreError):
            call("alice")
    assert not any(finding.damage for finding in store.verify())
    # An engine that knows them may load them again, until whoever knows better collects them.
    for folder in folders:
        assert read_content(folder).version == folder.name
    assert store.users() == ["alice"]
    assert [version.retired for version in store.versions("alice")] == [True, True]
    for version in versions:
        store.collect("alice", version)
    assert not any(folder.exists() for folder in folders)
    assert store.users() == []
    assert not store.erase("alice")


def test_a_user_made_anew_gets_nothing_back(store: LocalStore, source: Source) -> None:
    one = store.publish("alice", source("1"), check=accept).version
    store.erase("alice")
    two = store.publish("alice", source("2"), check=accept).version
    assert (store.has("alice", one), store.current("alice")) == (False, two)
    with pytest.raises(StoreError, match="publish one"):
        store.rollback("alice")
    store.erase("alice", delete=True)
    assert store.versions("alice") == []


def test_what_cannot_be_deleted_is_no_success(
    store: LocalStore, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = store.publish("alice", source("1"), check=accept).version
    store.publish("alice", source("2"), check=accept)
    store.retire("alice", version)
    with monkeypatch.context() as patch:
        # As with ignore_errors on a file that is busy.
        patch.setattr(shutil, "rmtree", lambda path, ignore_errors: None)
        for call in (
            lambda: store.collect("alice", version),
            lambda: store.erase("alice", delete=True),
        ):
            with pytest.raises(StoreError, match="could not be deleted"):
                call()
    assert store.users() == []
