"""How many processes the kernel has killed for want of memory: a SIGKILL that nobody sent is explained by it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

VMSTAT = Path("/proc/vmstat")
CGROUP_ROOT = Path("/sys/fs/cgroup")


def count_oom_kills() -> int:
    """A number that rises with every such kill on this machine or in this process's cgroup."""
    total = _field(VMSTAT, "oom_kill")
    for folder in _cgroups():
        total += _field(folder / "memory.events", "oom_kill")  # cgroup v2
        total += _field(folder / "memory.oom_control", "oom_kill")  # cgroup v1
    return total


def _cgroups() -> set[Path]:
    """This process's memory cgroups, from lines such as `4:memory:/a/b` (v1) and `0::/a/b` (v2)."""
    found = set()
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                found |= {CGROUP_ROOT / path.lstrip("/"), CGROUP_ROOT}
            elif "memory" in controllers.split(","):
                # In a container the path is the host's, and what is mounted is the container's own part of it.
                found |= {CGROUP_ROOT / "memory" / path.lstrip("/"), CGROUP_ROOT / "memory"}
    return found


def _field(path: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
