"""A large comparison stays a file that one can send: 6 models on the same 200 samples."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.reports.browser import find_violations, open_tab
from tests.reports.generated_comparison import generate_comparison

from admlops.core.paths import Layout
from admlops.reports import write_report

MOST_BYTES = 15_000_000
MOST_PIXELS = 30_000
"""Of height, at a usual width: two models on eight samples have 11,000, and each further model some 1,400."""


@pytest.mark.full
@pytest.mark.browser
def test_six_models_on_200_samples(browser: Browser, layout: Layout, tmp_path: Path) -> None:
    """`benchmarks/report_page.py` says how fast it opens."""
    runs, data = generate_comparison(tmp_path, layout, models=6, scenes=5, samples=40, clutter=100, scale=0.25)
    page = write_report(tmp_path / "report.html", runs, {}, data=data)
    assert page.stat().st_size < MOST_BYTES
    with open_tab(browser, page, width=1920) as tab:
        assert tab.page.locator("#explorer [name=found]").inner_text() == "all of 200 samples"
        assert tab.page.locator("#strip .strip-row").count() == 6
        assert tab.page.evaluate("document.documentElement.scrollHeight") < MOST_PIXELS
        assert tab.page.locator("#stage svg.bird-eye").count() == 6
        assert find_violations(tab.page) == []
        assert tab.trouble == []
