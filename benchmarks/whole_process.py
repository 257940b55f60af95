"""A command as a process: its time from start to end, and the memory of all its processes together."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.evaluation_row import Timing

BETWEEN_LOOKS_S = 0.05


def time_process(command: Sequence[str | Path], variables: Mapping[str, str] | None = None) -> tuple[Timing, float]:
    """The time of a process, its children's processor time included, and its peak memory [MB]; it prints to stderr.

    Memory is the proportional set size of the process and all below it, looked at every 50 ms: what they share counts
    once. A process alone has held at least what the kernel says of it.
    """
    timing = Timing(load=os.getloadavg()[0])
    begun = time.perf_counter()
    words = [str(word) for word in command]
    process = subprocess.Popen(words, env={**os.environ, **(variables or {})}, stdout=sys.stderr)
    peaks, over = [0.0], threading.Event()
    watching = threading.Thread(target=_watch, args=(process.pid, peaks, over))
    watching.start()
    _, status, usage = os.wait4(process.pid, 0)
    timing.wall_s, timing.cpu_s = time.perf_counter() - begun, usage.ru_utime + usage.ru_stime
    over.set()
    watching.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed ({process.returncode}): {' '.join(words)}")
    return timing, max(peaks[0], usage.ru_maxrss / 1e3)


def _watch(pid: int, peaks: list[float], over: threading.Event) -> None:
    while not over.wait(BETWEEN_LOOKS_S):
        peaks[0] = max(peaks[0], sum(_memory_mb(one) for one in _with_children(pid)))


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return  # it has ended
    for child in children:
        yield from _with_children(child)


def _memory_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6
