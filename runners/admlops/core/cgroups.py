"""Reading the control groups (version 1 and 2) that limit the memory of a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
VMSTAT = Path("/proc/vmstat")
LIMIT_AND_USE = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""Files of versions 2 and 1. Without a limit, version 2 says "max", and version 1 a number beyond any memory."""


def memory_left_bytes(root: Path = ROOT) -> int | None:
    """Return how much the group with the least memory left may still take; None without a limit.

    `root` is the mount point.
    """
    left = []
    for group in _memory_groups(root):
        for limit, used in LIMIT_AND_USE:
            with suppress(OSError, ValueError):
                free = int((group / limit).read_text()) - int((group / used).read_text())
                left.append(max(free + _reclaimable_bytes(group), 0))
    return min(left, default=None)


def count_kills(root: Path = ROOT) -> int | None:
    """Return how many processes of our control group the kernel has killed when out of memory; None if unknown."""
    return _count_kills(max(_memory_groups(root), key=_depth))


class OomWatch:
    """Watches the control group of a process for kills by the kernel when it was out of memory.

    A process may be moved to another group after its start: call `look` now and then while it lives. Kills elsewhere on
    the machine do not count; if the process's group keeps no count, the machine's count is used instead.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._counters: dict[Path, int | None] = {}
        self._machine = _field(VMSTAT, "oom_kill")
        self.look()

    def look(self) -> None:
        """Note the group that the process is in now; nothing once it is gone."""
        membership = Path(f"/proc/{self._pid}/cgroup")
        if not membership.exists():
            return
        group = max(_memory_groups(ROOT, membership), key=_depth)
        if group not in self._counters:
            self._counters[group] = _count_kills(group)

    def has_killed(self) -> bool:
        """Say whether the kernel has killed a process of the group since it was first seen."""
        known = {group: before for group, before in self._counters.items() if before is not None}
        if not known:
            return _field(VMSTAT, "oom_kill") > self._machine
        return any((_count_kills(group) or 0) > before for group, before in known.items())


def _count_kills(group: Path) -> int | None:
    """Return how many processes of a group the kernel has killed (versions 2 and 1); None if it keeps no count."""
    for name in ("memory.events", "memory.oom_control"):
        if (group / name).is_file():
            return _field(group / name, "oom_kill")
    return None


def _depth(group: Path) -> tuple[bool, int]:
    """Rank a group for `max`: groups that keep a count first, then the deepest, which is a process's own."""
    return _count_kills(group) is not None, len(group.parts)


def _memory_groups(root: Path, membership: Path | None = None) -> set[Path]:
    """List a process's groups and those around them, from lines such as `4:memory:/a/b` (v1) and `0::/a/b` (v2)."""
    # In a container the path is the host's, and what is mounted is the container's own part of it.
    groups = {root, root / "memory"}
    with suppress(OSError):
        for line in (membership or MEMBERSHIP).read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "" or "memory" in controllers.split(","):
                groups |= set(_path_down(root if controllers == "" else root / "memory", path))
    return groups


def _path_down(mounted: Path, path: str) -> Iterator[Path]:
    for name in Path(path.lstrip("/")).parts:
        mounted /= name
        yield mounted


def _reclaimable_bytes(group: Path) -> int:
    """Return the file pages that the kernel gives back when a program wants memory."""
    return _field(group / "memory.stat", "total_inactive_file") or _field(group / "memory.stat", "inactive_file")


def _field(path: Path, name: str) -> int:
    """The number behind a name in a file of lines `name number`; 0 where there is none."""
    with suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
