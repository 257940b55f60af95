"""The disks that folders lie on: what is free, and of which kind."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/mounts")


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What a folder lies on: sizes in MB (10⁶ bytes), the kind of file system (`ext4`, `overlay`, `nfs4`)."""

    total_mb: float
    free_mb: float
    file_system: str


def describe_disk(folder: Path, *, mounts: Path = MOUNTS) -> Disk | None:
    """Describe the disk of a folder, or of the nearest one above it that is there; None if it cannot be asked."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    if there is None:
        return None
    try:
        usage = shutil.disk_usage(there)
    except OSError:
        return None
    kind = find_file_system(there, mounts=mounts)
    return Disk(total_mb=round(usage.total / 1e6), free_mb=round(usage.free / 1e6), file_system=kind or "unknown")


def find_file_system(folder: Path, *, mounts: Path = MOUNTS) -> str:
    """Return the type of the file system that holds a folder, as /proc/mounts names it; "" where it cannot be read."""
    found, kind = Path(), ""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, where, type_, *_ = line.split(" ")
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), where))
        if folder.resolve().is_relative_to(point) and len(point.parts) >= len(found.parts):
            found, kind = point, type_
    return kind
