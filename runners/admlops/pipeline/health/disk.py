"""Each place that files go to: what its disk has free, in bytes and in files, and of which kind it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from admlops.environments.install.preflight import SLOW_FILE_SYSTEMS
from admlops.health.disks import find_file_system
from admlops.pipeline.health.check import Finding, HealthCheck, Place, Status, judge

GIGABYTE = 1_000_000_000
ENOUGH: Mapping[str, tuple[float, float]] = {
    "environments": (15 * GIGABYTE, GIGABYTE),  # one of the older models with its compiler takes 10 to 15 GB
    "repository": (10 * GIGABYTE, GIGABYTE),
    "data": (GIGABYTE, 0),
    "checkpoints": (GIGABYTE, 0),
    "packs": (5 * GIGABYTE, 0),
    "temporary files": (2 * GIGABYTE, GIGABYTE / 5),
}
"""Place → the free bytes below which one is warned, and those below which work fails; others have no bounds."""
ENOUGH_FILES, LEAST_FILES = 200_000, 10_000
"""An environment has 20,000 to 90,000 files."""
MANY_SMALL_FILES = ("environments",)
SLOW = (*SLOW_FILE_SYSTEMS, "fuse", "fuseblk", "9p")


@dataclass(frozen=True)
class _Disk:
    """One file system and the places on it, first the folder that stands for it."""

    folder: Path
    kind: str
    places: tuple[str, ...]


def places_of(place: Place) -> dict[str, Path]:
    """Return every place by its name: the folders of the installation, those that may be links, and the system's."""
    layout = place.layout
    return {
        "checkout": layout.root,
        "repository": layout.repository,
        "data": layout.data,
        "runs": layout.runs,
        "checkpoints": layout.checkpoints,
        "packs": layout.packs,
        "environments": layout.environments,
        "temporary files": Path(place.variables.get("TMPDIR") or "/tmp"),  # noqa: S108  only looked at
    }


def _look(place: Place) -> Iterator[Finding]:
    places = places_of(place)
    for disk in _disks(places, place.root / "proc/mounts"):
        yield from _measure(disk)
        yield _judge_kind(disk)
    for name, folder in places.items():
        if folder.exists() and not os.access(folder, os.W_OK):
            yield Finding(
                measure="writable",
                value=False,
                subject=name,
                status="warn" if name == "data" else "fail",
                problem=f"{folder} cannot be written",
                advice=f"ls -ld {folder}; findmnt -T {folder}   # make it writable, or name another folder",
            )


def _disks(places: Mapping[str, Path], mounts: Path) -> list[_Disk]:
    """Group the places by the file system that each lies on, or would."""
    found: dict[int, _Disk] = {}
    for name, folder in places.items():
        there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
        number = there.stat().st_dev
        known = found.get(number)
        if known is None:
            found[number] = _Disk(there, find_file_system(there, mounts=mounts) or "unknown", (name,))
        else:
            found[number] = _Disk(known.folder, known.kind, (*known.places, name))
    return list(found.values())


def _measure(disk: _Disk) -> Iterator[Finding]:
    usage = os.statvfs(disk.folder)
    subject = ", ".join(disk.places)
    free = usage.f_bavail * usage.f_frsize
    bounds = [ENOUGH[name] for name in disk.places if name in ENOUGH]
    status = judge(
        free,
        warn_below=max((warn for warn, _ in bounds), default=0),
        fail_below=max((fail for _, fail in bounds), default=0),
    )
    yield Finding(
        measure="free",
        value=round(free / 1e6),
        unit="MB",
        subject=subject,
        status=status,
        problem="" if status == "pass" else f"{disk.folder} will be full soon",
        advice=f"df -h {disk.folder}   # admlops env gc and admlops results remove free some",
    )
    if usage.f_files > 0:  # btrfs, and network disks, do not count
        yield _judge_files(usage.f_favail, subject, disk.folder)


def _judge_files(free: int, subject: str, folder: Path) -> Finding:
    status = judge(free, warn_below=ENOUGH_FILES, fail_below=LEAST_FILES)
    return Finding(
        measure="free inodes",
        value=free,
        subject=subject,
        status=status,
        problem="" if status == "pass" else f"{folder} can hold few more files, and an environment has up to 90,000",
        rule="no-inodes",
    )


def _judge_kind(disk: _Disk) -> Finding:
    slow = disk.kind.split(".")[0] in SLOW
    slowed = [name for name in disk.places if name in MANY_SMALL_FILES] if slow else []
    status: Status = "warn" if slowed else "pass"
    return Finding(
        measure="file system",
        value=disk.kind,
        subject=", ".join(disk.places),
        status=status,
        problem=f"{' and '.join(slowed)} are many small files, which a network disk serves slowly" if slowed else "",
        advice="export ADMLOPS_ENVIRONMENTS=/a/folder/on/the/local/disk   # packs bring them back after a restart",
    )


CHECK = HealthCheck(id="disk", title="Disks", look=_look, deadline_s=10.0)
