"""Index arithmetic of ragged columns: rows of unequal length, one after the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]


def token_index(starts: I64, lengths: I64) -> I64:
    """Positions of the tokens of some rows.

    Args:
        starts: int64 [R], where each row begins.
        lengths: int64 [R], its tokens.

    Returns:
        int64 [sum of lengths], row by row.
    """
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)


def repeats(values: I64) -> I64:
    """How often each value has stood in the array before; int64, of its shape."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    counts = np.diff(first, append=len(ordered))
    result = np.empty(len(values), dtype=np.int64)
    result[order] = np.arange(len(ordered)) - np.repeat(first, counts)
    return result
