"""Compile the kernels for every architecture and print what the assembler made of them.

    python cuda/report.py           the table of docs/kernel.md
    python cuda/report.py --json    the same for programs

nvcc is looked for in CUDA_HOME, CUDA_PATH and PATH; exit status 3 means that there is none.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

HERE = Path(__file__).resolve().parent
NO_NVCC = 3


class Kernel(TypedDict):
    """What ptxas says of one kernel on one architecture; sizes in bytes."""

    name: str
    architecture: str
    registers: int
    stack: int
    spilled: int


class Report(TypedDict):
    """All kernels, and the size of the compressed fatbin in bytes."""

    release: str
    kernels: list[Kernel]
    fatbin: int


def find_nvcc() -> str | None:
    """The compiler, or None."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    path = os.pathsep.join(
        [*(str(Path(home) / "bin") for home in homes), os.environ.get("PATH", "")]
    )
    return shutil.which("nvcc", path=path)


def _list(name: str) -> list[str]:
    """A list of strings in build.rs, so that both compile alike."""
    text = (HERE / "build.rs").read_text()
    found = re.search(rf"const {name}: [^=]*= \[(.*?)\];", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"build.rs has no list {name}")
    return re.findall(r'"([^"]*)"', found[1])


def _kernels(log: str) -> Iterator[Kernel]:
    for part in log.split("Compiling entry function ")[1:]:
        name, architecture = re.findall(r"'([^']*)'", part)[:2]
        registers, stack, spilled = (
            int(re.findall(pattern, part)[0])
            for pattern in (r"Used (\d+) reg", r"(\d+) bytes stack", r"(\d+) bytes spill stores")
        )
        yield Kernel(
            name=name.removeprefix("perce_"),
            architecture=architecture,
            registers=registers,
            stack=stack,
            spilled=spilled,
        )


def measure(nvcc: str) -> Report:
    """Compile as build.rs does."""
    capabilities = _list("CAPABILITIES")
    targets = [f"-gencode=arch=compute_{each},code=sm_{each}" for each in capabilities]
    targets.append("-gencode=arch=compute_{0},code=compute_{0}".format(capabilities[-1]))
    with tempfile.TemporaryDirectory() as folder:
        fatbin = Path(folder) / "rows.fatbin"
        source = HERE / "kernels" / "rows.cu"
        options = [*_list("FLAGS"), "--resource-usage", f"--threads={os.cpu_count()}", *targets]
        done = subprocess.run(
            [nvcc, *options, "-o", str(fatbin), str(source)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        kernels = sorted(_kernels(done.stderr + done.stdout), key=lambda each: each["name"])
        version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True)
        release = re.findall(r"V(\d+\.\d+\.\d+)", version.stdout)[0]
        return Report(release=release, kernels=kernels, fatbin=fatbin.stat().st_size)


def table(report: Report) -> str:
    """Registers of each kernel on each architecture, in Markdown."""
    kernels = report["kernels"]
    found = {each["architecture"] for each in kernels}
    architectures = sorted(found, key=lambda architecture: int(architecture[3:]))
    rows = [["kernel", *architectures], ["---"] * (len(architectures) + 1)]
    for name in dict.fromkeys(each["name"] for each in kernels):
        of = {each["architecture"]: each["registers"] for each in kernels if each["name"] == name}
        rows.append([name, *(str(of[architecture]) for architecture in architectures)])
    stack = sum(each["stack"] for each in kernels)
    spilled = sum(each["spilled"] for each in kernels)
    summary = (
        f"nvcc {report['release']}; registers a thread. Spilled over all: {spilled} bytes; "
        f"stack: {stack} bytes; compressed fatbin: {report['fatbin']:,} bytes."
    )
    return "\n".join([summary, "", *("| " + " | ".join(row) + " |" for row in rows)])


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        sys.stderr.write("no nvcc: set CUDA_HOME\n")
        raise SystemExit(NO_NVCC)
    report = measure(nvcc)
    sys.stdout.write((json.dumps(report) if options.json else table(report)) + "\n")


if __name__ == "__main__":
    main()
