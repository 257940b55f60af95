"""Samples read ahead, with real workers: the same records as read in turn, and nothing left of the readers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.execution.execution_bench import PATIENT, Bench
from tests.interpreters import PYTHON38

from admlops.execution.batches import Batch
from admlops.execution.cancel import CancelToken
from admlops.execution.deadlines import Deadlines
from admlops.results.run_folder import records_digest


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """Two scenes of a few samples."""
    bench.shape = {"a": 7, "b": 3}
    return bench


def go(bench: Bench, options: Mapping[str, Any] | None = None, *, prefetch: int = 2, **more: Any) -> str:
    """Run to the end; the digest of the records."""
    options = dict(options or {})
    settings = {"options": options, "prefetch": prefetch}
    summary = bench.go(options, adapter="reading.py", settings=settings, **more)
    assert summary.state == "complete"
    assert bench.tokens() == bench.all_tokens()
    assert bench.living() == []
    return records_digest(bench.run)


def go_in_turn(bench: Bench, options: Mapping[str, Any] | None = None, **more: Any) -> str:
    """The digest of the same run in a folder of its own, without readers."""
    alone = Bench(bench.folder / "alone", bench.shape)
    alone.folder.mkdir()
    return go(alone, options, prefetch=0, **more)


def statuses(bench: Bench) -> dict[str, str]:
    return {one.metadata.sample_token: one.metadata.status for one in bench.records()}


PYTHONS = [
    Path(sys.executable),
    pytest.param(
        Path(str(PYTHON38)),
        marks=pytest.mark.skipif(PYTHON38 is None, reason="needs a python3.8 on PATH or in ~/.pyenv/versions"),
    ),
]


@pytest.mark.parametrize("python", PYTHONS)
def test_samples_read_ahead_give_the_records_of_samples_read_in_turn(bench: Bench, python: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    failing = {"unreadable": ["a-0", "a-3", "b-2"], "large": ["a-5"], "strange": ["a-4"], "bytes": 6_000_000}
    ahead = go(bench, {**failing, "marks": str(marks)}, python=python)
    readers = {(marks / token).read_text() for token in bench.all_tokens()}
    assert 2 <= len(readers) <= 3, "the worker reads the first, and what is too large; others read the rest"
    assert statuses(bench) == {
        token: "failed" if token in failing["unreadable"] else "ok" for token in bench.all_tokens()
    }
    assert ahead == go_in_turn(bench, failing, python=python)
    assert "samples are read ahead by 2 processes" in bench.log()
    assert "DataError: a-3 cannot be read" in bench.log()
