"""Versions of a data set: manifests, each with the one that it was made from.

A version is the digest of its manifest (`publications.manifest`: path, size and sha256 of every file).
`.admlops/version.json` in its root says when and from what it was made, what changed, and the versions before it, so
that the history is there wherever the folder goes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from admlops.core.errors import DataError, UsageError
from admlops.core.storage import file_sha256, write_atomically
from admlops.core.types import Watch
from admlops.publications.manifest import (
    NOTES,
    OWN,
    Entry,
    describe_files,
    digest_of,
    list_files,
    read_manifests,
    write_manifest,
)

FILE = "version.json"


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One version.

    Attributes:
        digest: of its manifest.
        root: where it was written.
        created: when, ISO 8601 in UTC; empty for a version whose creation was not recorded.
        parent: the digest of the version before it; empty for the first.
        labels: the file that its labels came from, and `labels_sha256` its content.
        counts: how many boxes were added, removed, moved, relabelled.
    """

    digest: str
    root: str
    created: str = ""
    parent: str = ""
    labels: str = ""
    labels_sha256: str = ""
    counts: dict[str, int] = {}


class _File(msgspec.Struct, frozen=True, kw_only=True):
    version: Version
    ancestors: list[Version] = []
    changes: list[dict[str, Any]] = []


def write_version(
    folder: Path,
    parent: Path,
    *,
    file: Path,
    counts: Mapping[str, int],
    changes: Sequence[Mapping[str, Any]],
    workers: int,
    watch: Watch,
) -> Version:
    """Write the manifest of a new version in `folder`, and what it was made from.

    Files that the new version shares with the old one are read once. `watch` gets the files read and their total.

    Raises:
        DataError: a file cannot be read.
        StorageError: the folder cannot be written.
    """
    root = parent if parent.is_dir() else parent.parent
    before = _entries_of(root, workers=workers, watch=watch)
    entries = _describe(folder, root, before)
    write_manifest(folder, OWN, entries)
    ancestors = read_history(root, digest=digest_of(before.values()))
    version = Version(
        digest=digest_of(entries),
        root=str(folder),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        parent=ancestors[0].digest,
        labels=str(file),
        labels_sha256=file_sha256(file) if file.is_file() else "",
        counts=dict(counts),
    )
    content = _File(version=version, ancestors=ancestors, changes=[dict(one) for one in changes])
    text = msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"
    write_atomically(folder / NOTES / FILE, text)
    return version


def read_history(root: Path, *, digest: str = "") -> list[Version]:
    """Return the versions of the data set in `root`, the newest first.

    Args:
        digest: of the first version's files, where it is known; else its manifest says it.

    Raises:
        DataError: the recorded history is damaged.
    """
    path = root / NOTES / FILE
    if not path.is_file():
        return [Version(digest=digest or _digest_of_manifest(root), root=str(root))]
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(
            f"{path} is damaged: {error}", hint=f"rm {path}   # the data stay, their history goes"
        ) from error
    own = msgspec.structs.replace(found.version, root=str(root))
    return [own, *found.ancestors]


def read_changes(root: Path) -> list[dict[str, Any]]:
    """Return what changed in the version in `root`; nothing where it was not made of another."""
    path = root / NOTES / FILE
    return msgspec.json.decode(path.read_bytes(), type=_File).changes if path.is_file() else []


def _digest_of_manifest(root: Path) -> str:
    try:
        return digest_of(read_manifests(root).values())
    except UsageError:
        return ""


def _entries_of(root: Path, *, workers: int, watch: Watch) -> dict[str, Entry]:
    """The files of the old version: by its manifest, else read now; nothing is written there."""
    try:
        return read_manifests(root)
    except UsageError:
        return {one.path: one for one in describe_files(root, workers=workers, watch=watch)}


def _describe(folder: Path, root: Path, before: Mapping[str, Entry]) -> list[Entry]:
    """The files of the new version; one that is the old version's file itself, or a copy by name, is not read."""
    entries = []
    for path in list_files(folder):
        known, full = before.get(path), folder / path
        if known is not None and _is_same(full, root / path):
            entries.append(known)
        else:
            entries.append(Entry(path=path, size=full.stat().st_size, sha256=file_sha256(full)))
    return entries


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)  # noqa: PTH121  a link to the file is the file too
    except OSError:
        return False
