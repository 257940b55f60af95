"""A log keeps its beginning and its end, however much is written between them, and while it is being written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from admlops.core.errors import StorageError
from admlops.execution.process_log import ProcessLog


def test_the_middle_goes_the_ends_stay(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "logs" / "w.log", limit_bytes=10_000, head_bytes=1000, tail_bytes=2000)
    descriptor = log.open("worker 0, start 1")
    written = len("--- worker 0, start 1\n")
    for _ in range(3):
        written += os.write(descriptor, b"0123456789" * 1500)
        assert log.has_grown()
    written += os.write(descriptor, b"the end")
    assert log.has_grown()
    assert not log.has_grown()
    text = log.path.read_text()
    assert len(text) < 10_000
    assert text.startswith("--- worker 0, start 1\n0123")
    assert text.endswith("0123456789the end")
    notice = next(line for line in text.splitlines() if "were cut here" in line)
    # Everything written is still there or counted, but for the notices themselves.
    cut = int(notice.split()[2])
    assert abs(len(text) + cut - written) < 300
    os.close(descriptor)


def test_the_tail_is_this_workers_own(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "w.log")
    for number, words in enumerate((b"first life\n", b"second life\n")):
        descriptor = log.open(f"start {number}")
        os.write(descriptor, words)
        os.close(descriptor)
    assert log.tail() == "second life"
    assert "first life" in log.path.read_text()


def test_a_log_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(StorageError, match=r"w\.log could not be written"):
        ProcessLog(tmp_path / "logs" / "w.log").open("start")


def test_a_log_that_someone_removes_is_no_failure(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "w.log")
    os.close(log.open("start"))
    log.path.unlink()
    assert not log.has_grown()
    assert log.tail() == ""
