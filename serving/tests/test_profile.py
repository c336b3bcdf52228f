"""What may be a profile, and how it is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from perce_serving.errors import ProfileError
from perce_serving.profile import (
    MOST_BYTES,
    MOST_ITEMS,
    ProfileItem,
    check_profile,
    encode_items,
    parse_profile,
    profile_version,
)
from strategies import profiles


@given(items=profiles())
def test_a_profile_survives_its_own_json(items: tuple[ProfileItem, ...]) -> None:
    text = encode_items(items)
    assert parse_profile(text) == items
    assert parse_profile(json.dumps(json.loads(text)).encode()) == items


@given(one=profiles(), other=profiles())
def test_one_content_has_one_name(
    one: tuple[ProfileItem, ...], other: tuple[ProfileItem, ...]
) -> None:
    assert (profile_version(one) == profile_version(other)) == (one == other)


def test_items_are_perce_s() -> None:
    data = pytest.importorskip("perce.data")
    assert tuple(ProfileItem.__slots__) == data.ProfileItem.__slots__
    sources = pytest.importorskip("perce.data.sources.tabular")
    rows: list[Any] = [
        "a", {"text": "b", "date": "2020"}, {"content": "c"}, {"title": "t", "content": "c"},
        {"title": None, "content": "c", "text": ""}, {"text": "x", "title": "t", "content": "c"},
    ]  # fmt: skip
    theirs = [
        tuple(getattr(item, name) for name in data.ProfileItem.__slots__)
        for item in sources._profile([row for row in rows if row != rows[4]])
    ]
    ours = parse_profile(json.dumps(rows).encode())
    assert ours[4] == ProfileItem("c", content="c")
    mine = [item for index, item in enumerate(ours) if index != 4]
    assert [tuple(getattr(i, n) for n in ProfileItem.__slots__) for i in mine] == theirs


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not JSON"),
        (b"\xff[]", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"text": "a"}', "not a list"),
        (b'"a"', "not a list"),
        (b"[1]", "[0]: neither a text nor an object"),
        (b'["a", {}]', "[1]: has neither text nor content"),
        (b'["a", {"title": "t"}]', "[1]: has neither text nor content"),
        (b'["a", {"text": 1}]', "[1].text: not a text"),
        (b'[{"text": "a", "colour": "blue"}]', "[0].colour: unknown; one of text, title"),
        (b'["a", " \\n"]', "[1].text: is empty"),
        (b'["a\\ud800"]', "[0].text: half of a surrogate pair at character 1"),
        (b'[{"text": "a", "date": "\\udc00"}]', "[0].date: half of a surrogate pair"),
        (b" " * (MOST_BYTES + 1), f"over {MOST_BYTES} bytes"),
    ],
)
def test_what_is_refused(text: bytes, said: str) -> None:
    with pytest.raises(ProfileError) as error:
        parse_profile(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_how_much_it_may_be() -> None:
    assert len(check_profile([ProfileItem("a")] * MOST_ITEMS)) == MOST_ITEMS
    with pytest.raises(ProfileError, match="10001 items"):
        check_profile([ProfileItem("a")] * (MOST_ITEMS + 1))
    room = MOST_BYTES - len(encode_items([ProfileItem("")])) - len('"text":""')
    check_profile([ProfileItem("a" * room)])
    with pytest.raises(ProfileError, match=f"over {MOST_BYTES} bytes"):
        check_profile([ProfileItem("a" * (room + 1))])
