"""ROUGE against counting by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from perce.evaluation import rouge

words = st.lists(st.sampled_from(["tea", "sea", "walk", "stone"]), min_size=1, max_size=8)


def f1(overlap: int, reference: int, generation: int) -> float:
    return 2 * overlap / (reference + generation)


def longest_common(a: list[str], b: list[str]) -> int:
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return longest_common(a[:-1], b[:-1]) + 1
    return max(longest_common(a[:-1], b), longest_common(a, b[:-1]))


@given(words, words)
def test_rouge_counts_words_and_common_subsequences(a: list[str], b: list[str]) -> None:
    scores = rouge([" ".join(a)], [" ".join(b)])
    overlap = sum(min(a.count(word), b.count(word)) for word in set(a))
    np.testing.assert_allclose(scores["rouge1"], [f1(overlap, len(a), len(b))], atol=1e-12)
    np.testing.assert_allclose(
        scores["rougeL"], [f1(longest_common(a, b), len(a), len(b))], atol=1e-12
    )


def test_an_empty_generation_scores_zero_and_none_score_nothing() -> None:
    assert rouge(["a text"], [""])["rouge1"].tolist() == [0.0]
    assert rouge([], [])["rougeL"].shape == (0,)
