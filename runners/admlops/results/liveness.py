"""Tell a run that goes on from one whose process was killed: both headers say `running`."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from admlops.results.header import RunState

SILENT_S = 30.0
"""A run writes telemetry twice a second; one on another machine that has written none for this long has ended."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

ObservedState = RunState | Literal["stopped"]
"""`stopped`: the process that ran it is gone, and `--resume` goes on."""


def identify_host() -> str:
    """Return what tells this machine, since its last start, from another that sees the same disk."""
    with suppress(OSError):
        # A container shares the boot id with its host, but has process ids and locks of its own.
        return f"{BOOT_ID.read_text().strip()}-{Path('/proc/self/ns/pid').stat().st_ino}"
    return "unknown"


def is_alive(folder: Path, host: object) -> bool:
    """Say whether a process writes to a run. `host` is the machine that the run was last started on, if known."""
    if _is_locked(folder / "run.lock"):
        return True
    return host not in (None, identify_host()) and _written_lately(folder / "telemetry.jsonl")


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    except OSError:  # a folder that we may not write to
        return False
    lock.release()
    return False


def _written_lately(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < SILENT_S
    except OSError:
        return False
