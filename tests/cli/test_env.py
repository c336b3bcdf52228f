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
import torch

from perce import _core
from perce.cli.env import describe_environment
from perce.errors import KernelError

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
    assert "CUDA kernels" in str(report["kernels"])
    assert int(report["cores"]) >= 1
    assert int(report["torch threads"]) >= 1


def test_it_says_which_architectures_the_kernels_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "cuda_architectures", lambda: ["sm_80", "sm_90", "compute_120"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    held = "CUDA kernels for sm_80, sm_90, compute_120"
    assert describe_environment()["kernels"] == held

    def load(index: int) -> None:
        raise KernelError("the driver is too old: update it")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "H200")
    monkeypatch.setattr(_core, "cuda_load", load)
    said = describe_environment()["kernels"]
    assert said == f"{held}; not on this device: the driver is too old: update it"
    monkeypatch.setattr(_core, "cuda_load", lambda index: None)
    assert describe_environment()["kernels"] == f"{held}; loaded on this device"


def test_a_build_without_kernels_says_what_that_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "cuda_architectures", list)
    said = str(describe_environment()["kernels"])
    assert said == "none: this build has no CUDA kernels, CUDA tensors take the torch back end"


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

    monkeypatch.delattr(perce, "_core")
    monkeypatch.setitem(sys.modules, "perce._core", None)
    assert str(describe_environment()["perce._core"]).startswith("NOT LOADED")
