"""Files of a ledger that appear whole or not at all, and errors that name them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perce import files
from perce.errors import LedgerError


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turn what the system says against writing somewhere into a LedgerError."""
    try:
        yield
    except OSError as error:
        raise LedgerError(
            f"{place} cannot be written: {error.strerror or error}; make room for it, or choose "
            "another place",
            str(place),
        ) from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a scratch file beside ``path`` that takes its place if the block ends without an error.

    Raises:
        LedgerError: it cannot be written.
    """
    with writing(path), files.replacing(path) as scratch:
        yield scratch
