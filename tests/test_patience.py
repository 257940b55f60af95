"""Limits of tests: they hold on an idle machine, and give way by as much as a machine is crowded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.patience import MOST, Limit, run_patiently

from admlops.core.paths import find_layout

PROGRAM = "import sys, time; print('begun', flush=True); time.sleep(float(sys.argv[1])); print('ended')"


@pytest.mark.parametrize(("crowding", "more_s"), [(1.0, 0.0), (1.05, 0.5), (3.5, 10.0), (1000.0, 10.0)])
def test_a_limit_gives_way_by_as_much_as_the_machine_is_crowded(
    crowding: float, more_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 50.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    limit = Limit(10.0, crowding=lambda: crowding)
    now_s = 60.0
    assert limit.more_s() == pytest.approx(more_s)
    now_s = 50.0 + 10.0 * MOST
    assert limit.more_s() == 0.0


def test_what_was_granted_once_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, crowding = 0.0, [3.0, 1.0, 1.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    limit = Limit(10.0, crowding=lambda: crowding.pop(0))
    now_s = 10.0
    assert limit.more_s() == 10.0
    now_s = 20.0
    assert limit.more_s() == 10.0
    now_s = 30.0
    assert limit.more_s() == 0.0


def test_a_program_is_waited_for_on_a_crowded_machine_alone() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = run_patiently([*command, "1.5"], timeout_s=0.5, crowding=lambda: MOST)
    assert (done.returncode, done.stdout) == (0, "begun\nended\n")
    with pytest.raises(subprocess.TimeoutExpired):
        run_patiently([*command, "60"], timeout_s=0.5, crowding=lambda: 1.0)


CONFTEST = """
import pytest
import tests.patience as patience

@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item, settings):
    crowding = 6.0 if item.name == "test_crowded" else 1.0
    patience.Limit.__init__.__kwdefaults__["crowding"] = lambda: crowding
    return patience.set_patient_timer(item, settings)
"""
TESTS = """
import time

import pytest

@pytest.mark.timeout(1)
def test_crowded():
    time.sleep(1.5)

@pytest.mark.timeout(1)
def test_idle():
    time.sleep(60)
"""


def test_a_test_is_ended_where_nothing_else_wants_the_machine(tmp_path: Path) -> None:
    for name, text in (("conftest.py", CONFTEST), ("test_two.py", TESTS), ("pytest.ini", "[pytest]\n")):
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", tmp_path / "pytest.ini", tmp_path]
    ended = run_patiently(command, timeout_s=60, env={**os.environ, "PYTHONPATH": str(find_layout().root)})
    assert "1 failed, 1 passed" in ended.stdout
    assert "test_two.py::test_idle" in ended.stdout.partition("short test summary")[2]
    assert "Timeout (>1" in ended.stdout
