"""A look at every value, since what an adapter computes enters a cache that users share.

vLLM casts an adapter to the dtype it serves in and multiplies B by the scaling. A value counts as
bad if it is not finite in float16, the narrowest of those dtypes, at either of these steps.
"""

from __future__ import annotations

from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perce_serving.faults import Fault

FLOAT16_MAX = 65504.0
Norms = NDArray[np.float32]
_BLOCK = 1 << 20


class _Format(NamedTuple):
    """How a dtype's bits, read as an integer without the sign bit, order its magnitudes."""

    bits: np.dtype[np.uint32] | np.dtype[np.uint16]
    magnitude: int
    """All bits but the sign."""
    infinity: int
    """Magnitude of an infinity; what is above it is not a number."""


_FORMATS = {
    "F32": _Format(np.dtype("<u4"), 0x7FFF_FFFF, 0x7F80_0000),
    "F16": _Format(np.dtype("<u2"), 0x7FFF, 0x7C00),
    "BF16": _Format(np.dtype("<u2"), 0x7FFF, 0x7F80),
}
DTYPES = tuple(_FORMATS)
"""The dtypes of weights that are served, as the format spells them."""


def item_size(dtype: str) -> int:
    """Bytes of one value of a served dtype."""
    return _FORMATS[dtype].bits.itemsize


def find_fault(file: BinaryIO, begin: int, end: int, dtype: str, most: float) -> Fault | None:
    """Look at all values between two bytes of a file, in blocks of 1 MiB.

    Args:
        file: open for reading.
        begin: first byte.
        end: one past the last byte.
        dtype: of ``DTYPES``.
        most: largest magnitude that is no fault.

    Returns:
        ``NAN``, ``INFINITE``, ``TOO_LARGE``, or None.

    Raises:
        EOFError: the file ends before ``end``.
        OSError: the file cannot be read.
    """
    form = _FORMATS[dtype]
    file.seek(begin)
    largest = 0
    for start in range(begin, end, _BLOCK):
        wanted = min(_BLOCK, end - start)
        block = file.read(wanted)
        if len(block) != wanted:
            raise EOFError
        bits: NDArray[np.uint32 | np.uint16] = np.frombuffer(block, form.bits)
        largest = max(largest, int((bits & form.bits.type(form.magnitude)).max()))
    if largest > form.infinity:
        return Fault.NAN
    if largest == form.infinity:
        return Fault.INFINITE
    value = _floats(np.array([largest], form.bits), dtype)[0]
    return Fault.TOO_LARGE if value > most else None


def row_norms(file: BinaryIO, begin: int, shape: tuple[int, int], dtype: str) -> Norms:
    """Euclidean norm of each row of a matrix in which ``find_fault`` has found none.

    Args:
        file: open for reading.
        begin: first byte of the matrix.
        shape: its rows and columns.
        dtype: of ``DTYPES``.

    Raises:
        EOFError: the file ends before the matrix.
        OSError: the file cannot be read.
    """
    rows, columns = shape
    width = columns * item_size(dtype)
    file.seek(begin)
    norms = np.empty(rows, np.float32)
    step = max(1, _BLOCK // width)
    for start in range(0, rows, step):
        part = norms[start : start + step]
        block = file.read(len(part) * width)
        if len(block) != len(part) * width:
            raise EOFError
        values = _floats(np.frombuffer(block, _FORMATS[dtype].bits), dtype).reshape(-1, columns)
        np.sqrt(np.einsum("ij,ij->i", values, values), out=part)
    return norms


def read_floats(file: BinaryIO, begin: int, end: int, dtype: str) -> Norms:
    """The values between two bytes of a file.

    Raises:
        OSError: the file cannot be read.
    """
    file.seek(begin)
    return _floats(np.frombuffer(file.read(end - begin), _FORMATS[dtype].bits), dtype)


def _floats(bits: NDArray[np.uint32 | np.uint16], dtype: str) -> Norms:
    """Values by their bits."""
    if dtype == "F16":
        return bits.view(np.float16).astype(np.float32)
    if dtype == "BF16":  # the upper half of a float32
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(np.float32)
