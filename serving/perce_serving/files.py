"""Small files that appear whole or not at all, and writes that are on the disk when they return."""

from __future__ import annotations

import os
from pathlib import Path


def flush(path: Path) -> None:
    """Bring a file, or a folder's list of names, onto the disk.

    Raises:
        OSError: the disk is full, or does not answer.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: bytes) -> None:
    """Write a file and bring its content, though not yet its name, onto the disk.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def move(source: Path, target: Path) -> None:
    """Rename within one file system and bring the new name onto the disk.

    Raises:
        OSError: there is no such source, or the target is a folder that is not empty.
    """
    source.rename(target)
    flush(target.parent)
