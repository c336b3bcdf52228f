import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce.data import ProfileItem, retrieve
from perce.data.retrieval import METHODS
from perce.errors import OptionError

WORDS = st.lists(st.sampled_from(["cat", "dog", "sea", "the", "tree", "!!"]), max_size=6).map(
    " ".join
)
ITEMS = st.lists(
    st.builds(
        ProfileItem,
        text=WORDS.map(lambda words: words or "-"),
        date=st.sampled_from(["", "2019", "2020-05", "2021-01-31"]),
    ),
    max_size=8,
)


@given(items=ITEMS, query=WORDS, method=st.sampled_from(METHODS), k=st.none() | st.integers(0, 10))
def test_some_of_the_items_each_once_and_always_the_same(
    items: list[ProfileItem], query: str, method: str, k: int | None
) -> None:
    chosen = retrieve(items, query, method=method, k=k)
    assert len(chosen) == (len(items) if k is None else min(k, len(items)))
    left = list(items)
    for item in chosen:
        left.remove(item)
    assert chosen == retrieve(items, query, method=method, k=k)
    assert chosen == retrieve(items, query, method=method, k=None)[: len(chosen)]


@given(items=ITEMS)
def test_recency_is_a_stable_sort_with_undated_items_last(items: list[ProfileItem]) -> None:
    ordered = retrieve(items, "", method="recency", k=None)
    dated = sorted((i for i in items if i.date), key=lambda item: item.date, reverse=True)
    assert list(ordered) == dated + [item for item in items if not item.date]


def test_bm25_finds_the_item_about_the_query() -> None:
    items = [ProfileItem("a dog ran home"), ProfileItem("my cat sleeps"), ProfileItem("the sea")]
    assert retrieve(items, "Where is the cat?", k=1) == (items[1],)


def test_bm25_reads_the_search_text() -> None:
    items = [
        ProfileItem("cat"),
        ProfileItem("x", search_text="dog"),
        ProfileItem("y", search_text="cow"),
    ]
    assert retrieve(items, "dog", k=1) == (items[1],)


@pytest.mark.parametrize("query", ["", "the of and", "zebra", "!!!"])
def test_bm25_without_a_word_in_common_keeps_the_order(query: str) -> None:
    items = [ProfileItem(text) for text in ("a cat", "the", "a dog", "!!")]
    assert retrieve(items, query, k=3) == tuple(items[:3])


def test_random_depends_on_seed_and_query_alone() -> None:
    items = [ProfileItem(str(number)) for number in range(30)]
    first = retrieve(items, "q", method="random", k=None, seed=1)
    random.seed(7)
    assert first == retrieve(items, "q", method="random", k=None, seed=1)
    assert first != retrieve(items, "q", method="random", k=None, seed=2)
    assert first != retrieve(items, "p", method="random", k=None, seed=1)


def test_bad_options() -> None:
    with pytest.raises(OptionError, match="k: -1 is negative"):
        retrieve([], "", k=-1)
    with pytest.raises(OptionError, match="retrieval: unknown method 'dense'; one of bm25"):
        retrieve([], "", method="dense")


def test_bm25_logs_nothing_where_logging_is_set_up(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("bm25s").setLevel(logging.DEBUG)  # as bm25s sets it
    items = [ProfileItem(text="a cat"), ProfileItem(text="a dog")]
    assert retrieve(items, "dog", k=1) == (items[1],)
    assert not [record for record in caplog.records if record.name == "bm25s"]
