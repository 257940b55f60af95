"""The host's memory and cores, as far as a worker may use them. Linux; elsewhere nothing is known and refused."""

import os
import resource
from typing import Any, Iterator

KILOBYTES_PER_MEGABYTE = 1000.0 / 1.024
"""Linux counts in units of 1024 bytes; a megabyte here is 10⁶ bytes."""
BYTES_PER_MEGABYTE = 1e6
NANOSECONDS = 1e9
UNKNOWN_MB = float("inf")
_CGROUP_PAIRS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def host_peak_mb() -> float:
    """Return the most memory that this process has had at once [MB, 10⁶ bytes]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KILOBYTES_PER_MEGABYTE


def resident_peak_mb() -> float:
    """Return the most memory that this program has had at once [MB, 10⁶ bytes].

    `host_peak_mb` begins with the peak of the process that started this one, because exec keeps the kernel's count.
    """
    high = _first_number("/proc/self/status", "VmHWM:")
    return host_peak_mb() if high is None else high / KILOBYTES_PER_MEGABYTE


def waited_for_cores_s() -> float:
    """Return how long the threads of this process were ready to compute while no core was free, in all [s].

    With the processor time it is what they would have computed alone. 0 where the kernel does not say.
    """
    try:
        tasks = os.listdir("/proc/self/task")
    except OSError:
        return 0.0
    waited = [_second_number("/proc/self/task/{}/schedstat".format(task)) for task in tasks]
    return sum(waited) / NANOSECONDS


def host_memory_left_mb() -> float:
    """Return what the machine, or the container, has left [MB, 10⁶ bytes]; infinity where that is not known."""
    return min(_candidates(), default=UNKNOWN_MB)


def oom_kills() -> float:
    """Return how many processes of this control group, or machine, the kernel has ended for want of memory so far."""
    for path, key in (("/sys/fs/cgroup/memory.events", "oom_kill "), ("/proc/vmstat", "oom_kill ")):
        count = _first_number(path, key)
        if count is not None:
            return float(count)
    return 0.0


def _candidates() -> Iterator[float]:
    for limit, used in _CGROUP_PAIRS:
        numbers = [_first_number(limit), _first_number(used)]
        if None not in numbers:
            yield (numbers[0] - numbers[1]) / BYTES_PER_MEGABYTE
    available = _first_number("/proc/meminfo", "MemAvailable:")
    if available is not None:
        yield available / KILOBYTES_PER_MEGABYTE


def _second_number(path: str) -> float:
    """The second number of a file; 0 where there is none, as of a thread that has ended."""
    try:
        with open(path) as file:
            return float(file.read().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0


def _first_number(path: str, key: str = "") -> Any:
    """The number after `key` in a file, in its own unit; None where there is none, such as for `max`."""
    try:
        with open(path) as file:
            lines = [line[len(key) :] for line in file if line.startswith(key)]
        return float(lines[0].split()[0])
    except (OSError, ValueError, IndexError):
        return None
