"""The control groups that limit this process's memory, of version 1 and 2, and what their files say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
VMSTAT = Path("/proc/vmstat")
LIMIT_AND_USE = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""Versions 2 and 1. Without a limit the first says "max", the second a number beyond any memory."""


def memory_left_bytes(root: Path = ROOT) -> int | None:
    """What the group with the least left may still take, None without a limit. `root` is where groups are mounted."""
    left = []
    for group in _memory_groups(root):
        for limit, used in LIMIT_AND_USE:
            with suppress(OSError, ValueError):
                free = int((group / limit).read_text()) - int((group / used).read_text())
                left.append(max(free + _reclaimable_bytes(group), 0))
    return min(left, default=None)


def count_oom_kills() -> int:
    """A number that rises with every process that the kernel kills for want of memory, here or in these groups.

    A SIGKILL that nobody sent is explained by it.
    """
    total = _field(VMSTAT, "oom_kill")
    for group in _memory_groups(ROOT):
        total += _field(group / "memory.events", "oom_kill") + _field(group / "memory.oom_control", "oom_kill")
    return total


def _memory_groups(root: Path) -> set[Path]:
    """This process's groups and those around them, from lines such as `4:memory:/a/b` (v1) and `0::/a/b` (v2)."""
    # In a container the path is the host's, and what is mounted is the container's own part of it.
    groups = {root, root / "memory"}
    with suppress(OSError):
        for line in MEMBERSHIP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "" or "memory" in controllers.split(","):
                groups |= set(_path_down(root if controllers == "" else root / "memory", path))
    return groups


def _path_down(mounted: Path, path: str) -> Iterator[Path]:
    for name in Path(path.lstrip("/")).parts:
        mounted /= name
        yield mounted


def _reclaimable_bytes(group: Path) -> int:
    """Pages of files that the kernel gives back when a program wants memory."""
    return _field(group / "memory.stat", "total_inactive_file") or _field(group / "memory.stat", "inactive_file")


def _field(path: Path, name: str) -> int:
    """The number behind a name in a file of lines `name number`; 0 where there is none."""
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
