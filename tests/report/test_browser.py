"""The heat map in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perce.report import RecordView, Section, ShownItem, write_html

HOSTILE = "</script><script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium: the system's, driven by playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    executable = next((path for name in names if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip("no Chromium here to look at the heat map with (Debian: apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(
    browser: Any, tmp_path: Path, view: Callable[..., RecordView]
) -> Iterator[Callable[..., Any]]:
    """Open a page of two sections; no complaint and no request may come from it."""
    complaints: list[str] = []
    pages = []

    def opened(records: list[RecordView], color_scheme: str = "light") -> Any:
        path = write_html(
            tmp_path / "page.html",
            [Section("Gallery", [view()]), Section("The records", records)],
            note=HOSTILE,
        )
        page = browser.new_page(color_scheme=color_scheme)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(path.as_uri())
        # Cards are filled when they come near the window, which the browser tells when it will.
        if len(records) < 10:
            page.wait_for_function("document.querySelector('.card.waiting') === null")
        assert complaints.pop(0) == path.as_uri(), "the page itself"
        pages.append(page)
        return page

    yield opened
    for page in pages:
        assert page.evaluate("window.hacked") is None
        page.close()
    assert [text for text in complaints if not text.startswith("data:")] == []


def test_hover_shows_a_token_s_figures(
    open_page: Callable[..., Any], view: Callable[..., RecordView]
) -> None:
    page = open_page([view()])
    assert page.locator("#tip").is_hidden()
    page.locator(".token.personal", has_text="tram").first.hover()
    tip = page.locator("#tip").inner_text()
    for figure in (
        "tram",
        "+3.00",
        "\u22121.00",
        "\u22124.00",
        "37 %",
        "1.8 %",
        "20 \u00d7 likelier",
    ):
        assert figure in tip
    page.mouse.move(1, 1)
    assert page.locator("#tip").is_hidden()


def test_arrow_keys_move_over_the_tokens(
    open_page: Callable[..., Any], view: Callable[..., RecordView]
) -> None:
    page = open_page([view()])
    stops = page.locator(".response [tabindex='0']")
    assert stops.count() == 2, "one tab stop a response"
    stops.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "tram" in page.locator("#tip").inner_text()
    assert page.locator(":focus").inner_text() == "tram"
    assert page.locator(":focus").get_attribute("aria-describedby") == "tip"
    page.keyboard.press("End")
    assert page.locator(":focus").inner_text() == "."
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_shades_differ_and_letters_stay_legible(
    open_page: Callable[..., Any], view: Callable[..., RecordView], color_scheme: str
) -> None:
    record = view("a b c d e")
    record.pir[:] = [-5.0, -1.0, 0.0, 1.0, 5.0]
    page = open_page([record], color_scheme)
    # The browser itself paints each colour on the card's ground; canvas gives back sRGB bytes.
    painted = page.evaluate(
        """() => {
          const context = new OffscreenCanvas(1, 1).getContext("2d", {
            willReadFrequently: true,
          });
          const bytes = (...colours) => {
            for (const colour of colours) {
              context.fillStyle = colour;
              context.fillRect(0, 0, 1, 1);
            }
            return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
          };
          const cards = document.querySelectorAll(".card");
          const card = cards[cards.length - 1];
          const ground = getComputedStyle(card).backgroundColor;
          return [...card.querySelectorAll(".token")].map((token) => {
            const style = getComputedStyle(token);
            return [bytes(ground, style.backgroundColor), bytes(style.color)];
          });
        }"""
    )
    assert len(painted) == 5
    assert len({tuple(ground) for ground, _ in painted}) == 5
    for ground, ink in painted:
        assert contrast(ground, ink) >= 4.5, (ground, ink)


def contrast(one: list[int], other: list[int]) -> float:
    """WCAG 2 contrast ratio of two sRGB colours."""

    def luminance(colour: list[int]) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in (value / 255 for value in colour)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted([luminance(one), luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_search_user_and_order(
    open_page: Callable[..., Any], view: Callable[..., RecordView]
) -> None:
    records = [
        view("nothing here", record="r0", user="Ana"),
        view("the tram", record="r1", user="Tom"),
        view("a tram to Lisbon", record="r2", user="Tom", query="Needle in the query"),
    ]
    page = open_page(records)
    shown = page.locator("section:last-child .card:not([hidden]) .id")

    def ids() -> list[str]:
        # Not the inner texts: a card that the browser has not painted yet has none.
        return list(shown.all_text_contents())

    search = page.get_by_label("Search records, users and texts")
    assert ids() == ["r0", "r1", "r2"]
    search.fill("NEEDLE")
    assert ids() == ["r2"]
    assert page.locator(".count").inner_text() == "1 of 3 records"
    search.fill("needle tram")
    assert ids() == ["r2"]
    search.fill("no such words")
    assert ids() == []
    search.fill("")
    page.get_by_label("User", exact=True).select_option("Tom")
    assert ids() == ["r1", "r2"]
    page.get_by_label("Order").select_option("most personal first")
    page.get_by_label("User", exact=True).select_option("all users")
    assert ids() == ["r1", "r2", "r0"]


def test_hostile_texts_are_shown_as_they_are(
    open_page: Callable[..., Any], view: Callable[..., RecordView]
) -> None:
    record = view(
        HOSTILE + "\u202e\x00\n",
        user=HOSTILE,
        record=HOSTILE,
        query=HOSTILE,
        profile=(ShownItem(HOSTILE, "kept"), ShownItem(HOSTILE, "cut"), ShownItem("x", "dropped")),
    )
    page = open_page([record])
    card = page.locator(".card").last
    assert card.locator(".user").text_content() == HOSTILE
    assert card.locator(".context .text").first.text_content() == HOSTILE
    response = card.locator(".response").text_content()
    assert response.startswith(HOSTILE)
    assert "⟨U+202E⟩" in response
    assert "⟨U+0000⟩" in response
    assert "1 more item the model did not see" in card.text_content()
    assert page.locator("#note").inner_text() == HOSTILE


def test_a_thousand_records_are_drawn_only_where_one_looks(
    open_page: Callable[..., Any], view: Callable[..., RecordView]
) -> None:
    words = "Take the tram in Lisbon. " * 20
    page = open_page([view(words, record=f"r{i}", user=f"u{i % 40}") for i in range(1000)])
    page.locator(".response").first.wait_for()
    drawn = page.locator(".response").count()
    assert drawn < 100
    page.locator(".card").last.scroll_into_view_if_needed()
    page.locator(".card").last.locator(".response").wait_for()
    assert page.locator(".response").count() < drawn + 200
