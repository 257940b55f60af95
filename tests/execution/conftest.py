"""A bench per test, which checks at the end that no process of its workers is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.execution.execution_bench import Bench

from admlops.execution.process_cleanup import end_processes


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if not made.path.exists() or not made.events("worker_started"):
        return
    living = made.living()
    end_processes(frozenset(event["mark"] for event in made.events("worker_started")))
    assert living == []
