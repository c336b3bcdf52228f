"""Whether a store can be published into is known before there is anything to publish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perce_serving.store import LocalStore


def test_looking_makes_an_empty_store(store: LocalStore, root: Path) -> None:
    store.check_writable()
    assert store.users() == []
    assert not any(finding.damage for finding in store.verify())


def test_looking_changes_nothing(store: LocalStore, source: Callable[[str], Path]) -> None:
    version = store.publish("alice", source("1"), check=lambda folder: None)
    store.check_writable()
    assert store.versions("alice") == [version]
    assert store.current("alice") == version.version


@pytest.mark.parametrize("name", ["file", "file/store"])
def test_a_store_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        LocalStore(tmp_path / name).check_writable()
