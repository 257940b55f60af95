"""Manifests of data sets: each file's path, size and sha256, written when it comes and compared later.

They lie in `.admlops/manifest/` of the data set's root, one file for each archive or part, so that every one is written
whole by whoever unpacked it. A line is `{"path": …, "size": …, "sha256": …}`; paths are relative to the root, and lines
are sorted by them. The digest of a data set is the sha256 over the sorted lines of all of them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from admlops.core.errors import DataError, UsageError
from admlops.core.storage import file_sha256, write_atomically
from admlops.core.types import Watch

NOTES = ".admlops"
"""The folder in a data set's root that holds what is known about its files."""
OWN = "own"
"""The name of the manifest of files that nobody published."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A file: its path relative to the root, its size in bytes, the sha256 of its content."""

    path: str
    size: int
    sha256: str


@dataclass(kw_only=True)
class Verdict:
    """What became of a data set's files since its manifest was written. Paths are relative to its root."""

    digest: str
    files: int = 0
    size_bytes: int = 0
    missing: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Tell whether every file is there as it was; files that came since do no harm."""
        return not (self.missing or self.changed or self.unreadable)


def manifest_folder(root: Path) -> Path:
    """Return where the manifests of a data set lie."""
    return root / NOTES / "manifest"


def write_manifest(root: Path, name: str, entries: Iterable[Entry]) -> Path:
    """Write one manifest whole. Raises StorageError."""
    lines = [msgspec.json.encode(one) for one in sorted(entries, key=lambda one: one.path)]
    path = manifest_folder(root) / f"{name}.jsonl"
    write_atomically(path, b"".join(line + b"\n" for line in lines))
    return path


def rewrite_manifest(root: Path, entries: Iterable[Entry]) -> Path:
    """Write one manifest of everything that is there now, and remove the others. Raises StorageError."""
    path = write_manifest(root, OWN, entries)
    for other in manifest_folder(root).glob("*.jsonl"):
        if other != path:
            other.unlink(missing_ok=True)
    return path


def read_manifests(root: Path) -> dict[str, Entry]:
    """Return the entries of all manifests by path. Of a path that two hold, the manifest written last counts.

    Raises:
        UsageError: there is none.
        DataError: one is damaged.
    """
    files = sorted(manifest_folder(root).glob("*.jsonl"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if not files:
        raise UsageError(
            f"{root} has no manifest to be verified by",
            hint=f"admlops data verify {root} --write   # writes down what is there now",
        )
    return {one.path: one for path in files for one in _read(path)}


def _read(path: Path) -> Iterator[Entry]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            yield msgspec.json.decode(line, type=Entry)
        except msgspec.MsgspecError as error:
            raise DataError(
                f"{path} line {number} is no entry of a manifest: {error}",
                hint=f"rm {path}   # then fetch its archive again, or verify with --write",
            ) from error


def digest_of(entries: Iterable[Entry]) -> str:
    """Return the digest of a data set's content: the same files in any number of manifests give the same."""
    digest = hashlib.sha256()
    for one in sorted(entries, key=lambda one: one.path):
        digest.update(msgspec.json.encode(one) + b"\n")
    return digest.hexdigest()


def describe_files(root: Path, *, workers: int, watch: Watch) -> list[Entry]:
    """Read every file below a root; what begins with a dot is not data.

    Raises:
        DataError: one cannot be read.
    """
    paths = list(list_files(root))

    def describe(path: str) -> Entry:
        full = root / path
        try:
            return Entry(path=path, size=full.stat().st_size, sha256=file_sha256(full))
        except OSError as error:
            raise DataError(f"{full} cannot be read: {error.strerror}", hint=f"ls -l {full}") from error

    entries = []
    with ThreadPoolExecutor(workers) as pool:
        for entry in pool.map(describe, paths):
            entries.append(entry)
            watch(len(entries), len(paths))
    return entries


def list_files(root: Path) -> Iterator[str]:
    """Yield the paths of all files below a root, relative to it; links to folders are followed once, at the top."""
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        base = os.path.relpath(folder, root)
        for name in sorted(names):
            if not name.startswith("."):
                yield name if base == "." else f"{base}/{name}"


def verify(root: Path, *, quick: bool, workers: int, watch: Watch) -> Verdict:
    """Compare every file of a data set with its manifests.

    Args:
        quick: look at sizes alone.
        workers: files that are read at a time.

    Raises:
        UsageError: it has no manifest.
        DataError: a manifest is damaged.
    """
    entries = read_manifests(root)
    verdict = Verdict(digest=digest_of(entries.values()))
    ordered = list(entries.values())
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda one: _state(root / one.path, one, quick=quick), ordered)
        for entry, state in zip(ordered, results, strict=True):
            verdict.files += 1
            verdict.size_bytes += entry.size
            if state:
                getattr(verdict, state).append(entry.path)
            watch(verdict.files, len(ordered))
    verdict.extra = [path for path in list_files(root) if path not in entries]
    return verdict


def _state(path: Path, entry: Entry, *, quick: bool) -> str:
    """Return the list of the verdict that a file belongs to; empty if it is as it was."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            return "missing"
        if facts.st_size != entry.size:
            return "changed"
        return "" if quick or file_sha256(path) == entry.sha256 else "changed"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        return "unreadable"
