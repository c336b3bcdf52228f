"""From op to launch: Python, the binding, the driver's functions, the kernels' host build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from host_kernels import HERE as CUDA_TESTS
from host_kernels import compiled

from perce import _core

HERE = Path(__file__).resolve().parent


@pytest.mark.skipif(not _core.cuda_architectures(), reason="this build has no CUDA kernels")
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a driver of its own")
def test_the_ops_through_a_driver(tmp_path: Path) -> None:
    library = compiled("fake_driver.cpp", "-shared", str(CUDA_TESTS / "host_kernels.cpp"))
    (tmp_path / "libcuda.so.1").symlink_to(library)
    log = tmp_path / "log"
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(tmp_path),
        "PERCE_FAKE_LOG": str(log),
        "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent, CUDA_TESTS))),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "launched.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    calls = [line.split()[0] for line in log.read_text().splitlines()]
    assert calls.count("cuLaunchKernel") > 60
    assert calls.count("cuLibraryLoadData") == 1
