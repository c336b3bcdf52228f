"""Progress is told whatever the names in it are."""

from __future__ import annotations

import io

import pytest
import rich.console

from perce.report.progress import batches

HOSTILE = "training [/red] \x1b]0;title\x07 \u202e"


@pytest.mark.parametrize("terminal", [False, True])
def test_names_are_text_and_nothing_else(monkeypatch, terminal: bool) -> None:
    out = io.StringIO()
    console = rich.console.Console(file=out, force_terminal=terminal, width=120)
    monkeypatch.setattr(rich.console, "Console", lambda **settings: console)
    with batches() as told:
        told("users", 0, 2)
        told(HOSTILE, 3, 3)
    text = out.getvalue()
    assert "training [/red] ⟨U+001B⟩]0;title⟨U+0007⟩ ⟨U+202E⟩" in text
    assert "\x1b]" not in text
    assert "\u202e" not in text
    assert "3/3" in text
