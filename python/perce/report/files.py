"""Results that appear whole or not at all, at places that are looked at before long work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perce import files
from perce.errors import OptionError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a scratch file beside ``path`` that takes its place if the block ends without an error.

    Raises:
        OptionError: ``path`` is a folder, or cannot be made: its folder is absent or read-only.
    """
    check_writable(path)
    with files.replacing(path) as scratch:
        yield scratch


def check_writable(*paths: Path | None) -> None:
    """Make sure, before long work, that its results can be written; None is skipped.

    Raises:
        OptionError: a path is a folder, or cannot be made.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise OptionError(str(path), "is a folder; name a file to write")
        try:
            files.scratch_beside(path).unlink()
        except OSError as error:
            raise OptionError(str(path), f"cannot be written: {error.strerror}") from error
