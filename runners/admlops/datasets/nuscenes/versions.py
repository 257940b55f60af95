"""Which versions of nuScenes' tables a root holds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from admlops.core.paths import user_path

MINI = "v1.0-mini"


def list_versions(root: Path) -> list[str]:
    """The folders of tables that a root holds: `v1.0-mini`, …; none if it is no nuScenes data set, or unreadable."""
    with suppress(OSError):
        return sorted(folder.name for folder in root.iterdir() if is_version(folder))
    return []


def is_version(folder: Path) -> bool:
    """Tell whether a folder holds nuScenes' tables; nuImages has some of the same names."""
    return (folder / "sample.json").is_file() and not (folder / "object_ann.json").is_file()


def choose_version(root: Path) -> str:
    """The version to take where none is named: the only one that is there, else `v1.0-mini`."""
    there = list_versions(user_path(root))
    return there[0] if len(there) == 1 else MINI
