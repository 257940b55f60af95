"""One service with a few runs and a comparison, and one browser, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from tests.noisy_runs import NoisyRuns, write_noisy_run, write_noisy_runs
from tests.reports.browser import launch
from tests.service.dashboard.telemetry_lines import write_telemetry
from tests.service.served import Served, serve

from admlops.datasets.base import Dataset
from admlops.evaluation.evaluate import evaluate_run
from admlops.pipeline.compare import take_runs, write_comparison
from admlops.reports import write_report
from admlops.service.queue.database import open_database
from admlops.service.queue.jobs import JobQueue

COMPARISON = "20260101-000000"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A running service, its queue, and what lies in its folders. The tests do the jobs themselves."""

    served: Served
    queue: JobQueue
    runs: NoisyRuns

    @property
    def url(self) -> str:
        return self.served.url


def write_results(folder: Path) -> NoisyRuns:
    """Runs `near` and `far` with curves and a report, `other` over other samples, and a comparison of the three."""
    noisy = write_noisy_runs(folder)
    other = write_noisy_run(noisy.layout.runs / "other", noisy.data, "Other", noise=0.4, scenes=2)
    evaluate_run(other, noisy.data, layout=noisy.layout, say=lambda _line: None)
    runs = [noisy.near, noisy.far, other]
    for run in runs:
        write_telemetry(run.telemetry_path)
    rows = take_runs(noisy.layout, runs, lambda _line: None)
    data: list[Dataset] = [noisy.data]
    target = noisy.layout.repository / "comparisons" / COMPARISON
    done = write_comparison(rows, data, target=target, metric=None)
    page = write_report(target / "report.html", done.run_data(), done.summary, data=None)
    noisy.near.report_path.write_bytes(page.read_bytes())
    return noisy


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A service for this machine alone, with results in its folders and no runner."""
    runs = write_results(tmp_path_factory.mktemp("stage"))
    with serve(runs.layout.repository, with_tokens=False) as served:
        database = open_database(served.database)
        yield Stage(served=served, queue=JobQueue(database), runs=runs)
        database.close()


@pytest.fixture(scope="module")  # an open browser runs an event loop, which tests of other modules could not bear
def browser() -> Iterator[Browser]:
    with launch() as started:
        yield started
