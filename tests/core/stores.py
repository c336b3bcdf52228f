"""Token stores for tests: as plain lists, which oracles read, and as the arrays of the core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from perce import _core


@dataclass(frozen=True)
class Rows:
    """Records as lists of ids."""

    prefix_with: list[list[int]]
    prefix_without: list[list[int]]
    response: list[list[int]]

    def __len__(self) -> int:
        return len(self.response)

    def arrays(self) -> list[npt.NDArray]:
        columns = (self.prefix_with, self.prefix_without, self.response)
        return [array for column in columns for array in ragged(column)]

    def store(self) -> _core.TokenStore:
        return _core.TokenStore(*self.arrays())

    def lengths(self) -> tuple[list[int], list[int]]:
        return tuple(
            [len(p) + len(r) for p, r in zip(prefix, self.response, strict=True)]
            for prefix in (self.prefix_with, self.prefix_without)
        )


def ragged(rows: list[list[int]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return np.array([i for row in rows for i in row], dtype=np.int32), offsets


@st.composite
def rows(draw: st.DrawFn, max_records: int = 20) -> Rows:
    """1 to ``max_records`` records; empty profiles and one-token responses are common."""
    ids = st.integers(0, 2**31 - 1)
    records = draw(
        st.lists(
            st.tuples(
                st.lists(ids, max_size=6),
                st.lists(ids, min_size=1, max_size=4),
                st.one_of(
                    st.lists(ids, min_size=1, max_size=1), st.lists(ids, min_size=1, max_size=7)
                ),
            ),
            min_size=1,
            max_size=max_records,
        )
    )
    return Rows(
        [profile + query for profile, query, _ in records],
        [query for _, query, _ in records],
        [response for _, _, response in records],
    )


def example(records: int = 23, seed: int = 0) -> Rows:
    """Records of mixed lengths, the same every time."""
    rng = np.random.default_rng(seed)

    def column(low: int, high: int) -> list[list[int]]:
        return [rng.integers(0, 1000, rng.integers(low, high)).tolist() for _ in range(records)]

    return Rows(column(5, 30), column(1, 6), column(1, 9))
