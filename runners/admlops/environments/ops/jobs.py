"""How many compilers may run at once: as many as there are cores and memory for."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

GIGABYTE = 1_000_000_000
JOB_BYTES = {"cpu": 1_300_000_000, "cuda": 2_200_000_000}
"""Peak memory of one compiler, as measured on mmcv-full: C++ against torch's headers, and nvcc."""
RESERVED_BYTES = GIGABYTE
"""Left to the rest of the machine."""
CGROUP = Path("/sys/fs/cgroup")


def max_jobs(
    *, device: str, wanted: int | None = None, cores: int | None = None, memory_bytes: int | None = None
) -> int:
    """The number of compilers to start for a device, "cpu" or "cuda"; never more than `wanted`, never fewer than one.

    Cores and memory are the machine's, or the container's where that is less, unless they are given.
    """
    cores = count_cores() if cores is None else cores
    memory_bytes = available_bytes() if memory_bytes is None else memory_bytes
    fitting = (memory_bytes - RESERVED_BYTES) // JOB_BYTES[device]
    return max(1, min(cores, fitting, cores if wanted is None else wanted))


def count_cores(cgroup: Path = CGROUP) -> int:
    """The cores this process may use: its affinity, and its container's quota rounded down, at least one."""
    cores = len(os.sched_getaffinity(0))
    quota = _read_quota(cgroup)
    return cores if quota is None else max(1, min(cores, int(quota)))


def available_bytes(cgroup: Path = CGROUP) -> int:
    """The memory that can be had without swapping: the machine's, or what the container's limit leaves."""
    available = psutil.virtual_memory().available
    left = [limit - used for limit, used in _read_limits(cgroup)]
    return max(0, min([available, *left]))


def _read_quota(cgroup: Path) -> float | None:
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()  # v2; "max" is no number
        return int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota_us = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text())  # v1; -1 is no limit
        period_us = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 else None
    return None


def _read_limits(cgroup: Path) -> list[tuple[int, int]]:
    """(limit, used) of the container's memory, in bytes; the page cache does not count as used."""
    for folder, limit_file, usage_file, cache_field in (
        (cgroup, "memory.max", "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError):
            limit = int((folder / limit_file).read_text())
            used = int((folder / usage_file).read_text())
            return [(limit, used - _read_field(folder / "memory.stat", cache_field))]
    return []


def _read_field(path: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
