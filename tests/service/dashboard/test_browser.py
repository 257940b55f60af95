"""The dashboard in a real browser: jobs change before one's eyes, and nothing that a job says has any effect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.reports.browser import Tab, find_violations
from tests.service.dashboard.conftest import Stage
from tests.service.results import COMPARISON

from admlops.service.jobs.folders import job_log
from admlops.service.queue.job import Job, Status

pytestmark = pytest.mark.browser

PATIENCE_MS = 60_000
"""A busy machine is slow."""
LEASE_S = 600.0


@pytest.fixture(autouse=True)
def patience() -> None:
    expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def open_page(
    browser: Browser, address: str, *, width: int = 1280, scheme: Literal["light", "dark"] = "light"
) -> Iterator[Tab]:
    """A page in a tab of its own; the tab notes what goes wrong in it."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    tab = Tab(page=page)
    page.on("console", lambda message: tab.trouble.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: tab.trouble.append(f"error: {error}"))
    page.goto(address)
    yield tab
    context.close()


def is_live(page: Page) -> None:
    expect(page.locator("#live-status")).to_have_attribute("data-state", "live")


def take(stage: Stage, job_id: str) -> Job:
    """Take a job as a runner does."""
    job = stage.queue.claim("the test", LEASE_S)
    assert job is not None
    assert job.id == job_id
    return job


def test_a_job_is_started_by_a_form_and_watched_to_its_end(browser: Browser, stage: Stage) -> None:
    with open_page(browser, f"{stage.url}/start/run") as tab:
        page = tab.page
        page.get_by_label("Model", exact=True).select_option("GroundPlane")
        page.get_by_label("Samples at most").fill("9")
        page.get_by_label("Samples at most").press("Enter")
        page.wait_for_url("**/jobs/*")
        expect(page.get_by_role("heading", level=1)).to_have_text("Run GroundPlane")
        expect(page.locator("#part-job .chip")).to_have_text("Waiting")
        is_live(page)
        job = take(stage, page.url.rpartition("/")[2])
        expect(page.locator("#part-job .chip")).to_have_text("Running")
        stage.queue.progress(job, {"samples": 3, "of": 9})
        expect(page.get_by_text("3 of 9 samples")).to_be_visible()
        stage.queue.add_chunk(job, {"scene": "scene-1", "samples": 3, "failed": 1, "latency_p50_ms": 12.5}, key="a")
        expect(page.locator("#part-scenes tbody tr")).to_have_text(re.compile(r"scene-1\s*3\s*1\s*12.5 ms"))
        stage.queue.finish(job, Status.COMPLETED, output={"run": "near", "metrics": []})
        expect(page.locator("#part-job .chip")).to_have_text("Done")
        page.get_by_role("link", name="Open the run").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Near")
        page.locator("iframe.report").scroll_into_view_if_needed()
        expect(page.frame_locator("iframe.report").get_by_role("heading", level=1)).to_be_visible()
        assert [one for one in tab.trouble if "GPU stall" not in one] == []


def test_escapes_and_html_of_a_job_are_text_in_its_page(browser: Browser, stage: Stage) -> None:
    evil = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    job = stage.queue.submit("run", {"model": evil})
    log = job_log(stage.layout, job.id)
    log.parent.mkdir(parents=True)
    log.write_text(f"\x1b[2J\x1b]0;taken\x07\x1b[31mfirst {evil}\x1b[0m\n")
    with open_page(browser, f"{stage.url}/jobs/{job.id}") as tab:
        page = tab.page
        is_live(page)
        taken = take(stage, job.id)
        with log.open("a") as file:
            file.write(f"second {evil}<hx-partial hx-target='body' hx-swap='innerHTML'>taken</hx-partial>\n")
        expect(page.locator("#log")).to_contain_text("second <img src=x")
        stage.queue.add_chunk(taken, {"scene": evil, "samples": 1, "failed": 0, "latency_p50_ms": None}, key="x")
        stage.queue.finish(taken, Status.FAILED, error=f"it broke {evil}", error_class="model")
        expect(page.locator("#part-job [role=alert]")).to_contain_text("it broke <img src=x")
        assert page.locator("#log").inner_text().startswith("first <img src=x")
        assert page.locator("main img, main script").count() == 0
        assert "taken" not in page.title().replace("document.title='taken'", "")
        assert tab.trouble == []


def test_the_overview_follows_the_queue_and_cancels(browser: Browser, stage: Stage) -> None:
    with open_page(browser, stage.url, width=390, scheme="dark") as tab:
        page = tab.page
        is_live(page)
        job = stage.queue.submit("battle", {"model_a": "near", "model_b": "far"})
        row = page.locator(f"#job-{job.id}")
        expect(row).to_contain_text("near and far")
        focused = page.get_by_role("button", name="Cancel Battle near and far")
        focused.focus()
        stage.queue.submit("export", {"model": "Other"}, priority=-1)
        expect(page.locator("#part-active")).to_contain_text("Export")
        expect(focused).to_be_focused()  # what the reader has in hand is not made anew
        page.once("dialog", lambda dialog: dialog.accept())
        focused.press("Enter")
        expect(row).to_have_count(0)
        expect(page.locator("#part-ended")).to_contain_text("Cancelled")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert find_violations(page) == []
        assert tab.trouble == []
    stage.queue.purge()


