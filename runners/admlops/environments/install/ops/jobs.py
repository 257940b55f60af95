"""How many compilers may run at once: as many as there are cores and memory for."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from admlops.health.machine import available_memory_bytes

GIGABYTE = 1_000_000_000
JOB_BYTES = {"cpu": 1_300_000_000, "cuda": 2_200_000_000}
"""Peak memory of one compiler, as measured on mmcv-full: C++ against torch's headers, and nvcc."""
RESERVED_BYTES = GIGABYTE
"""Memory left to the rest of the machine."""
CGROUP = Path("/sys/fs/cgroup")


def max_jobs(
    *, device: str, wanted: int | None = None, cores: int | None = None, memory_bytes: int | None = None
) -> int:
    """The number of compilers to start for a device, "cpu" or "cuda"; never more than `wanted`, never fewer than one.

    Cores and memory are the machine's, or the container's where that is less, unless they are given.
    """
    cores = count_cores() if cores is None else cores
    memory_bytes = available_memory_bytes() if memory_bytes is None else memory_bytes
    fitting = (memory_bytes - RESERVED_BYTES) // JOB_BYTES[device]
    return max(1, min(cores, fitting, cores if wanted is None else wanted))


def count_cores(cgroup: Path = CGROUP) -> int:
    """The cores this process may use: its affinity, and its container's quota rounded down, at least one."""
    cores = len(os.sched_getaffinity(0))
    quota = _read_quota(cgroup)
    return cores if quota is None else max(1, min(cores, int(quota)))


def _read_quota(cgroup: Path) -> float | None:
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()  # v2; "max" is no number
        return int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota_us = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())  # v1; -1 is no limit
        period_us = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 else None
    return None
