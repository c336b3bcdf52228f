"""``perce env``: what a bug report needs."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

from perce.cli.options import add_option
from perce.errors import KernelError

DESCRIPTION = """\
example:
  perce env

Prints versions, device, processor features, thread counts and kernels: paste it into a bug report.
It names neither the machine nor anybody's folders.
"""

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "accelerate",
    "datasets",
    "numpy",
    "pyarrow",
    "safetensors",
    "bm25s",
    "rouge-score",
    "trl",
)
"""Distributions whose version may matter; an absent one is reported as absent."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")

CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
"""As the kernel spells them; bf16 is Arm's. Those with bf16 make bf16 training fast on CPU."""


def add_parser(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser(
        "env",
        help="print versions, device, kernels and thread counts for a bug report",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_option(parser, "--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    report = describe_environment()
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        width = max(map(len, report))
        for name, value in report.items():
            print(f"{name:{width}}  {value}")
    return 0


def describe_environment() -> dict[str, str | int]:
    """Everything the report says, by name."""
    report: dict[str, str | int] = {
        "perce": importlib.metadata.version("perce"),
        "perce._core": _core(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    for package in PACKAGES:
        try:
            report[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            report[package] = "absent"
    return report | _torch() | _processor()


def _core() -> str:
    try:
        from perce import _core as core
    except ImportError as error:
        # The reason is the loader's; the path before it would name somebody's folder.
        return f"NOT LOADED: {str(error).rpartition('/')[2]}"
    suffix = "".join(Path(core.__file__ or "").suffixes[-2:])
    return f"loaded ({suffix.strip('.')})"


def _torch() -> dict[str, str | int]:
    try:
        import torch
    except ImportError:
        return {"device": "unknown: torch is absent"}
    device = "cpu"
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        device = f"cuda: {count} x {torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"
    return {
        "device": device,
        "kernels": _kernels(torch.cuda.is_available()),
        "torch threads": torch.get_num_threads(),
    }


def _kernels(has_device: bool) -> str:
    """What the ops can run on CUDA tensors."""
    try:
        from perce import _core as core
    except ImportError:
        return "unknown: perce._core is not loaded"
    architectures = core.cuda_architectures()
    if not architectures:
        return "none: this build has no CUDA kernels, CUDA tensors take the torch back end"
    held = f"CUDA kernels for {', '.join(architectures)}"
    if not has_device:
        return held
    try:
        core.cuda_load(0)
    except KernelError as error:
        return f"{held}; not on this device: {error}"
    return f"{held}; loaded on this device"


def _processor() -> dict[str, str | int]:
    report: dict[str, str | int] = {
        "cores": _usable_cores(),
        "cpu features": ", ".join(_cpu_features()) or "unknown",
    }
    for variable in THREAD_VARIABLES:
        report[variable] = os.environ.get(variable, "not set")
    return report


def _usable_cores() -> int:
    """Cores this process may run on, fewer than the machine has inside a limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_features() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            found = set(value.split())
            return [feature for feature in CPU_FEATURES if feature in found]
    return []
