"""The gallery's measure against pairs counted one by one."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce.data.sources.known_truth import known_truths
from perce.demo.known_truth import auroc, truth_auroc

labelled = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30).filter(
    lambda pairs: len({label for _, label in pairs}) == 2
)


@given(labelled)
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    values = np.array([value for value, _ in pairs], np.float32)
    positive = np.array([label for _, label in pairs])
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in values[positive].tolist()
        for b in values[~positive].tolist()
    ]
    assert auroc(values, positive) == pytest.approx(sum(wins) / len(wins), abs=1e-12)


def gallery_table(find: float) -> pa.Table:
    """Tokens of every record, with PIR ``find`` where a token overlaps a marked span, else 0."""
    rows = []
    for truth in known_truths():
        pieces = [*re.findall(r" ?\w+|.", truth.record.response, re.DOTALL), "<|end|>"]
        start = 0
        for position, piece in enumerate(pieces):
            marked = {i for begin, stop in truth.spans for i in range(begin, stop)}
            letters = {start + i for i, letter in enumerate(piece) if not letter.isspace()}
            pir = find if marked & letters else 0.0
            rows.append({"id": truth.record.id, "position": position, "piece": piece, "pir": pir})
            start += len(piece)
    return pa.Table.from_pylist(rows)


def test_a_perfect_and_a_perverse_score() -> None:
    assert truth_auroc(gallery_table(1.0)) == 1.0
    assert truth_auroc(gallery_table(-1.0)) == 0.0
    assert truth_auroc(gallery_table(0.0)) == 0.5
