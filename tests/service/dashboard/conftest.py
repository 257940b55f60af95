"""One service with a few runs and a comparison, and one browser, for all tests of a module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from playwright.sync_api import Browser
from tests.reports.browser import launch
from tests.service.served import Served, serve

from admlops.core.paths import Layout
from admlops.service.queue.database import open_database
from admlops.service.queue.jobs import JobQueue


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A running service, its queue, and its folders. The tests do the jobs themselves."""

    served: Served
    queue: JobQueue
    layout: Layout

    @property
    def url(self) -> str:
        return self.served.url


@pytest.fixture(scope="module")
def stage(results: Layout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A service for this machine alone, with results in its folders and no runner."""
    layout = replace(results, repository=tmp_path_factory.mktemp("stage") / "repository")
    shutil.copytree(results.repository, layout.repository)
    with serve(layout.repository, with_tokens=False) as served:
        database = open_database(served.database)
        yield Stage(served=served, queue=JobQueue(database), layout=layout)
        database.close()


@pytest.fixture(scope="module")  # an open browser runs an event loop, which tests of other modules could not bear
def browser() -> Iterator[Browser]:
    with launch() as started:
        yield started
