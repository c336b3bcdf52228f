"""The fleet's folder: refused when it is something else, and whole at every moment."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce.errors import StoreError
from perce.fleet import Figures
from perce.fleet import folder as module
from perce.fleet.folder import FleetFolder, folder_name

FIELDS: dict[str, Any] = {"records": 5, "before": Figures(2.0, None), "after": Figures(1.0, None)}


def stage(folder: FleetFolder, user: str) -> None:
    staging = folder.staging(user)
    staging.mkdir(parents=True)
    (staging / "adapter_model.safetensors").write_bytes(b"weights")


@given(st.lists(st.text(), min_size=2, max_size=20, unique=True))
def test_folders_have_plain_names_of_their_own(users: list[str]) -> None:
    names = [folder_name(user) for user in users]
    assert len(set(names)) == len(users)
    assert all(len(name) == 20 and set(name) <= set("0123456789abcdef") for name in names)


def test_a_user_is_finished_once_published(tmp_path: Path) -> None:
    out = tmp_path / "a" / "fleet"
    folder = FleetFolder(out, {"x": "1"})
    assert folder.finished("../u") is None
    stage(folder, "../u")
    result = folder.publish("../u", FIELDS)
    assert (out / result.folder / "adapter_model.safetensors").read_bytes() == b"weights"
    assert not (out / "work").exists()
    again = FleetFolder(out, {"x": "1"})
    assert again.finished("../u") == result
    assert again.finished("u") is None


def test_a_crash_before_the_rename_leaves_nothing_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = FleetFolder(tmp_path, {})
    stage(folder, "u")

    def full(staged: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "publish", full)
    with pytest.raises(StoreError, match="cannot be written: No space left on device"):
        folder.publish("u", FIELDS)
    assert FleetFolder(tmp_path, {}).finished("u") is None


def test_another_fleet_is_refused_and_every_difference_named(tmp_path: Path) -> None:
    FleetFolder(tmp_path, {"seed": "1", "long": "a" * 99, "gone": "x"})
    with pytest.raises(StoreError) as error:
        FleetFolder(tmp_path, {"seed": "2", "long": "b" * 99, "new": "y"})
    assert (
        "gone (x, now None), long (aaaaaaaaaaaaaaaaa..., now bbbbbbbbbbbbbbbbb...), "
        "new (None, now y), seed (1, now 2): choose another --out"
    ) in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 1, "made_with": 3}', "{"])
def test_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "fleet.json").write_text(text)
    with pytest.raises(StoreError, match=r"fleet\.json is no fleet's: choose another --out"):
        FleetFolder(tmp_path, {})


def test_other_files_and_other_versions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match="holds other files than a fleet's"):
        FleetFolder(tmp_path, {})
    out = tmp_path / "new"
    FleetFolder(out, {})
    content = json.loads((out / "fleet.json").read_text())
    (out / "fleet.json").write_text(json.dumps({**content, "format_version": 2}))
    with pytest.raises(StoreError, match="of another version of perce"):
        FleetFolder(out, {})


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        FleetFolder(tmp_path / "file" / "out", {})


def test_a_corrupt_result_is_told(tmp_path: Path) -> None:
    folder = FleetFolder(tmp_path, {})
    stage(folder, "u")
    result = folder.publish("u", FIELDS)
    (tmp_path / result.folder / "result.json").write_text("{}")
    with pytest.raises(StoreError, match="corrupt: delete its folder to train it again"):
        folder.finished("u")
