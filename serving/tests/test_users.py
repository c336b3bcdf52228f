"""User ids, their folders, and the names of adapters."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce_serving.errors import UserError
from perce_serving.users import (
    MAX_ID_BYTES,
    adapter_name,
    check_user,
    is_version,
    parse_adapter_name,
    user_folder,
)
from strategies import users, versions

VERSION = "0123456789abcdef" * 4


@given(users(), versions())
def test_a_name_says_whose_and_which(user: str, version: str) -> None:
    assert parse_adapter_name(adapter_name(user, version)) == (user, version)


@given(users(), versions())
def test_a_name_is_plain_ascii_with_one_separator(user: str, version: str) -> None:
    name = adapter_name(user, version)
    assert re.fullmatch(r"user-[A-Za-z0-9._~%-]+@[0-9a-f]{64}", name)


@given(st.text() | st.text(alphabet="user-@%0aA./").map(lambda text: f"user-{text}@{VERSION}"))
def test_every_name_that_parses_is_the_only_spelling(text: str) -> None:
    try:
        parsed = parse_adapter_name(text)
    except UserError:
        return
    assert adapter_name(*parsed) == text


@pytest.mark.parametrize(
    "name",
    [
        "",
        "base",
        "user-alice",
        f"user-@{VERSION}",
        f"alice@{VERSION}",
        f"USER-alice@{VERSION}",
        f"user-alice@{VERSION} ",
        f"user-alice@{VERSION}\n",
        f"user-alice@{VERSION.upper()}",
        f"user-alice@{VERSION[:-1]}",
        f"user-a@b@{VERSION}",
        f"user-a/b@{VERSION}",
        f"user-a b@{VERSION}",
        f"user-%61@{VERSION}",  # 'a' needs no encoding
        f"user-%c3%a9@{VERSION}",  # lower-case digits
        f"user-%ff@{VERSION}",  # not UTF-8
        f"user-%FF@{VERSION}",
        f"user-%@{VERSION}",
        f"user-%0A@{VERSION}",  # a control character
        f"user-alice@{'٣' * 64}",  # digits, but not ASCII
    ],
)
def test_other_spellings_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="not an adapter's name"):
        parse_adapter_name(name)


@given(users(), users())
def test_a_folder_is_an_opaque_digest_of_one_user(one: str, other: str) -> None:
    assert re.fullmatch("[0-9a-f]{64}", user_folder(one))
    assert (user_folder(one) == user_folder(other)) == (one == other)


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("", "empty"),
        ("a\0b", "U+0000"),
        ("a\nb", "character 1"),
        ("\x7f", "U+007F"),
        ("\x85", "U+0085"),
        ("\u2028", "U+2028"),
        ("\ud800", "U+D800"),
        ("x" * (MAX_ID_BYTES + 1), f"{MAX_ID_BYTES + 1} bytes"),
        ("é" * (MAX_ID_BYTES // 2 + 1), f"{MAX_ID_BYTES + 2} bytes"),
    ],
)
def test_ids_that_break_the_rules(user: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        check_user(user)
    assert message in str(error.value)
    assert str(error.value).isprintable()
    with pytest.raises(UserError):
        user_folder(user)
    with pytest.raises(UserError):
        adapter_name(user, VERSION)


@given(st.text())
def test_a_version_has_64_lower_case_digits(text: str) -> None:
    assert is_version(text) == (re.fullmatch("[0-9a-f]{64}", text) is not None)


def test_a_name_needs_a_version() -> None:
    with pytest.raises(UserError, match="64 lower-case"):
        adapter_name("alice", "latest")
