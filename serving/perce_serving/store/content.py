"""The content of a version: a copy of an adapter's files, and the hash that names it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from perce_serving.validate.files import ADAPTER_FILES, open_regular

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Content:
    """Digests (SHA-256, hexadecimal) and size of an adapter's files."""

    digests: dict[str, str]
    """By file name, in the order of ``ADAPTER_FILES``."""
    size: int
    """Bytes of all files."""

    @property
    def version(self) -> str:
        """The name of this content: SHA-256 over the files' names and digests."""
        whole = hashlib.sha256(b"perce-serving version\0")
        for name, digest in self.digests.items():
            whole.update(f"{name}\0{digest}\0".encode())
        return whole.hexdigest()


def read_content(folder: Path) -> Content:
    """Hash the adapter in ``folder``.

    Raises:
        ValidationError: a file is absent, a link, or no regular file.
        OSError: a file cannot be read.
    """
    return _read(folder, None)


def copy_content(folder: Path, target: Path) -> Content:
    """Copy the adapter in ``folder`` into the folder ``target``, onto the disk, and hash the copy.

    Raises:
        ValidationError: a file is absent, a link, or no regular file.
        OSError: a file cannot be read or written.
    """
    return _read(folder, target)


def _read(folder: Path, target: Path | None) -> Content:
    digests: dict[str, str] = {}
    size = 0
    for name in ADAPTER_FILES:
        digest = hashlib.sha256()
        with (
            open_regular(folder / name) as source,
            (Path(os.devnull) if target is None else target / name).open("wb") as copy,
        ):
            while block := source.read(_BLOCK):
                digest.update(block)
                copy.write(block)
                size += len(block)
            if target is not None:
                copy.flush()
                os.fsync(copy.fileno())
        digests[name] = digest.hexdigest()
    return Content(digests, size)
