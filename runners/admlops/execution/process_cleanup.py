"""Finding and ending every process that a supervised program has started, whatever it did to stay.

A program leads a process group of its own and carries a random mark in its environment. Its children inherit both; one
that leaves the group (setsid, a double fork) still has the mark.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

MARK_VARIABLE = "ADMLOPS_WORKER"
PROC = Path("/proc")
CHECK_INTERVAL_S = 0.02
GONE = frozenset("ZX")
"""A zombie runs nothing and holds nothing; in a container without an init it may stay for ever."""


def find_processes(marks: frozenset[str], *, group: int | None = None) -> list[int]:
    """List the living processes that carry one of `marks` or belong to the process group."""
    wanted = [f"{MARK_VARIABLE}={mark}".encode() for mark in marks]
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it ended in the meantime, or is another user's
            state, its_group = _state_and_group(entry)
            if state in GONE or int(entry.name) == os.getpid():
                continue
            if its_group == group or (wanted and _carries(entry, wanted)):
                found.append(int(entry.name))
    return found


def end_processes(
    marks: frozenset[str], *, group: int | None = None, term_s: float = 0.0, kill_s: float = 5.0
) -> list[int]:
    """Send TERM, wait `term_s`, send KILL, and wait up to `kill_s` for the end. Returns those that are still there.

    A process can outlive KILL only inside the kernel, such as a hung GPU driver or network disk.
    """
    if term_s > 0:
        _signal_all(find_processes(marks, group=group), signal.SIGTERM)
        _wait_gone(marks, group, term_s)
    deadline = time.monotonic() + kill_s
    # Repeatedly: a process may fork during the search.
    while left := find_processes(marks, group=group):
        _signal_all(left, signal.SIGKILL)
        if time.monotonic() > deadline:
            return left
        time.sleep(CHECK_INTERVAL_S)
    return []


def processor_seconds(marks: frozenset[str], *, group: int | None = None) -> float:
    """Return the processor time of these processes and of their children that have ended [s]."""
    total = 0.0
    for pid in find_processes(marks, group=group):
        with suppress(OSError):
            fields = (PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
            total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # utime stime cutime cstime
    return total


def _wait_gone(marks: frozenset[str], group: int | None, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and find_processes(marks, group=group):
        time.sleep(CHECK_INTERVAL_S)


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _state_and_group(entry: Path) -> tuple[str, int]:
    # pid (name, which may hold anything) state ppid pgrp …
    fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
    return fields[0].decode(), int(fields[2])


def _carries(entry: Path, wanted: list[bytes]) -> bool:
    variables = (entry / "environ").read_bytes().split(b"\0")
    return any(variable in wanted for variable in variables)
