"""Folders that stand for adapters: the store does not look into what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perce_serving.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from perce_serving.store import LocalStore


@pytest.fixture
def source(tmp_path: Path) -> Callable[[str], Path]:
    """Make a folder with an adapter of this content."""

    def made(text: str) -> Path:
        folder = tmp_path / f"source-{text}"
        folder.mkdir(exist_ok=True)
        (folder / CONFIG_FILE).write_text(f"config {text}")
        (folder / WEIGHTS_FILE).write_text(f"weights {text}")
        return folder

    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root, clock=lambda: 0.0)
