"""One service with a stand-in runner for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.service.results import write_results
from tests.service.served import Served, serve, stand_in_runner

from admlops.core.paths import Layout


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Folders with three evaluated runs and a comparison of them. Copy them, please, to change anything."""
    return write_results(tmp_path_factory.mktemp("results")).layout


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service whose jobs a stand-in does at once; loopback addresses are allowed."""
    folder = tmp_path_factory.mktemp("served")
    with serve(folder, "--allow-private-addresses") as service, stand_in_runner(service.database):
        yield service
