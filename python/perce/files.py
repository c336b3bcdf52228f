"""Files that appear whole or not at all, and writes that are on the disk when they return."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a scratch file beside ``path`` that takes its place if the block ends without an error.

    Its content is on the disk before it has its name.

    Raises:
        OSError: ``path`` is a folder, or cannot be made.
    """
    scratch = scratch_beside(path)
    try:
        yield scratch
        # A scratch file is private; what it becomes is readable as any file the user makes.
        mask = os.umask(0)
        os.umask(mask)
        scratch.chmod(0o666 & ~mask)
        flush(scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def scratch_beside(path: Path) -> Path:
    """Make an empty file in the folder of ``path``; the folder, too, if need be.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(handle)
    return Path(name)


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Yield whether this process is the only one that asked to be alone in a folder.

    A process that ends, however it ends, lets go of the folder. Where the system or the file system
    knows no such locks, everybody is told that they are alone.

    Raises:
        OSError: the folder cannot be opened.
    """
    if sys.platform == "win32":
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        alone = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        except OSError:  # as network file systems say that folders cannot be locked
            pass
        yield alone
    finally:
        os.close(handle)


def flush(path: Path) -> None:
    """Bring a file, or a folder's list of names, onto the disk.

    Raises:
        OSError: the disk is full, or does not answer.
    """
    if os.name == "nt" and path.is_dir():  # a folder cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
