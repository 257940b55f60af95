"""A model runs for real while the service is restarted; the open page comes back by itself and shows the end."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.service.dashboard.test_browser import is_live, open_page
from tests.service.served import serve

from admlops.environments import Environment

pytestmark = [pytest.mark.browser, pytest.mark.full]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.timeout(600)
def test_a_job_outlives_the_service_and_the_page_follows_it_to_its_report(
    browser: Browser, synthetic_root: Path, groundplane_environment: Environment, tmp_path: Path
) -> None:
    expect.set_options(timeout=240_000)
    options = ("--port", str(free_port()), "--runners", "1", "--data-root", synthetic_root.parent)
    with serve(tmp_path, *options, with_tokens=False) as first, open_page(browser, f"{first.url}/start/run") as tab:
        page = tab.page
        page.get_by_label("Model", exact=True).select_option("GroundPlane")
        page.get_by_label("Data set").fill(synthetic_root.name)
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/jobs/*")
        is_live(page)
        expect(page.locator("#part-job small")).to_have_text(re.compile("[1-9] of 8 samples"))
        page.evaluate("window.same = true")
        assert first.stop(timeout_s=120) == 0
        expect(page.locator("#live-status")).to_have_attribute("data-state", "lost")
        with serve(tmp_path, *options, with_tokens=False):
            is_live(page)
            expect(page.locator("#part-job .chip")).to_have_text("Done")
            assert page.evaluate("window.same"), "the page was not loaded again"
            expect(page.locator("#part-scenes tbody tr")).to_have_count(2)
            assert page.locator("#part-scenes h2").count() == 1
            page.get_by_role("link", name="Open the run").click()
            expect(page.locator("#part-run .chip")).to_have_text("Complete")
            page.get_by_role("link", name="Open the report").click()
            page.wait_for_url("**/report")
            expect(page.get_by_role("heading", level=1)).to_contain_text("GroundPlane-")
