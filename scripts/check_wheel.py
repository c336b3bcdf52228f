"""Check a wheel, or the source archive, as a user meets it: in a bare environment, without a GPU.

    python scripts/check_wheel.py dist/perce-*.whl --kernels with
    python scripts/check_wheel.py dist/perce-*.tar.gz --kernels without

A wheel is looked at first: its tags (one build for every Python from 3.11 on, manylinux), its size,
and what its extension links, which must not be CUDA. A source archive is built as pip would. Either
is then installed beside the tested versions of its dependencies into a new environment, where the
import, a loss and its gradient on the CPU, and ``perce env`` must be right. Needs uv and, for a
wheel, readelf on the PATH.

Exits with 1 at the first thing that is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 3_000_000
TAGS = re.compile(r"perce-[^-]+-cp311-abi3-manylinux_\d+_\d+_(x86_64|aarch64)\.whl")
SYSTEM = re.compile(r"(libc|libm|libdl|libpthread|librt|libgcc_s|ld-linux-[\w-]+)\.so\.\d+")
"""What every Linux has. Everything else, libcuda and libcudart first of all, is found at run time
or not needed."""

PROBE = """
import json, pathlib, sys
import torch
import perce
from perce import _core, linear_weighted_ce

generator = torch.Generator().manual_seed(0)
hidden = torch.randn(40, 16, generator=generator, requires_grad=True)
head = torch.randn(101, 16, generator=generator)
labels = torch.randint(101, (40,), generator=generator)
weights = torch.rand(40, generator=generator)
(got,) = torch.autograd.grad(linear_weighted_ce(hidden, head, labels, weights=weights).loss, hidden)
each = torch.nn.functional.cross_entropy(hidden @ head.t(), labels, reduction="none")
(expected,) = torch.autograd.grad((weights * each).sum() / 40, hidden)
torch.testing.assert_close(got, expected)
print(json.dumps({
    "inside": pathlib.Path(perce.__file__).is_relative_to(sys.prefix),
    "architectures": _core.cuda_architectures(),
}))
"""


class CheckError(Exception):
    """What is wrong."""


def check_file(wheel: Path) -> None:
    """Check a wheel's tags, size and links without installing it."""
    if not TAGS.fullmatch(wheel.name):
        raise CheckError(f"{wheel.name}: the tags are not cp311-abi3-manylinux")
    size = wheel.stat().st_size
    if size >= MAX_BYTES:
        raise CheckError(f"{wheel.name}: {size} bytes, {MAX_BYTES} or more")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if ".so" in Path(name).suffixes]
        if libraries != ["perce/_core.abi3.so"]:
            raise CheckError(f"{wheel.name}: holds {libraries}, not perce/_core.abi3.so alone")
        links = linked(Path(archive.extract(libraries[0], folder)))
    foreign = [name for name in links if not SYSTEM.fullmatch(name)]
    if foreign:
        raise CheckError(f"{wheel.name}: {libraries[0]} links {', '.join(foreign)}")
    print(f"{wheel.name}: {size / 1e3:.0f} kB, links {', '.join(links)}")


def linked(library: Path) -> list[str]:
    """The libraries that the loader must find before this one."""
    dynamic = run("readelf", "--dynamic", "--wide", str(library))
    return re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic)


def check_installed(package: Path, kernels: str) -> None:
    """Install into a new environment and check what it does there."""
    with tempfile.TemporaryDirectory() as folder:
        run("uv", "venv", "--quiet", "--no-python-downloads", "--python", sys.executable, folder)
        python = Path(folder, "bin", "python")
        # The versions that are tested; an offline or private index is the caller's environment.
        pins = ("--constraint", str(ROOT / "requirements" / "demo.txt"))
        run("uv", "pip", "install", "--quiet", "--python", str(python), *pins, str(package))
        facts = json.loads(run(str(python), "-I", "-c", PROBE, folder=folder))
        if not facts["inside"]:
            raise CheckError(f"{package.name}: the import found another perce")
        report = json.loads(run(str(python.with_name("perce")), "env", "--json", folder=folder))
    says = report["kernels"]
    if bool(facts["architectures"]) != (kernels == "with"):
        raise CheckError(f"{package.name}: should be {kernels} kernels, perce env says: {says}")
    if kernels == "without" and "no CUDA kernels" not in says:
        raise CheckError(f"{package.name}: has no kernels, yet perce env says: {says}")
    print(f"{package.name}: installed, imported, trained on CPU; kernels: {says}")


def run(*command: str, folder: str | None = None) -> str:
    """Run a command and return what it printed."""
    # What a caller's environment adds to Python's path would not be a bare environment.
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=folder, env=bare
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip()[-2000:]
        raise CheckError(f"{Path(command[0]).name} {command[1]} failed: {last}")
    return done.stdout


def main() -> int:
    """Check each archive that is named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path, nargs="+", help="a wheel or a source archive")
    parser.add_argument("--kernels", choices=("with", "without"), required=True)
    arguments = parser.parse_args()
    try:
        for package in arguments.package:
            if package.suffix == ".whl":
                check_file(package)
            check_installed(package.resolve(), arguments.kernels)
    except CheckError as error:
        print(f"check_wheel: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
