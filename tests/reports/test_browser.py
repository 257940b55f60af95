"""The page in a real browser: it opens from disk, asks for nothing, fits a phone and hides its layers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from playwright.sync_api import Page as Tab
from tests.reports.fabricate import make_claims, make_data, make_run

from admlops.reports import missing_model, write_report

pytestmark = pytest.mark.browser
NAMES = ("chromium", "chromium-browser", "google-chrome")
FITS = "document.documentElement.scrollWidth <= window.innerWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs one of {', '.join(NAMES)} on PATH: run install/browser.sh")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=found, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    absent = missing_model("VAD", hint="not set up. Next: admlops models show VAD", claims=make_claims())
    runs = [make_run(), make_run("MapTR", failed=3, seed=2, better=0.1), absent]
    return write_report(folder / "report.html", runs, {}, data=make_data(folder / "data"))


@pytest.fixture(params=[(360, "light"), (360, "dark"), (768, "light"), (1400, "light"), (1400, "dark")], ids=str)
def opened(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Tab, list[str]]]:
    """The page at one width in one scheme, and everything that went wrong or over the network."""
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab, trouble = context.new_page(), list[str]()
    tab.on("console", lambda message: trouble.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: trouble.append(f"error: {error}"))
    tab.on("requestfailed", lambda asked: trouble.append(f"failed: {asked.url[:80]}"))
    tab.on("request", lambda asked: trouble.extend([] if asked.url.startswith(("file:", "data:")) else [asked.url]))
    tab.goto(report.as_uri())
    yield tab, trouble
    context.close()


def test_the_page_opens_without_trouble_and_fits(opened: tuple[Tab, list[str]]) -> None:
    tab, trouble = opened
    tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert tab.evaluate(FITS)
    pictures = tab.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
    assert len(pictures) == 24
    assert all(pictures)
    headings = tab.locator("h2").all_inner_texts()
    assert headings[0] == "Summary"
    assert headings[-1] == "Provenance"
    assert trouble == []


def test_no_text_is_cut_off_and_no_chart_is_empty(opened: tuple[Tab, list[str]]) -> None:
    tab, _ = opened
    outside = """[...document.querySelectorAll('svg.chart')].flatMap(svg => {
        const frame = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].filter(text => {
            const box = text.getBoundingClientRect();
            return box.width && (box.left < frame.left - 2 || box.right > frame.right + 2
                || box.top < frame.top - 2 || box.bottom > frame.bottom + 2);
        }).map(text => svg.getAttribute('aria-label').slice(0, 40) + ': ' + text.textContent);
    })"""
    assert tab.evaluate(outside) == []
    sizes = tab.evaluate("[...document.querySelectorAll('svg.chart')].map(s => s.getBoundingClientRect().height)")
    assert len(sizes) > 15
    assert min(sizes) > 80


def test_layers_can_be_hidden_one_by_one(opened: tuple[Tab, list[str]]) -> None:
    tab, _ = opened
    sample, other = tab.locator("article.sample").first, tab.locator("article.sample").last
    truth, predictions = sample.locator("svg.bird-eye g.truth"), sample.locator("svg.bird-eye g.prediction")
    on_camera = sample.locator(".camera g.truth").nth(1)
    assert truth.is_visible()
    sample.get_by_label("ground truth", exact=True).uncheck()
    assert not truth.is_visible()
    assert not on_camera.is_visible()
    assert predictions.is_visible()
    assert other.locator("svg.bird-eye g.truth").is_visible()
    sample.get_by_label("predictions", exact=True).uncheck()
    assert not predictions.is_visible()
    sample.get_by_label("ground truth", exact=True).check()
    assert truth.is_visible()


def test_text_stands_out_from_its_background(opened: tuple[Tab, list[str]]) -> None:
    """WCAG's contrast ratio of at least 4.5 for ink and muted text, 3 for lines, in both schemes."""
    tab, _ = opened
    ratios = tab.evaluate(
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
    assert ratios["text"] >= 4.5
    assert ratios["lines"] >= 3
