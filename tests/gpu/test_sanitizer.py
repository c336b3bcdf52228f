"""compute-sanitizer finds nothing: no access out of bounds, no race in shared memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent / "sanitized.py"


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_clean(tool: str) -> None:
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not on the PATH: it comes with the CUDA toolkit")
    options = ["--tool", tool, "--error-exitcode", "9", "--kernel-name", "kernel_substring=perce"]
    done = subprocess.run(
        [sanitizer, *options, sys.executable, str(SCRIPT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    report = done.stdout + done.stderr
    if "Device not supported" in report:
        pytest.skip("compute-sanitizer does not support this device or its driver")
    assert done.returncode == 0, report[-3000:]
    assert "ERROR SUMMARY: 0 errors" in report or "RACECHECK SUMMARY: 0 hazards" in report
