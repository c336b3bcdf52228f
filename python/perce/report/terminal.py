"""The heat map in a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
from rich.color import Color
from rich.console import Console, Group
from rich.panel import Panel
from rich.style import Style
from rich.text import Text

from perce.report.characters import visible
from perce.report.view import PERSONAL_THRESHOLD, RecordView

SCALE_END = 5.0
"""PIR in nats at full colour, as on the page."""

_POSITIVE = (249, 115, 22)
_NEGATIVE = (59, 130, 246)
_GROUND = (22, 26, 32)


def print_scores(
    records: Iterable[RecordView],
    *,
    console: Console | None = None,
    limit: int | None = None,
    threshold: float = PERSONAL_THRESHOLD,
) -> None:
    """Print each record's profile, query and shaded response.

    Args:
        records: what to print, for instance from :func:`perce.report.record_views`.
        console: where; default the standard output.
        limit: how many records; default all.
        threshold: PIR in nats above which a token is underlined, colour or not.
    """
    console = console or Console()
    for record in islice(records, limit):
        console.print(_panel(record, threshold))


def _panel(record: RecordView, threshold: float) -> Panel:
    parts = [
        Text("- " + visible(item.text), style="dim")
        for item in record.profile
        if item.status != "dropped"
    ]
    parts += [Text(visible(turn.content), style="italic") for turn in record.messages]
    mean = float(np.mean(record.pir, dtype=np.float64))
    share = float(np.mean(record.pir > threshold))
    return Panel(
        Group(*parts, Text(), shaded(record, threshold)),
        title=Text(visible(record.user_id), style="bold"),
        subtitle=Text(f"{visible(record.id)} · {share:.0%} personal · mean PIR {mean:+.2f}"),
        title_align="left",
        subtitle_align="right",
    )


def shaded(record: RecordView, threshold: float = PERSONAL_THRESHOLD) -> Text:
    """The response as rich text: background by PIR, underlined above ``threshold``."""
    text = Text()
    for piece, pir in zip(record.pieces, record.pir.tolist(), strict=True):
        text.append(visible(piece), style=_style(pir, personal=pir > threshold))
    return text


def _style(pir: float, *, personal: bool) -> Style:
    strength = min(abs(pir) / SCALE_END, 1.0)
    hue = _POSITIVE if pir > 0 else _NEGATIVE
    mixed = [round(g + (h - g) * strength) for g, h in zip(_GROUND, hue, strict=True)]
    # Dark letters on the bright end, light ones on the dark end: readable on any terminal theme.
    ink = Color.from_rgb(16, 18, 22) if strength > 0.5 else Color.from_rgb(232, 235, 240)
    return Style(color=ink, bgcolor=Color.from_rgb(*mixed), underline=personal, bold=personal)
