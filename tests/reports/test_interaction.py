"""What the page's script adds: sorted tables, a walk through the samples, large pictures, links that remember."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.reports.browser import Tab, find_violations, open_tab

pytestmark = pytest.mark.browser


@pytest.fixture
def tab(browser: Browser, report: Path) -> Iterator[Tab]:
    with open_tab(browser, report, width=1400) as opened:
        yield opened
        assert opened.trouble == []


def first_column(tab: Tab, table: str = "summary-0") -> list[str]:
    rows = tab.page.locator(f"#{table} tbody tr:visible th")
    return [text.split("\n")[0].strip() for text in rows.all_inner_texts()]


def test_a_click_on_a_heading_sorts_and_the_link_remembers(tab: Tab, browser: Browser, report: Path) -> None:
    heading = tab.page.locator("#summary-0 thead").get_by_role("button", name="mAP").first
    assert first_column(tab) == ["GroundPlane", "MapTR"]
    heading.click()
    assert first_column(tab) == ["MapTR", "GroundPlane"]
    assert tab.page.locator("#summary-0 [aria-sort=descending]").count() == 1
    heading.click()
    assert first_column(tab) == ["GroundPlane", "MapTR"]
    heading.click()
    assert tab.page.locator("#summary-0 [aria-sort]").count() == 0
    heading.click()
    expect(tab.page).to_have_url(re.compile(r"summary-0\.sort=\d+d"))
    with open_tab(browser, report, address=tab.page.evaluate("location.hash")) as again:
        assert first_column(again) == ["MapTR", "GroundPlane"]


def test_columns_are_hidden_and_rows_filtered(tab: Tab) -> None:
    page = tab.page
    shown = page.locator("#summary-0 tbody tr").first.locator("td:visible").count()
    tools = page.locator("#summary .tools").first
    tools.get_by_text("Columns").click()
    tools.get_by_label("NDS", exact=True).uncheck()
    assert page.locator("#summary-0 tbody tr").first.locator("td:visible").count() == shown - 1
    assert page.locator("#summary-0 thead th.group").first.evaluate("head => head.colSpan") == 6
    tools.get_by_role("button", name="Filter").click()
    assert not tools.locator(".menu").is_visible()
    page.get_by_label("Filter mAP, nuscenes").fill(">0.35")
    assert first_column(tab) == ["MapTR"]
    page.get_by_label("Filter mAP, nuscenes").fill("0.3..0.35")
    assert first_column(tab) == ["GroundPlane"]
    page.get_by_label("Filter mAP, nuscenes").fill("")
    page.get_by_label("Filter Model", exact=True).first.fill("map")
    assert first_column(tab) == ["MapTR"]


def test_the_confidence_decides_what_is_drawn(tab: Tab) -> None:
    """At the operating points two cars are right; at 0.8 one is; at 0.05 a car that is not there comes as well."""
    page = tab.page
    stage = page.locator("#stage figure").first
    assert "4 right, 4 missed, 2 false alarms" in stage.inner_text()
    right = stage.locator("g.prediction .box.hit")
    assert right.count() == 2
    _slide(tab, "cut", "0.8")
    assert right.count() == 1
    assert page.locator("#explorer [name=points]").is_checked() is False
    _slide(tab, "cut", "0.05")
    assert stage.locator("g.prediction .box.false_alarm").count() == 2
    assert page.locator("#stage-cameras .frame svg path.wire.hit").count() > 0
    page.locator("#explorer [name=points]").check()
    assert "4 right, 4 missed, 2 false alarms" in stage.inner_text()


def test_what_the_script_draws_is_what_the_page_was_written_with(tab: Tab) -> None:
    """The same shapes, from above and over the cameras, as the still cards have; to a pixel of rounding."""
    differences = tab.page.evaluate(
        """() => {
        const shapes = (root, selector) => [...root.querySelectorAll(selector)].map(path => ({
            role: path.getAttribute('class'), points: path.getAttribute('d').match(/-?[\\d.]+/g).map(Number)}));
        const card = document.querySelector('details.sample');
        const pairs = [['svg.bird-eye g path', '#stage figure', '.from-above figure', 0.03]];
        const far = [];
        for (const [selector, ours, theirs, limit] of pairs) {
            const left = shapes(document.querySelector(ours), selector);
            const right = shapes(card.querySelector(theirs), selector);
            if (left.length !== right.length) return [`${left.length} and ${right.length} shapes`];
            const ends = one => [Math.min(...one.points), Math.max(...one.points)];
            const sorted = list => list.map(one => [one.role, ...ends(one)]).sort((a, b) => a[0].localeCompare(b[0])
                || a[1] - b[1] || a[2] - b[2]);
            sorted(left).forEach((one, i) => {
                const other = sorted(right)[i];
                if (one[0] !== other[0] || Math.abs(one[1] - other[1]) > limit || Math.abs(one[2] - other[2]) > limit)
                    far.push(JSON.stringify([one, other]));
            });
        }
        return far;
    }"""
    )
    assert differences == []
    over = "[...document.querySelectorAll('{} path')].map(p => p.getAttribute('class')).sort().join()"
    ours = tab.page.evaluate(over.format("#stage-cameras .frame svg"))
    assert ours == tab.page.evaluate(over.format("details.sample:first-of-type .over-0"))
    assert "wire hit" in ours


def test_samples_are_filtered_by_scene_class_and_errors(tab: Tab) -> None:
    page = tab.page
    found = page.locator("#explorer [name=found]")
    expect(found).to_have_text("all of 80 samples")
    page.locator("#explorer [name=scene]").select_option("scene-0916")
    expect(found).to_have_text("40 of 80 samples")
    page.locator("#explorer [name=errors]").select_option("f")
    page.locator("#explorer [name=least]").fill("3")
    expect(found).to_have_text("0 of 80 samples")
    page.locator("#explorer [name=least]").fill("1")
    page.locator("#explorer [name=of]").select_option("MapTR")
    page.locator("#explorer [name=scene]").select_option("scene-0103")
    expect(found).to_have_text("37 of 80 samples")  # three failed
    page.locator("#explorer [name=class]").select_option("pedestrian")
    expect(found).to_have_text("0 of 80 samples")  # nobody saw one where there is none
    page.locator("#explorer [name=errors]").select_option("m")
    expect(found).to_have_text("37 of 80 samples")
    assert "0 right, 1 missed, 0 false alarms" in page.locator("#stage figure").first.inner_text()


def test_the_player_walks_and_the_link_leads_back(tab: Tab, browser: Browser, report: Path) -> None:
    page = tab.page
    title = page.locator("#stage-title")
    expect(title).to_contain_text("scene-0103, key frame 0")
    page.get_by_label("Next sample").click()
    expect(title).to_contain_text("key frame 1")
    page.locator("#explorer [name=speed]").select_option("10")
    page.locator("#explorer [name=play]").click()
    expect(title).to_contain_text(re.compile(r"key frame ([4-9]|\d\d)"))
    page.locator("#explorer [name=play]").click()
    _slide(tab, "at", "12")
    expect(title).to_contain_text("key frame 12")
    assert "failed" in page.locator("#stage figure").nth(1).inner_text()
    assert page.locator("#stage-cameras img").count() == 1  # the front picture; a card has them all
    expect(page).to_have_url(re.compile("sample=token-012"))
    with open_tab(browser, report, address=page.evaluate("location.hash")) as again:
        expect(again.page.locator("#stage-title")).to_contain_text("key frame 12")


def test_pictures_open_large_and_lead_to_their_neighbours(tab: Tab) -> None:
    page = tab.page
    page.locator("#stage-cameras .camera").nth(1).click()
    dialog = page.locator("dialog.large")
    expect(dialog.locator(".caption")).to_have_text("front")
    box = dialog.locator("img").bounding_box()
    assert box is not None
    assert box["width"] > 1000
    assert dialog.locator("svg path.wire").count() > 0
    assert find_violations(page) == []
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".caption")).to_have_text("front right")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_others_are_told_which_sample_is_shown(tab: Tab) -> None:
    page = tab.page
    page.evaluate("document.addEventListener('admlops:sample', event => window.seen = event.detail.sample.token)")
    page.get_by_label("Next sample").click()
    assert page.evaluate("window.seen") == "token-001"


def _slide(tab: Tab, name: str, value: str) -> None:
    tab.page.locator(f"#explorer [name={name}]").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})); }", value
    )
