"""Files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from perce.errors import OptionError
from perce.report import check_writable, replacing


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as scratch:
        scratch.write_text("whole")
        assert not path.exists()
        assert scratch.parent == path.parent
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_it_is_as_readable_as_any_file(tmp_path: Path) -> None:
    (tmp_path / "plain.txt").write_text("")
    with replacing(tmp_path / "ours.txt") as scratch:
        scratch.write_text("")
    assert (tmp_path / "ours.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_an_error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as scratch:
            scratch.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_and_an_impossible_place_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a folder"), replacing(tmp_path):
        pass
    with pytest.raises(OptionError, match="cannot be written"), replacing(tmp_path / "file" / "x"):
        pass


def test_writable_is_found_out_before_and_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "scores.parquet", None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot be written"):
        check_writable(tmp_path / "file" / "scores.parquet")
    with pytest.raises(OptionError, match="is a folder"):
        check_writable(tmp_path)
