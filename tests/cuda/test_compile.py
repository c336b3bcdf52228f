"""The kernels compiled for every architecture: nothing spills, and the image stays small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = Path(__file__).resolve().parent.parent.parent / "cuda" / "report.py"
ARCHITECTURES = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"}
KERNELS = 16
# Two blocks of 512 threads share the 65,536 registers of a multiprocessor.
MAX_REGISTERS = 64
# A wheel holds it beside the extension and stays under 3 MB.
MAX_FATBIN = 1_000_000


@pytest.mark.slow
def test_no_kernel_spills_and_the_image_is_small() -> None:
    done = subprocess.run(
        [sys.executable, str(REPORT), "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode == 3:
        pytest.skip("no nvcc: set CUDA_HOME, or install the toolchain of requirements/kernels.txt")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    kernels = report["kernels"]
    assert {each["architecture"] for each in kernels} == ARCHITECTURES
    assert len(kernels) == KERNELS * len(ARCHITECTURES)
    for each in kernels:
        assert each["spilled"] == 0, each
        assert each["stack"] == 0, each
        assert each["registers"] <= MAX_REGISTERS, each
    assert report["fatbin"] <= MAX_FATBIN
