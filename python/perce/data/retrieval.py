"""Which items of a profile matter for a query.

Every method is a pure function of its arguments: ties keep the source's order, nothing depends on
the clock, the process or the records before.
"""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from perce.data.record import ProfileItem
from perce.errors import MissingExtraError, OptionError

Method = Literal["bm25", "recency", "random", "none"]
"""How :func:`retrieve` orders items."""

METHODS: tuple[str, ...] = get_args(Method)


def retrieve(
    items: Sequence[ProfileItem],
    query: str,
    *,
    method: str = "bm25",
    k: int | None = 4,
    seed: int = 0,
) -> tuple[ProfileItem, ...]:
    """Choose at most ``k`` items, most relevant first.

    Args:
        items: The profile, in the source's order.
        query: What to search with; ``bm25`` reads its words, ``random`` mixes it into the seed.
        method: ``bm25``: Okapi BM25 (Lucene's variant, by ``bm25s``) over
            :attr:`ProfileItem.search_text`. ``recency``: newest ``date`` first; items without a
            date come after all dated ones, in the source's order. ``random``: a shuffle that
            depends on ``seed`` and ``query`` alone. ``none``: the source's order.
        k: How many to return; None for all, ordered.
        seed: For ``random``.

    Raises:
        OptionError: Unknown method, or ``k`` below 0.
        MissingExtraError: ``bm25`` without ``bm25s`` installed.
    """
    if k is not None and k < 0:
        raise OptionError("k", f"{k} is negative; give how many profile items to keep")
    if method not in METHODS:
        raise OptionError("retrieval", f"unknown method {method!r}; one of {', '.join(METHODS)}")
    if method == "bm25":
        order = _bm25_order([item.search_text or item.text for item in items], query)
    elif method == "recency":
        order = sorted(range(len(items)), key=lambda index: items[index].date, reverse=True)
    elif method == "random":
        order = list(range(len(items)))
        digest = hashlib.sha256(f"{seed}\0{query}".encode()).digest()
        random.Random(int.from_bytes(digest[:8], "big")).shuffle(order)
    else:
        order = list(range(len(items)))
    return tuple(items[index] for index in order[:k])


def _bm25_order(texts: list[str], query: str) -> list[int]:
    """Indices of ``texts`` by falling BM25 score; equal scores keep their order."""
    try:
        import bm25s
    except ImportError:
        raise MissingExtraError("bm25s", "retrieval") from None
    # It lets every message through by itself, a line a query wherever logging is set up.
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    if len(texts) < 2:
        return list(range(len(texts)))
    # Strings instead of ids, so that query and corpus need no shared vocabulary object.
    corpus_words = bm25s.tokenize(texts, return_ids=False, show_progress=False)
    query_words = set(bm25s.tokenize(query, return_ids=False, show_progress=False)[0])
    known = sorted(query_words.intersection(*[set().union(*corpus_words)]))
    if not known:  # an empty query, only stop words, or no word in common: nothing to rank by
        return list(range(len(texts)))
    index = bm25s.BM25()
    index.index(corpus_words, show_progress=False)
    # All scores instead of bm25s's own top k: that raises when k exceeds the corpus and orders
    # ties by an unstable partition.
    scores = index.get_scores(known)
    return [int(position) for position in np.argsort(-scores, kind="stable")]
