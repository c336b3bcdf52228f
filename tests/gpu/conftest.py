"""Every test here needs a CUDA device and a build with kernels, and says so where it is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from perce import _core

HERE = Path(__file__).resolve().parent


def missing() -> str | None:
    """Why these tests cannot run here, if so."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    if not _core.cuda_architectures():
        return "this build of perce has no CUDA kernels: docs/guides/building.md"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = missing()
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            # Any torch from 2.11 on may run these: what it deprecates is shown, not an error.
            item.add_marker(pytest.mark.filterwarnings("default"))
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))
