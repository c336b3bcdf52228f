"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perce.errors import OptionError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a scratch file beside ``path`` that takes its place if the block ends without an error.

    Raises:
        OptionError: ``path`` is a folder, or cannot be made: its folder is absent or read-only.
    """
    scratch = _scratch_beside(path)
    try:
        yield scratch
        # A scratch file is private; what it becomes is readable as any file the user makes.
        mask = os.umask(0)
        os.umask(mask)
        scratch.chmod(0o666 & ~mask)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def check_writable(*paths: Path | None) -> None:
    """Make sure, before long work, that its results can be written; None is skipped.

    Raises:
        OptionError: a path is a folder, or cannot be made.
    """
    for path in paths:
        if path is not None:
            _scratch_beside(path).unlink()


def _scratch_beside(path: Path) -> Path:
    if path.is_dir():
        raise OptionError(str(path), "is a folder; name a file to write")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise OptionError(str(path), f"cannot be written: {error.strerror}") from error
    os.close(handle)
    return Path(name)
