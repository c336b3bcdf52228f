"""Hypothesis strategies shared by every room's tests."""

from __future__ import annotations

from hypothesis import strategies as st

from perce_serving.users import MAX_ID_BYTES


def users() -> st.SearchStrategy[str]:
    """Any id that may be a user's: hostile texts included."""
    hostile = st.sampled_from(
        ["..", ".", "/", "../../etc/passwd", "a@b", "user-a@" + "0" * 64, "%2e%2e", "A", "a", " ",
         "me", "名前", "é", "e\u0301", "\u202egnp", "a b", "x" * MAX_ID_BYTES]
    )  # fmt: skip
    characters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
    texts = st.text(characters, min_size=1, max_size=MAX_ID_BYTES // 4)
    return hostile | texts


def versions() -> st.SearchStrategy[str]:
    """Any text of a version's form."""
    return st.binary(min_size=32, max_size=32).map(bytes.hex)
