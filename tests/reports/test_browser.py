"""The page in a real browser: it opens from disk, asks for nothing, fits every screen, and anyone can use it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page
from tests.reports.browser import find_violations, open_tab

pytestmark = pytest.mark.browser

Scheme = Literal["light", "dark"]
QUICK = {(390, "light", True), (1920, "dark", True), (1280, "light", False)}
"""What the quick tests look at; the long ones look at all sizes, schemes and with script on and off."""

WAYS = [
    pytest.param(
        width,
        scheme,
        script,
        id=f"{width}-{scheme}-{'script' if script else 'still'}",
        marks=() if (width, scheme, script) in QUICK else pytest.mark.full,
    )
    for width in (390, 1280, 1920)
    for scheme in ("light", "dark")
    for script in (True, False)
]

CUT_OFF = """() => [...document.querySelectorAll('svg.chart')].flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(text => {
        const box = text.getBoundingClientRect();
        return box.width && (box.left < frame.left - 2 || box.right > frame.right + 2
            || box.top < frame.top - 2 || box.bottom > frame.bottom + 2);
    }).map(text => svg.getAttribute('aria-label').slice(0, 40) + ': ' + text.textContent);
})"""
OVER_THE_EDGE = "() => document.documentElement.scrollWidth - window.innerWidth"


@pytest.mark.parametrize(("width", "scheme", "script"), WAYS)
def test_the_page_opens_without_trouble_on_every_screen(
    browser: Browser, report: Path, width: int, scheme: Scheme, script: bool
) -> None:
    with open_tab(browser, report, width=width, scheme=scheme, script=script) as tab:
        page = tab.page
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        assert page.evaluate(OVER_THE_EDGE) <= 0
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert page.evaluate(CUT_OFF) == []
        heights = page.evaluate(
            "[...document.querySelectorAll('svg.chart')].map(s => s.getBoundingClientRect().height)"
        )
        assert len(heights) > 15
        assert min(heights) > 80
        headings = page.locator("h2").all_inner_texts()
        assert (headings[0], headings[-1]) == ("Summary", "Provenance")
        assert page.locator("#explorer").is_visible() is script
        if width == 1920:
            widths = page.evaluate("[...document.querySelectorAll('main > section')].map(s => s.clientWidth)")
            assert min(widths) > 1400
        if script:
            assert find_violations(page) == []
        assert tab.trouble == []


def test_without_script_everything_that_matters_is_there(browser: Browser, report: Path) -> None:
    with open_tab(browser, report, script=False) as tab:
        page = tab.page
        card = page.locator("details.sample").first
        assert card.locator("svg.bird-eye").count() == 2
        assert card.locator("img").count() == 6
        layer = card.locator(".camera .over-0 g.truth").nth(1)
        assert layer.is_visible()
        card.get_by_label("MapTR", exact=True).check()
        assert not layer.is_visible()
        assert card.locator(".camera .over-1 g.truth").nth(1).is_visible()
        card.get_by_label("ground truth", exact=True).uncheck()
        assert not card.locator(".camera .over-1 g.truth").nth(1).is_visible()
        assert not card.locator("svg.bird-eye g.truth").first.is_visible()
        assert card.locator("svg.bird-eye g.prediction").first.is_visible()
        assert page.locator("#summary-0 tbody tr").count() == 2
        assert tab.trouble == []


def test_paper_shows_what_the_screen_hides(browser: Browser, report: Path) -> None:
    """A hidden column, a filtered row, folded details: all are there again, within an A4 page's width."""
    address = "#?summary-0.hide=2,3&summary-0.filter=" + '[[0,"nothing like it"]]'.replace('"', "%22")
    with open_tab(browser, report, width=1280, address=address) as tab:
        page = tab.page
        hidden = page.locator("#summary-0 tbody tr").first
        assert not hidden.is_visible()
        page.set_viewport_size({"width": 1047, "height": 718})  # A4 across, less its margins, at 96 dpi
        page.emulate_media(media="print")
        assert hidden.is_visible()
        lost = page.evaluate(
            """() => [...document.querySelectorAll('main td, main th, main dd, main summary, main svg.chart, main img')]
                .filter(one => !one.closest('.explorer, .filters, .tools, dialog') && !one.getClientRects().length)
                .map(one => one.outerHTML.slice(0, 80))"""
        )
        assert lost == []
        assert page.evaluate(OVER_THE_EDGE) <= 0
        assert tab.trouble == []


def test_text_stands_out_from_its_background(browser: Browser, report: Path) -> None:
    """WCAG's contrast ratio of at least 4.5 for ink and muted text, 3 for lines, in both schemes."""
    for scheme in ("light", "dark"):
        with open_tab(browser, report, scheme=scheme) as tab:
            ratios = _measure_contrast(tab.page)
        assert ratios["text"] >= 4.5
        assert ratios["lines"] >= 3


def _measure_contrast(page: Page) -> dict[str, float]:
    found: dict[str, float] = page.evaluate(
        """() => {
        const probe = document.body.appendChild(document.createElement('i'));
        const light = name => {
            probe.style.color = `var(${name})`;
            const parts = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255);
            const [r, g, b] = parts.map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
        const text = ['--ink', '--muted', '--accent'].map(name => ratio(name, '--surface'));
        const chips = ['good', 'warn', 'bad'].map(tone => ratio(`--${tone}`, `--${tone}-soft`));
        const lines = [1, 2, 3, 4, 5, 6, 7].map(n => ratio(`--series-${n}`, '--surface'));
        probe.remove();
        return {text: Math.min(...text, ...chips), lines: Math.min(...lines)};
    }"""
    )
    return found
