"""The threat model names the test of each defence, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent.parent / "docs" / "serving-security.md"

# The source archive of this distribution has the tests without the repository's pages.
pytestmark = pytest.mark.skipif(not PAGE.parent.exists(), reason="outside the repository")


def named() -> list[tuple[str, str]]:
    """File and function of every test named on the page."""
    return re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE.read_text())


def test_every_test_that_is_named_exists() -> None:
    assert len(named()) > 40
    for file, function in named():
        tree = ast.parse((TESTS / file).read_text())
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        found = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
        assert function in found, f"{PAGE.name} names {file}::{function}"


def test_every_defence_names_a_test() -> None:
    _, defended, _ = re.split(
        r"^## What is (?:not )?defended$", PAGE.read_text(), flags=re.MULTILINE
    )
    # A defence is a list's item, or all of a section that has no list.
    for section in defended.split("\n### ")[1:]:
        for defence in section.split("\n- ")[1:] or [section]:
            assert "::test_" in defence, f"no test is named for: {defence[:80]}"
