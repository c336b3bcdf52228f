"""The launch path: without a driver, and with one whose device is this processor."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from host_kernels import HERE, compiled, host_kernels
from rows import DTYPES, OBJECTIVES, problem, run

from perce import _core
from perce.errors import KernelError, PerceError

NO_KERNELS = "this build has no CUDA kernels: nvcc was not there when it was made"
needs_kernels = pytest.mark.skipif(not _core.cuda_architectures(), reason=NO_KERNELS)

ARCHITECTURES = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "compute_120"]

Run = Callable[..., str]


@pytest.fixture
def with_driver(tmp_path: Path) -> Run:
    """Runs Python code in a process of its own that finds our driver; returns what it prints."""
    library = compiled("fake_driver.cpp", "-shared", str(HERE / "host_kernels.cpp"))
    (tmp_path / "libcuda.so.1").symlink_to(library)

    def python(code: str, **environment: str) -> str:
        found = {
            "LD_LIBRARY_PATH": str(tmp_path),
            "PERCE_FAKE_LOG": str(tmp_path / "log"),
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, **found, **environment},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    return python


def test_architectures_are_all_or_none() -> None:
    assert _core.cuda_architectures() in ([], ARCHITECTURES)


def test_kernel_errors_are_of_the_family() -> None:
    assert issubclass(KernelError, PerceError)
    assert issubclass(KernelError, RuntimeError)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a driver")
def test_without_kernels_or_driver_the_error_says_which() -> None:
    for _ in range(2):  # what the first call found stands
        with pytest.raises(KernelError) as error:
            _core.cuda_load(0)
        missing = "libcuda.so.1" if _core.cuda_architectures() else "no CUDA kernels"
        assert missing in str(error.value)


ARGUMENTS = {
    "device": 0,
    "stream": 0,
    "n_rows": 2,
    "vocab": 100,
    "logits": 4096,
    "logits_dtype": "float32",
    "logits_stride": 104,
    "grad": 4096,
    "grad_dtype": "bfloat16",
    "grad_stride": 208,
    "labels": 64,
    "logp_without": 64,
    "weights_given": 64,
    "bias": 0,
    "logp": 64,
    "weights": 0,
    "entropy": 0,
    "logit_scale": 1.0,
    "logit_softcap": 0.0,
    "objective": "perce",
    "params": (0.8, 5.0),
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_rows": -1}, "n_rows: -1"),
        ({"vocab": 0}, "vocab: 0: give 1 to 1073741824"),
        ({"vocab": 2**30 + 1}, "vocab: 1073741825"),
        ({"logits": 0}, "logits: it is needed here"),
        ({"labels": 0}, "labels: it is needed"),
        ({"logp": 0}, "logp: it is needed"),
        ({"logp_without": 0}, "logp_without: it is needed"),
        ({"objective": "given", "weights_given": 0}, "weights_given: it is needed"),
        ({"labels": 68}, "labels: address 0x44 is no multiple of 8 bytes"),
        ({"grad": 4097}, "grad: address 0x1001 is no multiple of 2 bytes"),
        ({"logits_stride": 99}, "logits_stride: 99: rows of 100 would overlap"),
        ({"grad": 1 << 20, "grad_stride": 99}, "grad_stride: 99: rows of 100 would overlap"),
        ({"logit_scale": float("nan")}, "logit_scale: NaN"),
        ({"logit_softcap": -1.0}, "logit_softcap: -1"),
        ({"objective": "lossce"}, 'objective: the kernels do not know "lossce"'),
        ({"logits_dtype": "float64"}, 'dtype: "float64": give float32, bfloat16 or float16'),
        ({"logits_dtype": "float16"}, "grad_dtype: bfloat16 from float16 logits: give float16"),
        ({"grad_stride": 104}, "grad: it overlaps the logits"),
        ({"grad": 4096 + 416}, "grad: it overlaps the logits"),
        ({"grad": 4096 + 416 + 398}, "grad: it overlaps the logits"),
    ],
)
def test_arguments_that_cannot_work_are_named(change: dict[str, object], says: str) -> None:
    with pytest.raises(KernelError) as error:
        _core.cuda_weighted_rows(**{**ARGUMENTS, **change})  # type: ignore[arg-type]
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@needs_kernels
@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PERCE_FAKE_VERSION": "12080"}, "the driver supports CUDA 12.8, the kernels need 13.0"),
        ({"PERCE_FAKE_DEVICES": "0"}, "there is no CUDA device 0: the driver shows 0"),
        ({"PERCE_FAKE_CAPABILITY": "75"}, "CUDA device 0 has compute capability 7.5"),
        *(
            ({"PERCE_FAKE_FAIL": name}, f"{name} failed: CUDA_ERROR_UNKNOWN")
            for name in (
                "cuInit",
                "cuDriverGetVersion",
                "cuDeviceGetCount",
                "cuDeviceGet",
                "cuDeviceGetAttribute",
                "cuDevicePrimaryCtxRetain",
                "cuCtxPushCurrent",
                "cuLibraryLoadData",
                "cuLibraryGetKernel",
                "cuKernelGetFunction",
                "cuFuncLoad",
            )
        ),
    ],
    ids=str,
)
def test_what_fails_in_the_driver_is_named(
    with_driver: Run, environment: dict[str, str], says: str, tmp_path: Path
) -> None:
    code = (
        "from perce import _core; from perce.errors import KernelError\n"
        "for _ in range(2):\n"
        "    try: _core.cuda_load(0)\n"
        "    except KernelError as error: print(error)"
    )
    assert with_driver(code, **environment).count(says) == 2
    calls = (tmp_path / "log").read_text().split("\n")
    if "CtxPush" not in str(environment):
        assert calls.count("cuCtxPushCurrent") == calls.count("cuCtxPopCurrent")


@needs_kernels
def test_a_driver_without_a_function_is_no_driver(tmp_path: Path, with_driver: Run) -> None:
    (tmp_path / "libcuda.so.1").unlink()
    (tmp_path / "libcuda.so.1").symlink_to(compiled("host_kernels.cpp", "-shared"))
    code = (
        "from perce import _core; from perce.errors import KernelError\n"
        "try: _core.cuda_load(0)\n"
        "except KernelError as error: print(error)"
    )
    assert "(it has no cuInit)" in with_driver(code)


@needs_kernels
def test_launches_reach_the_device_as_asked(with_driver: Run, tmp_path: Path) -> None:
    """Every kernel through the extension, bit by bit equal to the host build called directly."""
    code = (
        "import pickle; from pathlib import Path; from rows import run; from perce import _core\n"
        "_core.cuda_load(0)\n"
        "problems = pickle.loads(Path('problems').read_bytes())\n"
        "results = [run(_core, each) for each in problems]\n"
        "Path('results').write_bytes(pickle.dumps(results))"
    )
    generator = torch.Generator().manual_seed(0)
    problems = [
        problem(
            torch.randn(7, 99, generator=generator).to(dtype),
            [0, 1, -100, 98, 99, 5, 6],
            objective=objective,
            grad_dtype=grad_dtype,
            bias=bias,
            in_place=bias is None,
            padding=5,
        )
        for dtype, grad_dtype in DTYPES
        for objective in OBJECTIVES
        for bias in (None, torch.ones(99))
    ]
    (tmp_path / "problems").write_bytes(pickle.dumps(problems))
    with_driver(code)
    results = pickle.loads((tmp_path / "results").read_bytes())
    for got, of in zip(results, problems, strict=True):
        want = run(host_kernels(), of)
        for one, other in zip(vars(got).values(), vars(want).values(), strict=True):
            assert one.tobytes() == other.tobytes()
    calls = (tmp_path / "log").read_text().splitlines()
    launches = [call.split() for call in calls if call.startswith("cuLaunchKernel")]
    assert len({launch[1] for launch in launches}) == 16, "every kernel ran"
    # Two multiprocessors with two blocks each take seven rows in turn; 99 columns suit one warp.
    assert {tuple(launch[2:]) for launch in launches} == {("blocks=4", "threads=32", "stream=0")}
    assert calls.count("cuFuncLoad") == 16, "all loaded by cuda_load, nothing later"
    assert calls.count("cuCtxPushCurrent") == calls.count("cuCtxPopCurrent") == len(launches) + 1
