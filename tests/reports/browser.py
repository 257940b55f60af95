"""Chromium for the tests that look at a page: a browser, and a tab that notes everything that goes wrong in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
SERIOUS = ("serious", "critical")


@dataclass
class Tab:
    """An open page, and what it said on the console or asked of the network."""

    page: Page
    trouble: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note errors and requests from now on."""
        page, trouble = self.page, self.trouble
        page.on("console", lambda message: trouble.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("requestfailed", lambda asked: trouble.append(f"failed: {asked.url[:80]}"))
        page.on("request", lambda asked: trouble.extend([] if _is_local(asked.url) else [asked.url]))


def _is_local(url: str) -> bool:
    return url.startswith(("file:", "data:"))


@contextmanager
def launch() -> Iterator[Browser]:
    """A headless browser. Skips the test where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs one of {', '.join(NAMES)} on PATH: run install/browser.sh")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def open_tab(
    browser: Browser,
    page: Path,
    *,
    width: int = 1280,
    scheme: Literal["light", "dark"] = "light",
    script: bool = True,
    address: str = "",
) -> Iterator[Tab]:
    """The page in a tab of its own; `address` is what stands behind the file's name, such as `#?sample=…`."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
    )
    tab = Tab(page=context.new_page())
    tab.watch()
    tab.page.goto(page.as_uri() + address)
    yield tab
    context.close()


def find_violations(page: Page) -> list[str]:
    """What axe-core finds serious or critical."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} ({' '.join(node['failureSummary'].split())[:240]})"
        for one in found
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]
