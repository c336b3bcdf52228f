"""The CUDA kernels' row body compiled for this machine's processor, called as in ``perce._core``.

``host_kernels()`` has the two launch functions of ``perce._core`` with the same keywords; pointers
are those of CPU memory, device and stream are ignored, and a call returns when the work is done.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from perce.errors import KernelError

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parent.parent / "cuda" / "kernels"
OBJECTIVES = ("given", "ce", "perce", "longce", "entce", "dft", "nextquill")
FLAGS = (
    "-std=c++20",
    "-O1",
    "-fPIC",
    "-ffp-contract=off",
    "-pthread",
    "-Wall",
    "-Wextra",
    "-Werror",
)


class Arguments(ctypes.Structure):
    """Twin of ``Arguments`` in cuda/kernels/arguments.cuh."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("logits", "grad", "labels")),
        *((name, ctypes.c_void_p) for name in ("logp_without", "weights_given", "bias")),
        *((name, ctypes.c_void_p) for name in ("logp", "weights", "entropy")),
        *((name, ctypes.c_int64) for name in ("n_rows", "logits_stride", "grad_stride")),
        ("vocab", ctypes.c_int32),
        ("objective", ctypes.c_int32),
        ("params", ctypes.c_float * 2),
        ("scale", ctypes.c_float),
        ("softcap", ctypes.c_float),
    )


def compiler() -> str:
    """The C++ compiler; skips the calling test where there is none."""
    found = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
    if found is None:
        pytest.skip("no C++ compiler: install g++ to compile the kernels' row body for the host")
    return found


def compiled(source: str, *flags: str) -> Path:
    """Compile tests/cuda/``source``; kept in the temporary folder under a name made of its content.

    With ``-shared`` among the flags it is a library, else a program.
    """
    command = [compiler(), *FLAGS, *flags, f"-I{KERNELS}", f"-I{HERE}", str(HERE / source)]
    digest = hashlib.sha256(repr(command).encode())
    for file in sorted([*KERNELS.iterdir(), *HERE.glob("*.[ch]pp")]):
        digest.update(file.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"perce-host-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{Path(source).stem}-{digest.hexdigest()[:16]}"
    if not target.exists():
        # Workers may compile at once: each into a file of its own, put in place when whole.
        part = target.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, "-o", str(part)], check=True)
        part.replace(target)
    return target


class HostKernels:
    """The launch functions, run by a team of ``threads``."""

    def __init__(self, threads: int) -> None:
        self._run = ctypes.CDLL(str(compiled("host_kernels.cpp", "-shared"))).perce_host_run
        self._run.argtypes = [ctypes.c_char_p, ctypes.POINTER(Arguments), ctypes.c_int]
        self._threads = threads

    def _launch(self, kernel: str, bias: int, softcap: float, **arguments: object) -> None:
        head = "full" if bias or softcap else "plain"
        name = f"perce_{kernel}_{head}"
        packed = Arguments(bias=bias, softcap=softcap, **arguments)
        if self._run(name.encode(), ctypes.byref(packed), self._threads) != 0:
            raise KernelError(f"there is no kernel {name}")

    def cuda_weighted_rows(
        self,
        *,
        device: int,
        stream: int,
        n_rows: int,
        vocab: int,
        logits: int,
        logits_dtype: str,
        logits_stride: int,
        grad: int,
        grad_dtype: str,
        grad_stride: int,
        labels: int,
        logp_without: int,
        weights_given: int,
        bias: int,
        logp: int,
        weights: int,
        entropy: int,
        logit_scale: float,
        logit_softcap: float,
        objective: str,
        params: tuple[float, float],
    ) -> None:
        self._launch(
            f"weighted_{logits_dtype}_{grad_dtype}",
            bias,
            logit_softcap,
            n_rows=n_rows,
            vocab=vocab,
            logits=logits,
            logits_stride=logits_stride,
            grad=grad,
            grad_stride=grad_stride,
            labels=labels,
            logp_without=logp_without,
            weights_given=weights_given,
            logp=logp,
            weights=weights,
            entropy=entropy,
            scale=logit_scale,
            objective=OBJECTIVES.index(objective),
            params=params,
        )

    def cuda_logp_rows(
        self,
        *,
        device: int,
        stream: int,
        n_rows: int,
        vocab: int,
        logits: int,
        logits_dtype: str,
        logits_stride: int,
        labels: int,
        bias: int,
        logp: int,
        entropy: int,
        logit_scale: float,
        logit_softcap: float,
    ) -> None:
        self._launch(
            f"logp_{logits_dtype}",
            bias,
            logit_softcap,
            n_rows=n_rows,
            vocab=vocab,
            logits=logits,
            logits_stride=logits_stride,
            labels=labels,
            logp=logp,
            entropy=entropy,
            scale=logit_scale,
        )


@functools.cache
def host_kernels(threads: int = 1) -> HostKernels:
    """The kernels run by a team of ``threads``; skips the calling test without a C++ compiler."""
    return HostKernels(threads)
