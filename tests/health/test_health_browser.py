"""The page of a health report in a real browser: read on a phone and on paper, and hostile text stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from browser import chromium, page_in
from health.made_report import everything, made_report, page_of_outputs
from warmstall.health import tables
from warmstall.health.records import Reason, Sli

WORDS = {
    "healthy": (26, 107, 60),
    "degraded": (242, 176, 30),
    "critical": (179, 38, 30),
    "could not tell": (74, 85, 104),
}
PAYLOADS = {
    "markup": "<img src=x onerror=alert(1)></script><script>alert(2)</script></style><style>body{display:none}</style>",
    "text": '\x1b[31m=HYPERLINK("https://example.com","click") [click](javascript:alert(4)) **bold** $x^2$ {{ 7 * 7 }}',
    "long": "no-space-to-break-at-" * 20,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def calm_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_of_outputs(tmp_path_factory.mktemp("calm"), everything(made_report()))


def test_the_head_is_read_at_once(browser: Any, calm_page: Path) -> None:
    """The word, the sentence and three numbers on the first screen of a phone; the prose of the notebook is folded."""
    with page_in(browser, calm_page, 360) as page:
        page.wait_for_selector("html[data-figures-drawn='4']", state="attached")
        head = page.locator("header.outcome")
        assert head.locator(".status").inner_text() == "CRITICAL"
        assert head.locator("h1").inner_text() == made_report().sentence
        assert head.locator("dd").all_inner_texts() == ["99.75 %", "2.4 s", "6.1 GB, gone in 58 min"]
        box = head.bounding_box()
        assert box["y"] + box["height"] < 900
        assert page.locator("h1").first.inner_text() == made_report().sentence
        assert not page.get_by_role("heading", name="Before the head").is_visible()
        assert page.locator("details.code").count() == 1  # the parameters, within the folded part


def test_nothing_is_wider_than_the_screen(browser: Any, calm_page: Path) -> None:
    with page_in(browser, calm_page, 360) as page:
        page.wait_for_selector("html[data-figures-drawn='4']", state="attached")
        for width in (360, 768, 1200):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
        page.set_viewport_size({"width": 360, "height": 900})
        page.wait_for_function("document.querySelector('.figure .main-svg').clientWidth <= 360")
        # nor is any name within a picture cut off
        cut = page.evaluate(
            """() => [...document.querySelectorAll(".figure .annotation-text")].filter((name) => {
                const [box, around] = [name, name.closest(".figure")].map((one) => one.getBoundingClientRect());
                return box.left < around.left || box.right > around.right;
            }).map((name) => name.textContent)"""
        )
        assert cut == []


def test_the_colour_is_that_of_the_status_and_can_be_read(browser: Any, tmp_path: Path) -> None:
    pages = {}
    for status in WORDS:
        (tmp_path / status).mkdir()
        pages[status] = page_of_outputs(tmp_path / status, everything(replace(made_report(), status=status))[:1])
    with page_in(browser, pages["healthy"], 360) as page:
        for status, written in pages.items():
            page.goto(written.as_uri())
            head = page.locator("header.outcome")
            colours = "head => [getComputedStyle(head).backgroundColor, getComputedStyle(head).color]"
            ground, ink = head.evaluate(colours)
            assert numbers_of(ground) == WORDS[status]
            assert contrast(numbers_of(ground), numbers_of(ink)) >= 4.5
            assert head.locator(".status").inner_text() == status.upper()


@pytest.mark.parametrize(
    ("status", "sentence", "word", "shown"),
    [
        ("critical", "Critical: memory will be gone.", "CRITICAL", "Memory will be gone."),
        ("healthy", "Healthy again: 40 requests, all answered.", "HEALTHY AGAIN", "40 requests, all answered."),
        ("could not tell", "Could not tell: nothing shows it.", "COULD NOT TELL", "Nothing shows it."),
        ("degraded", "Wall time: too long.", "DEGRADED", "Wall time: too long."),
    ],
)  # fmt: skip
def test_the_word_for_the_status_stands_there_once(
    browser: Any, tmp_path: Path, status: str, sentence: str, word: str, shown: str
) -> None:
    made = replace(made_report(), status=status, sentence=sentence)
    with page_in(browser, page_of_outputs(tmp_path, everything(made)[:1]), 360) as page:
        assert page.locator("header.outcome .status").inner_text() == word
        assert page.locator("header.outcome h1").inner_text() == shown


def test_the_axis_of_a_rate_has_whole_percents_even_of_nothing(browser: Any, tmp_path: Path) -> None:
    """0 % at every hour is a line at the foot of 0 to 1 %; and that some could not be told is said beside it."""
    stalls = Sli("warm_stall_rate", "", 0.0, "share", 0, 985, "71 more cannot be told: their client left")
    answered = Sli("availability", "", 0.9328, "share", 985, 1056)
    made = replace(made_report(), slis=(answered, stalls), comparisons=())
    with page_in(browser, page_of_outputs(tmp_path, everything(made)[:2]), 360) as page:
        page.wait_for_selector("html[data-figures-drawn='1']", state="attached")
        ticks = [page.locator(f".figure .{axis}tick text").all_text_contents() for axis in ("y", "y2")]
        assert ticks == [["95 %", "100 %"], ["0 %", "1 %"]]
        told = page.locator(".figure .annotation-text").all_text_contents()
        assert any("0 %; 71 more cannot be told" in text for text in told)


def test_sentences_of_a_table_are_as_wide_as_a_phone(browser: Any, tmp_path: Path) -> None:
    reason = Reason("memory:box", "critical", "A sentence of a cause that is rather long. " * 8)
    made = replace(made_report(), reasons=(reason,))
    with page_in(browser, page_of_outputs(tmp_path, [("Reasons", tables.why(made))]), 360) as page:
        assert page.locator("td").first.bounding_box()["width"] <= 360 * 0.75


def numbers_of(colour: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", colour)[:3])


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """WCAG 2's ratio of two colours."""

    def light(colour: tuple[int, ...]) -> float:
        shares = [part / 255 for part in colour]
        linear = [share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_a_page_that_is_incomplete_is_never_green(browser: Any, tmp_path: Path) -> None:
    """The picture failed after the notebook had said healthy: red banner, and no colour below it."""
    made = replace(made_report(), status="healthy")
    with page_in(browser, page_of_outputs(tmp_path, everything(made)[:1], "ValueError: no picture"), 360) as page:
        banner = page.locator("[role=alert]")
        assert "This report is incomplete." in banner.inner_text()
        assert "ValueError: no picture" in banner.inner_text()
        head = page.locator("header.outcome")
        assert numbers_of(head.evaluate("head => getComputedStyle(head).backgroundColor")) != WORDS["healthy"]
        assert head.locator(".status").inner_text() == "BEFORE IT FAILED: HEALTHY"
        assert banner.bounding_box()["y"] < head.bounding_box()["y"]


def test_it_can_be_printed(browser: Any, calm_page: Path) -> None:
    """Black on white with a frame of the colour; what is folded stays away, and every figure is there."""
    with page_in(browser, calm_page, 1000) as page:
        page.wait_for_selector("html[data-figures-drawn='4']", state="attached")
        paper = page.pdf(format="A4")
        assert paper.startswith(b"%PDF")
        assert 2 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 8
        page.emulate_media(media="print")
        style = "head => [getComputedStyle(head).backgroundColor, getComputedStyle(head).borderLeftColor]"
        ground, frame = page.locator("header.outcome").evaluate(style)
        assert numbers_of(ground) == (255, 255, 255)
        assert numbers_of(frame) == WORDS["critical"]
        assert not page.locator("details.about").is_visible()


@pytest.mark.parametrize("name", PAYLOADS)
def test_hostile_text_stays_text(name: str, browser: Any, tmp_path: Path) -> None:
    """As the name of a host, a model, a setting, and in every sentence: shown as it is, and nothing runs."""
    payload = PAYLOADS[name]
    made = made_report(payload)
    with page_in(browser, page_of_outputs(tmp_path, everything(made, payload)), 360) as page:
        page.wait_for_selector("html[data-figures-drawn='4']", state="attached")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("img, iframe, object, svg image").count() == 0
        assert page.locator("script").count() == 4 + 2  # the data of four figures, plotly, and what draws
        assert page.locator("a[href]:not(.anchor-link)").count() == 0
        shown = page.locator("header.outcome h1").inner_text()
        plain = re.sub(r"[\x00-\x1f\x7f]+", " ", payload).strip()
        assert plain[:60] in shown
        text = page.evaluate("document.body.innerText")
        assert "\x1b" not in text
        assert page.locator("body").is_visible()
        hovered = page.evaluate(HOVERS)
        assert "&lt;" not in hovered
        assert plain[:20] in hovered


# The hover text of the first and last point of every trace, as it is drawn.
HOVERS = """() => {
    const shown = [];
    for (const figure of document.querySelectorAll("div.figure")) {
        figure._fullData.forEach((trace, curve) => {
            if (trace.visible !== true || !trace.hovertext) return;
            for (const point of [0, trace.hovertext.length - 1]) {
                Plotly.Fx.hover(figure, [{curveNumber: curve, pointNumber: point}]);
                shown.push(figure.querySelector(".hoverlayer").textContent);
            }
        });
        Plotly.Fx.unhover(figure);
    }
    return shown.join("\\n");
}"""
