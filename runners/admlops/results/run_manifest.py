"""A run's `manifest.json`, `{"schema": 1, "files": {path: sha256}}`: every finished file of its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from admlops.core.errors import RecordError
from admlops.core.storage import file_sha256, write_atomically

MANIFEST_FILE = "manifest.json"
TAGS_FILE = "tags.json"
UNLISTED = frozenset({MANIFEST_FILE, "run.lock", TAGS_FILE})


def write_manifest(folder: Path) -> None:
    """Write the manifest of a run's folder in one piece."""
    files = _digest(folder, _list_files(folder))
    content = json.dumps({"schema": 1, "files": files}, indent=1) + "\n"
    write_atomically(folder / MANIFEST_FILE, content.encode())


def check_manifest(folder: Path) -> list[str]:
    """Return the files that are missing or differ from the manifest.

    Raises:
        RecordError: there is no manifest, or none that can be read.
    """
    manifest = folder / MANIFEST_FILE
    try:
        files: dict[str, str] = json.loads(manifest.read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{manifest} is missing or damaged", hint=f"admlops evaluate {folder.name}") from error
    found = _digest(folder, [name for name in files if (folder / name).is_file()])
    return [name for name, digest in files.items() if found.get(name) != digest]


def _digest(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The sha256 of files, several at once: hashing leaves other threads their turn."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return dict(zip(names, pool.map(lambda name: file_sha256(folder / name), names), strict=True))


def _list_files(folder: Path) -> list[str]:
    """Paths below the folder, sorted, without the manifest, the lock, temporary files and unfinished scenes."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        str(name)
        for name in names
        if str(name) not in UNLISTED and name.suffix != ".part" and not name.name.startswith(".")
    )
