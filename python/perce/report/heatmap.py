"""The heat map: one HTML page, all in one file, with every response token shaded by its PIR.

The page asks the network for nothing and runs under a content policy that allows its own script
alone, by hash. Texts travel as JSON and enter the document as text nodes, so people's texts cannot
become markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import perce
from perce.errors import OptionError
from perce.report.files import replacing
from perce.report.view import PERSONAL_THRESHOLD, RecordView, ScoreSummary

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Section:
    """A titled group of records. The last section of a page has the search, filter and order."""

    title: str
    records: Sequence[RecordView]
    about: str = ""


def write_html(
    path: str | os.PathLike[str],
    sections: Sequence[Section],
    *,
    title: str = "What the profile changed",
    note: str = "",
    threshold: float = PERSONAL_THRESHOLD,
) -> Path:
    """Write the heat map page, whole or not at all.

    Args:
        path: the file to write.
        sections: the page's groups of records, in order; :func:`perce.report.record_views` makes
            their records. Figures are kept to a thousandth of a nat.
        title: the page's heading.
        note: a line under the heading: which model, which data, what to make of it.
        threshold: PIR in nats above which a token is underlined as personal.

    Raises:
        OptionError: there is no record to show, or ``path`` cannot be written.
    """
    if not any(section.records for section in sections):
        raise OptionError("sections", "there is no record to show")
    data = {
        "note": note,
        "threshold": threshold,
        "sections": [_section(section, threshold) for section in sections],
    }
    out = Path(path)
    with replacing(out) as scratch:
        scratch.write_text(_render(title, data), encoding="utf-8")
    return out


def _render(title: str, data: dict[str, Any]) -> str:
    style, script = _asset("heatmap.css"), _asset("heatmap.js")
    policy = (
        "default-src 'none'; img-src data:; "
        f"style-src {_source_hash(style)}; script-src {_source_hash(script)}"
    )
    values = {
        "policy": html.escape(policy),
        "version": html.escape(perce.__version__),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": _embed(data),
    }
    # One pass: what is put in is not searched for placeholders again.
    return _PLACEHOLDER.sub(lambda match: values[match[1]], _asset("heatmap.html"))


def _asset(name: str) -> str:
    return resources.files("perce.report").joinpath(name).read_text(encoding="utf-8")


def _source_hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _embed(data: object) -> str:
    """JSON that can stand inside a script element: ASCII, with nothing that could end it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _section(section: Section, threshold: float) -> dict[str, Any]:
    pir = np.concatenate([record.pir for record in section.records] or [np.zeros(0, np.float32)])
    summary = ScoreSummary(
        records=len(section.records),
        tokens=len(pir),
        threshold=threshold,
        personal_share=float(np.mean(pir > threshold)) if len(pir) else 0.0,
        mean_pir=float(np.mean(pir, dtype=np.float64)) if len(pir) else 0.0,
    )
    return {
        "title": section.title,
        "about": section.about,
        "figures": str(summary),
        "records": [_record(record) for record in section.records],
    }


def _record(record: RecordView) -> dict[str, Any]:
    return {
        "id": record.id,
        "user": record.user_id,
        "profile": [{"text": item.text, "status": item.status} for item in record.profile],
        "messages": [{"role": turn.role, "content": turn.content} for turn in record.messages],
        "pieces": list(record.pieces),
        "with": _thousandths(record.logp_with),
        "without": _thousandths(record.logp_without),
        "pir": _thousandths(record.pir),
    }


def _thousandths(values: npt.NDArray[np.float32]) -> list[int]:
    """Figures in nats as whole thousandths, a third of the size of decimals in the page."""
    thousandths: list[int] = np.rint(values.astype(np.float64) * 1000).astype(np.int64).tolist()
    return thousandths
