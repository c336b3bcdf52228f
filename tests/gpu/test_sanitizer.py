"""compute-sanitizer finds nothing: no access out of bounds, no race in shared memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent / "sanitized.py"

TOOLS: Mapping[str, tuple[str, ...]] = {
    # torch asks the driver for functions it may not have; what failed there is not ours.
    "memcheck": ("--report-api-errors", "no"),
    "racecheck": (),
    "synccheck": (),
}
"""Tools and their options."""


@pytest.fixture(scope="module")
def started() -> Iterator[Mapping[str, subprocess.Popen[str]]]:
    """All tools at work at once, each for 100 seconds at most."""
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not on the PATH: it comes with the CUDA toolkit")
    timed = ("timeout", "--kill-after=5", "100", sanitizer)
    common = ("--error-exitcode", "9", "--kernel-name", "kernel_substring=perce")
    # In one of torch's slabs, a neighbour's bytes are as good as one's own.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    with ExitStack() as running:
        yield {
            tool: running.enter_context(
                subprocess.Popen(
                    [*timed, "--tool", tool, *common, *options, sys.executable, str(SCRIPT)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=environment,
                )
            )
            for tool, options in TOOLS.items()
        }


@pytest.mark.parametrize("tool", TOOLS)
def test_clean(tool: str, started: Mapping[str, subprocess.Popen[str]]) -> None:
    report, _ = started[tool].communicate()
    if "Device not supported" in report:
        pytest.skip("compute-sanitizer does not support this device or its driver")
    assert started[tool].returncode == 0, report[-3000:]
    assert "ERROR SUMMARY: 0 errors" in report or "RACECHECK SUMMARY: 0 hazards" in report
