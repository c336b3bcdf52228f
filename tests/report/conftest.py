"""Views for the report tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import numpy as np
import pytest

from perce.data import Message
from perce.report import RecordView, ShownItem


def make_view(
    text: str = "Take the tram in Lisbon.",
    *,
    record: str = "r0",
    user: str = "Ana",
    profile: tuple[ShownItem, ...] = (ShownItem("I live in Lisbon.", "kept"),),
    query: str = "Plan my weekend.",
    personal: Collection[str] = ("tram", "Lisbon"),
) -> RecordView:
    """A view of ``text`` cut into words: the ``personal`` ones have PIR 3, all others -0.1."""
    pieces = tuple(re.findall(r" ?\w+|.", text, re.DOTALL))
    pir = np.array([3.0 if piece.strip() in personal else -0.1 for piece in pieces], np.float32)
    logp_with = np.full(len(pieces), -1.0, np.float32)
    return RecordView(
        id=record,
        user_id=user,
        profile=profile,
        messages=(Message("user", query),),
        pieces=pieces,
        logp_with=logp_with,
        logp_without=logp_with - pir,
        pir=pir,
    )


@pytest.fixture(scope="session")
def view() -> Callable[..., RecordView]:
    return make_view
