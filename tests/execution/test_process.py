"""A supervised program that is no worker: started, watched, ended with all that it has started."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from admlops.core.errors import EnvError
from admlops.core.processes import process_environment
from admlops.execution.process import Program, SupervisedProcess
from admlops.execution.process_cleanup import find_processes
from admlops.execution.process_log import ProcessLog

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("epoch 1", flush=True)
time.sleep(600)
"""


def start(folder: Path, *arguments: str) -> SupervisedProcess:
    program = Program(arguments=arguments, cwd=folder, variables=process_environment({}))
    return SupervisedProcess(program, log=ProcessLog(folder / "train.log"), title="training")


def wait_until_it_speaks(process: SupervisedProcess, words: str) -> None:
    deadline = time.monotonic() + 60
    while words not in process.log_tail():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_that_ends_by_itself_is_told_by_its_code_and_its_log(tmp_path: Path) -> None:
    process = start(tmp_path, sys.executable, "-c", "print('done'); raise SystemExit(3)")
    assert process.wait(60) == 3
    assert process.has_ended()
    assert process.log_tail() == "done"
    assert (tmp_path / "train.log").read_text().startswith("--- training\n")
    assert process.stop(grace_s=0.1).exit_code == 3


def test_a_stubborn_program_is_gone_with_its_children(tmp_path: Path) -> None:
    process = start(tmp_path, sys.executable, "-c", STUBBORN)
    wait_until_it_speaks(process, "epoch 1")
    marks = frozenset({process.mark})
    assert process.pid in find_processes(marks)
    assert len(find_processes(marks)) == 2
    ending = process.stop(grace_s=0.2)
    assert (ending.exit_code, ending.left) == (-9, [])
    assert find_processes(marks) == []
    assert not process.was_killed_for_memory(-9)


def test_its_processor_time_grows_while_it_computes(tmp_path: Path) -> None:
    process = start(tmp_path, sys.executable, "-c", "print('on', flush=True)\nwhile True: pass")
    wait_until_it_speaks(process, "on")
    before = process.processor_s()
    deadline = time.monotonic() + 60
    while process.processor_s() <= before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.stop(grace_s=0.0)


def test_a_program_that_is_not_there_is_named_and_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(EnvError, match="/no/such/program could not be started"):
        start(tmp_path, "/no/such/program")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
