"""``perce env``: enough for a bug report, and nobody's names in it."""

from __future__ import annotations

import getpass
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from perce.cli.env import describe_environment

Run = Callable[..., tuple[int, str, str]]


def test_json_and_text_say_the_same(run: Run) -> None:
    code, text, _ = run("env", "--json")
    report = json.loads(text)
    assert code == 0
    code, text, _ = run("env")
    assert code == 0
    for name, value in report.items():
        assert any(
            line.startswith(name) and line.endswith(str(value)) for line in text.splitlines()
        ), name


def test_it_says_what_a_bug_report_needs() -> None:
    report = describe_environment()
    for name in ("perce", "python", "torch", "transformers", "peft", "tokenizers", "device"):
        assert name in report
    assert str(report["perce._core"]).startswith("loaded")
    assert "no CUDA kernels" in str(report["kernels"])
    assert int(report["cores"]) >= 1
    assert int(report["torch threads"]) >= 1


def test_it_names_neither_machine_nor_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    text = json.dumps(describe_environment())
    private = {socket.gethostname(), os.environ.get("HOME", ""), str(Path.cwd()), sys.prefix}
    if len(getpass.getuser()) > 4:
        private.add(getpass.getuser())
    for name in private - {"", "/", "localhost"}:
        assert name not in text
    assert json.loads(text)["OMP_NUM_THREADS"] == "3"


def test_a_core_that_does_not_load_is_told_without_its_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import perce

    monkeypatch.delattr(perce, "_core", raising=False)
    monkeypatch.setitem(sys.modules, "perce._core", None)
    assert str(describe_environment()["perce._core"]).startswith("NOT LOADED")
