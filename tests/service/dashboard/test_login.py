"""A browser logs in by the printed link, follows the queue by its cookie, and logs out."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.service.dashboard.test_browser import is_live, open_page
from tests.service.served import serve

pytestmark = [pytest.mark.browser, pytest.mark.full]


def test_a_link_logs_a_browser_in_once_and_its_cookie_opens_pages_streams_and_forms(
    browser: Browser, tmp_path: Path
) -> None:
    expect.set_options(timeout=120_000)
    with serve(tmp_path) as served, open_page(browser, served.url) as tab:
        page = tab.page
        expect(page.get_by_label("Token")).to_be_visible()  # who is nobody is sent to the login
        assert served.link is not None
        page.goto(served.link)
        page.get_by_role("button", name="Log in").click()
        is_live(page)
        page.goto(f"{served.url}/start/export")
        page.get_by_label("Model", exact=True).select_option("CalibrationStatus")
        page.get_by_role("button", name="Start").click()
        page.wait_for_url("**/jobs/*")
        is_live(page)
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#part-job .chip")).to_have_text("Cancelled")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
        page.goto(served.url)
        expect(page.get_by_label("Token")).to_be_visible()
