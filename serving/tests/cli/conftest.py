"""A base model, adapters for it, and the command line run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perce_serving.cli import main
from validate.adapters import config, weights, write_adapter, write_base

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: ``models/Tiny``, ``runs/{alice,better,bad}`` and ``profile.json``."""
    (tmp_path / "models").mkdir()
    (tmp_path / "runs").mkdir()
    write_base(tmp_path / "models" / "Tiny")
    named = {"base_model_name_or_path": "models/Tiny"}
    write_adapter(tmp_path / "runs" / "alice", weights(), config(**named))
    write_adapter(tmp_path / "runs" / "better", weights("F16"), config(**named))
    write_adapter(tmp_path / "runs" / "bad", weights(), config(**named, use_dora=True))
    (tmp_path / "profile.json").write_text('["Likes the sea.", {"text": "Sails.", "date": "2020"}]')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``perce-adapters`` with these words; exit code, standard output and standard error."""

    def called(words: str, *more: str) -> tuple[int, str, str]:
        code = main([*words.split(), *more])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


@pytest.fixture
def good(run: Run) -> Callable[..., str]:
    """Run a command that works; what it prints."""

    def called(words: str, *more: str) -> str:
        code, out, err = run(words, *more)
        assert (code, err) == (0, "")
        return out

    return called


@pytest.fixture
def fails(run: Run) -> Callable[..., str]:
    """Run a command that does not: exit code 2 and one line, which is returned."""

    def called(words: str, *more: str) -> str:
        code, out, err = run(words, *more)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert err.startswith(f"perce-adapters {words.split()[0]}: ")
        return err

    return called
