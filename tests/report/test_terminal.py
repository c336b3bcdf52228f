"""The heat map in a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from rich.console import Console

from perce.report import RecordView, ShownItem, print_scores
from perce.report.terminal import shaded


def printed(views: list[RecordView], **settings: object) -> str:
    out = io.StringIO()
    print_scores(views, console=Console(file=out, width=100), **settings)  # type: ignore[arg-type]
    return out.getvalue()


def test_a_record_is_printed_with_its_context(view: Callable[..., RecordView]) -> None:
    text = printed([view(user="Ana", record="r7")])
    for part in ("Ana", "r7", "I live in Lisbon.", "Plan my weekend.", "Take the tram in Lisbon."):
        assert part in text
    assert "33% personal" in text
    assert "mean PIR +0.93" in text


def test_limit_stops_early(view: Callable[..., RecordView]) -> None:
    text = printed([view(record=f"r{i}") for i in range(5)], limit=2)
    assert "r1" in text
    assert "r2" not in text


def test_texts_are_neither_markup_nor_terminal_codes(view: Callable[..., RecordView]) -> None:
    hostile = "[bold red]not bold[/] \x1b[31mred\x07 [link=x]"
    text = printed(
        [view(hostile, user=hostile, query=hostile, profile=(ShownItem(hostile, "kept"),))]
    )
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.count("[bold red]not bold[/]") == 4


def test_dropped_items_are_not_in_the_prompt(view: Callable[..., RecordView]) -> None:
    assert "unseen" not in printed([view(profile=(ShownItem("unseen", "dropped"),))])


def test_colour_follows_the_sign_and_the_size_of_the_pir(view: Callable[..., RecordView]) -> None:
    record = view("a b c d")
    record.pir[:] = np.array([-5.0, 0.0, 1.0, 9.0], np.float32)
    spans = shaded(record).spans
    grounds = [span.style.bgcolor.triplet for span in spans]  # type: ignore[union-attr]
    assert grounds[0].blue > grounds[0].red
    assert grounds[1].red < grounds[2].red < grounds[3].red
    assert grounds[3].red > grounds[3].blue
    assert [span.style.underline for span in spans] == [False, False, True, True]  # type: ignore[union-attr]
