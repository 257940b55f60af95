"""The process of a job, as its runner sees it: started, watched, and ended for good."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from admlops.core.paths import Layout
from admlops.core.processes import SECRET_MARKS
from admlops.core.storage import explain_os_error, write_atomically
from admlops.execution.process import Program, SupervisedProcess
from admlops.execution.process_cleanup import end_processes
from admlops.execution.process_log import ProcessLog
from admlops.service.jobs.folders import job_folder, job_log
from admlops.service.jobs.process import Order
from admlops.service.jobs.settings import encode_order

MARKS_FILE = "process.json"
"""Who works, or worked last, on a job of this machine: `{"mark", "boot"}`."""
KILL_S = 10.0
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def start_child(layout: Layout, order: Order, endpoint: str) -> SupervisedProcess:
    """Start the process of a job, after ending what an earlier attempt left on this machine.

    A process that was stopped past its lease still holds the run's lock, and would go on writing if it were continued.

    Raises:
        EnvError: it cannot be started.
        StorageError: its folder cannot be written.
    """
    folder = job_folder(layout, order.job)
    end_earlier(folder)
    read, write = os.pipe()
    try:
        with os.fdopen(write, "wb") as pipe:
            pipe.write(encode_order(order))  # far less than a pipe holds: the input is read from the database
        child = SupervisedProcess(
            Program(
                arguments=(sys.executable, "-m", "admlops.service.jobs.process", str(read)),
                cwd=layout.root,
                variables=_variables(order.settings.database),
            ),
            log=ProcessLog(job_log(layout, order.job)),
            title=f"{endpoint}, attempt {order.attempt}",
            pass_fds=(read,),
        )
    finally:
        os.close(read)
    try:
        write_atomically(folder / MARKS_FILE, json.dumps({"mark": child.mark, "boot": _boot()}).encode(), sync=False)
    except BaseException:
        child.stop(grace_s=0.0)
        raise
    return child


def _variables(database: str) -> dict[str, str]:
    """Return this process's environment without secrets: models' processes inherit what the job's has."""
    return {
        name: value
        for name, value in os.environ.items()
        if database not in value and not any(mark in name.upper() for mark in SECRET_MARKS)
    }


def end_earlier(folder: Path) -> None:
    """Kill what an earlier attempt left on this machine.

    Raises:
        StorageError: it does not end: it waits for a disk or a driver that does not answer.
    """
    try:
        left = json.loads((folder / MARKS_FILE).read_bytes())
    except (OSError, ValueError):
        return
    if left.get("boot") != _boot() or not isinstance(left.get("mark"), str):
        return
    still = end_processes(frozenset({left["mark"]}), kill_s=KILL_S)
    if still:
        raise explain_os_error(OSError(f"process {still[0]} of an earlier attempt cannot be killed"), folder)


def _boot() -> str:
    """Return an id that tells this start of this machine from all others."""
    with suppress(OSError):
        return BOOT_ID.read_text().strip()
    return ""
