"""The check of a wheel lets no wheel pass that it should stop."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from check_wheel import MAX_BYTES, CheckError, check_file
from perce import _core

NAME = "perce-0.1.0-cp311-abi3-manylinux_2_28_x86_64.whl"
LIBRARY = "perce/_core.abi3.so"

pytestmark = pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is absent")


def wheel(folder: Path, files: dict[str, bytes], name: str = NAME) -> Path:
    """A wheel that holds these files."""
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return path


@pytest.fixture(scope="module")
def extension() -> bytes:
    return Path(_core.__file__ or "").read_bytes()


def test_ours_passes(tmp_path: Path, extension: bytes) -> None:
    check_file(wheel(tmp_path, {LIBRARY: extension, "perce/__init__.py": b""}))


@pytest.mark.parametrize(
    "name",
    [
        "perce-0.1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        "perce-0.1.0-cp311-abi3-linux_x86_64.whl",
        "perce-0.1.0-cp312-abi3-manylinux_2_28_x86_64.whl",
        "perce-0.1.0-py3-none-any.whl",
    ],
)
def test_tags(tmp_path: Path, extension: bytes, name: str) -> None:
    with pytest.raises(CheckError, match="the tags are not"):
        check_file(wheel(tmp_path, {LIBRARY: extension}, name))


def test_size(tmp_path: Path, extension: bytes) -> None:
    noise = np.random.default_rng(0).bytes(MAX_BYTES)
    with pytest.raises(CheckError, match="bytes, 3000000 or more"):
        check_file(wheel(tmp_path, {LIBRARY: extension, "perce/noise": noise}))


@pytest.mark.parametrize("more", ["perce.libs/libcudart.so.13", "perce/_core.cpython-311.so"])
def test_a_second_library(tmp_path: Path, extension: bytes, more: str) -> None:
    with pytest.raises(CheckError, match="alone"):
        check_file(wheel(tmp_path, {LIBRARY: extension, more: b""}))


def test_links(tmp_path: Path) -> None:
    links_torch = Path(torch._C.__file__).read_bytes()
    with pytest.raises(CheckError, match=r"links libtorch_python\.so"):
        check_file(wheel(tmp_path, {LIBRARY: links_torch}))
