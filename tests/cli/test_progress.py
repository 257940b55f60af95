"""Progress of installations: bars with sizes and speed on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from admlops.cli import install_progress
from admlops.core.types import Progress

ON_A_TERMINAL = """
import time
from admlops.cli.install_progress import show_installation
from admlops.core.types import Progress

with show_installation() as (say, watch):
    for done in (0, 5_000_000, 8_000_000):
        watch(Progress(phase="download", done=done, total=10_000_000, unit="bytes"))
        time.sleep(0.3)
    watch(Progress(phase="link", done=1, total=2, unit="packages"))
    say("a [line] with brackets")
"""


def test_elsewhere_a_line_now_and_then_has_sizes_and_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0]
    monkeypatch.setattr(install_progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    told = [
        *(Progress(phase="download", done=done, total=10_000_000, unit="bytes") for done in range(0, 10**7, 3 * 10**6)),
        *(Progress(phase="packages", done=done, total=None, unit="bytes") for done in (0, 1_000_000, 3_000_000)),
        *(Progress(phase="packages", done=done, total=None, unit="bytes") for done in (0, 2_000_000, 4_000_000)),
        *(Progress(phase="link", done=done, total=2, unit="packages") for done in (0, 1, 2)),
    ]
    with install_progress.show_installation() as (say, watch):
        for progress in told:
            watch(progress)
            now[0] += 3  # seconds; a line is due every five
        say("built")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["download: 6 of 10 MB, 1.0 MB/s", "packages: 3 MB, 0.5 MB/s", "packages: 4 MB, 0.7 MB/s", "built"]


def test_on_a_terminal_there_is_a_bar() -> None:
    ours, theirs = os.openpty()
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([sys.executable, "-c", ON_A_TERMINAL], stderr=theirs, env=variables) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    assert b"8.0/10.0 MB" in shown
    assert b"MB/s" in shown
    assert b"a [line] with brackets" in shown