@pytest.mark.full
def test_seven_tabs_of_one_browser_all_load_and_all_follow(browser: Browser, stage: Stage) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    pages = [context.new_page() for _ in range(7)]
    for page in pages:
        page.goto(stage.url)
    states = [page.locator("#live-status") for page in pages]
    for state in states:
        expect(state).to_have_attribute("data-state", re.compile("live|slow"))
    assert sum(state.get_attribute("data-state") == "live" for state in states) == 3
    job = stage.queue.submit("evaluate", {"run": "near"})
    for page in pages:
        expect(page.locator(f"#job-{job.id}")).to_be_visible()
    live = next(page for page, state in zip(pages, states, strict=True) if state.get_attribute("data-state") == "live")
    live.close()
    still = [state for page, state in zip(pages, states, strict=True) if page is not live]
    expect(context.pages[0].locator("#live-status")).to_be_visible()
    for _ in range(PATIENCE_MS // 100):
        if sum(state.get_attribute("data-state") == "live" for state in still) == 3:
            break
        context.pages[0].wait_for_timeout(100)
    assert sum(state.get_attribute("data-state") == "live" for state in still) == 3
    stage.queue.cancel(job.id)
    context.close()


PAGES = (
    "/", "/jobs", "/start", "/start/run", "/start/compare", "/runs", "/runs/near", "/comparisons",
    f"/comparisons/{COMPARISON}", "/history", "/side-by-side?a=near&b=far", "/runs/none",
)  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_every_page_fits_its_width_and_has_no_violations(
    browser: Browser, stage: Stage, width: int, scheme: Literal["light", "dark"]
) -> None:
    job = stage.queue.submit("run", {"model": "GroundPlane"})
    for path in (*PAGES, f"/jobs/{job.id}"):
        with open_page(browser, stage.url + path, width=width, scheme=scheme) as tab:
            page = tab.page
            page.wait_for_load_state("networkidle") if page.locator("#live").count() == 0 else is_live(page)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert find_violations(page) == [], path
            expected = ("GPU stall", "404 (Not Found)")
            assert [one for one in tab.trouble if not any(text in one for text in expected)] == [], path
    stage.queue.cancel(job.id)


@pytest.mark.full
def test_everything_can_be_reached_and_done_by_keyboard(browser: Browser, stage: Stage) -> None:
    with open_page(browser, stage.url) as tab:
        page = tab.page
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        for name in ("admlops", "Overview", "Start"):
            page.keyboard.press("Tab")
            expect(page.get_by_role("link", name=name, exact=True)).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url("**/start")
        page.get_by_role("link", name=re.compile("Evaluate a run")).focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/start/evaluate")
        page.get_by_label("Run", exact=True).focus()
        page.keyboard.type("near")
        page.get_by_role("button", name="Start").focus()
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Enter")
        page.wait_for_url("**/jobs/*")
        expect(page.get_by_role("heading", level=1)).to_have_text("Evaluation near")
        page.get_by_role("region", name="Lines of the log").focus()
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#part-job .chip")).to_have_text("Cancelled")
        page.get_by_role("button", name="Try again").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#part-job .chip")).to_have_text("Waiting")
    stage.queue.purge()


def test_curves_are_drawn_in_the_colours_of_the_page(browser: Browser, stage: Stage) -> None:
    with open_page(browser, f"{stage.url}/runs/near", scheme="dark") as tab:
        page = tab.page
        expect(page.locator("#telemetry canvas")).to_have_count(3)
        before = page.locator("#telemetry .plot").first.bounding_box()
        page.emulate_media(color_scheme="light")
        expect(page.locator("#telemetry canvas")).to_have_count(3)
        assert page.locator("#telemetry .plot").first.bounding_box() == before
        page.goto(f"{stage.url}/history")
        expect(page.locator("canvas")).to_have_count(1)
        with page.expect_navigation(url=re.compile(r"metric=")):
            page.get_by_label("Metric").select_option(index=1)
        expect(page.locator("canvas")).to_have_count(1)
        assert [one for one in tab.trouble if "GPU stall" not in one] == []


@pytest.mark.full
def test_nothing_moves_when_a_page_comes_to_life(browser: Browser, stage: Stage) -> None:
    watch = """new PerformanceObserver((list) => { for (const one of list.getEntries()) window.shift += one.value; })
        .observe({ type: "layout-shift", buffered: true });"""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(f"window.shift = 0; {watch}")
    page = context.new_page()
    for path in ("/", "/runs/near"):
        page.goto(stage.url + path)
        page.wait_for_timeout(1500)
        assert page.evaluate("window.shift") < 0.01, path
    context.close()
