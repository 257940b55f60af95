"""One browser a module and one page for every test that looks at the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.reports.browser import launch
from tests.reports.fabricate import make_claims, make_data, make_run

from admlops.reports import missing_model, write_report


@pytest.fixture(scope="module")  # an open browser runs an event loop, which tests of other modules could not bear
def browser() -> Iterator[Browser]:
    with launch() as started:
        yield started


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison: a good run, one with failures, and a model that is not set up."""
    folder = tmp_path_factory.mktemp("report")
    absent = missing_model("VAD", hint="not set up: no lock. Next: admlops models show VAD", claims=make_claims())
    runs = [make_run(), make_run("MapTR", failed=3, seed=2, better=0.1), absent]
    return write_report(folder / "report.html", runs, {}, data=make_data(folder / "data"))
