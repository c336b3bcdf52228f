"""The heat map page as a file: whole, closed to the network, and deaf to what texts say."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perce.data import Message
from perce.errors import OptionError
from perce.report import RecordView, Section, ShownItem, heatmap, write_html

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<script>alert(1)</script>",
    "</SCRIPT\t>",
    "<!-- <script>",
    "]]> --> <!--",
    "\"quoted\" 'single' `tick` \\ & &lt; &amp;",
    "<img src=x onerror=alert(1)>",
    "{{script}} {{data}} {{title}}",
    "\u202eevil\u2066 \u200f\u061c",
    "NUL \x00 and \x1b[31m",
    "\u2028\u2029",
    "שלום عليكم",
]
texts = st.one_of(
    st.sampled_from(HOSTILE),
    # Surrogates cannot occur: Arrow's strings are UTF-8.
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
)


class Elements(html.parser.HTMLParser):
    """Every element of a page, and the text inside each script and style."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self._inside: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag if tag in {"script", "style"} else None

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw.append((self._inside, data))


def parse(path: Path) -> Elements:
    elements = Elements()
    elements.feed(path.read_text(encoding="utf-8"))
    return elements


def data_of(elements: Elements) -> dict[str, Any]:
    return json.loads(next(text for tag, text in elements.raw if tag == "script"))  # type: ignore[no-any-return]


@given(text=texts, user=texts, title=texts)
def test_no_text_becomes_markup(
    tmp_path_factory: pytest.TempPathFactory,
    view: Callable[..., RecordView],
    text: str,
    user: str,
    title: str,
) -> None:
    folder = tmp_path_factory.mktemp("page")
    record = view("harmless")
    hostile = replace(
        record,
        id=text,
        user_id=user,
        profile=(ShownItem(text, "kept"),),
        messages=(Message("user", text),),
        pieces=(text,),
    )
    page = write_html(
        folder / "page.html", [Section(title, [hostile], about=text)], title=title, note=text
    )
    plain = write_html(folder / "plain.html", [Section("plain", [record])], title="plain")
    assert [tag for tag, _ in parse(page).found] == [tag for tag, _ in parse(plain).found]
    data = data_of(parse(page))
    shown = data["sections"][0]["records"][0]
    assert (data["note"], shown["id"], shown["user"]) == (text, text, user)
    assert shown["pieces"] == [text]
    assert shown["profile"] == [{"text": text, "status": "kept"}]
    assert html.escape(title) in page.read_text(encoding="utf-8")


def test_page_is_closed_to_the_network(tmp_path: Path, view: Callable[..., RecordView]) -> None:
    page = write_html(tmp_path / "page.html", [Section("records", [view()])])
    elements = parse(page)
    for tag, attributes in elements.found:
        for name in ("src", "href", "action", "srcset"):
            assert (attributes.get(name) or "data:,").startswith("data:"), (tag, attributes)
    for way_out in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest"):
        assert way_out not in page.read_text()


def test_content_policy_allows_the_page_s_own_code_alone(
    tmp_path: Path, view: Callable[..., RecordView]
) -> None:
    elements = parse(write_html(tmp_path / "page.html", [Section("records", [view()])]))
    policy = next(
        attributes["content"]
        for tag, attributes in elements.found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    style = next(text for tag, text in elements.raw if tag == "style")
    script = [text for tag, text in elements.raw if tag == "script"][1]
    for kind, text in [("style-src", style), ("script-src", script)]:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in policy


def test_script_reaches_the_document_by_text_nodes_alone() -> None:
    from importlib import resources

    script = resources.files("perce.report").joinpath("heatmap.js").read_text(encoding="utf-8")
    for way_in in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way_in not in script


def test_figures_are_kept_to_a_thousandth_of_a_nat(
    tmp_path: Path, view: Callable[..., RecordView]
) -> None:
    rng = np.random.default_rng(0)
    record = view("one two three four five")
    logp_with = -rng.exponential(2, len(record.pieces)).astype(np.float32)
    record = replace(record, logp_with=logp_with, logp_without=logp_with - record.pir)
    page = write_html(tmp_path / "page.html", [Section("records", [record])])
    shown = data_of(parse(page))["sections"][0]["records"][0]
    for name, values in [
        ("with", record.logp_with),
        ("without", record.logp_without),
        ("pir", record.pir),
    ]:
        np.testing.assert_allclose(np.array(shown[name]) / 1000, values, rtol=0, atol=5.01e-4)


def test_summary_counts_personal_tokens(tmp_path: Path, view: Callable[..., RecordView]) -> None:
    sections = [Section("gallery", [view()]), Section("records", [view(), view("plain words")])]
    page = write_html(tmp_path / "page.html", sections, threshold=0.5)
    figures = [section["figures"] for section in data_of(parse(page))["sections"]]
    assert figures[0].startswith("1 records, 6 tokens, 33.3% personal (PIR > 0.5)")
    assert figures[1].startswith("2 records, 8 tokens, 25.0% personal (PIR > 0.5)")


def test_nothing_to_show_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no record"):
        write_html(tmp_path / "page.html", [Section("records", [])])
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_page(
    tmp_path: Path, view: Callable[..., RecordView], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")

    def full_disk(title: str, data: object) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(heatmap, "_render", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_html(page, [Section("records", [view()])])
    assert page.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]
