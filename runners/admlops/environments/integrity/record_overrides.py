"""Files that are right although no record of a package says so.

Two kinds of them: what uv itself puts into a virtual environment for an old Python, and files of wheels whose RECORD
states other sizes or hashes than the wheel holds, as torch 1.9.1's does. Their hashes are written down when they are
known to be as they came: at once for uv's, and for a wheel's after it was fetched anew, checked against the lock and
installed. Verification then holds them to what was written down.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from admlops.core.storage import file_sha256, write_atomically
from admlops.environments.spec.requirements import LockedPackage

ACCEPTED_FILE = "admlops-accepted.json"
SMALL_BYTES = 1_000_000
"""Up to here a quick verification hashes too."""


@dataclass(frozen=True, kw_only=True)
class AcceptedFile:
    """What a file is held to. `path` is relative to the prefix; `package` is the one that brought it, None for uv."""

    path: str
    size_bytes: int
    sha256: str
    package: str | None = None

    def holds(self, prefix: Path, *, full: bool) -> bool:
        """Whether the file is as it was written down; large ones are hashed only for a full verification."""
        target = prefix / self.path
        try:
            if target.is_symlink() or target.stat().st_size != self.size_bytes:
                return False
            return (not full and self.size_bytes > SMALL_BYTES) or file_sha256(target) == self.sha256
        except OSError:
            return False


def read_accepted(prefix: Path) -> dict[str, AcceptedFile]:
    """What is written down for a prefix, by path; nothing if there is no such file or it is not whole."""
    try:
        return {row["path"]: AcceptedFile(**row) for row in json.loads((prefix / ACCEPTED_FILE).read_text())}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def accept(prefix: Path, paths: Iterable[tuple[str, str | None]]) -> list[AcceptedFile]:
    """Write down files, as (path, package), as they are now."""
    files = [
        AcceptedFile(
            path=path,
            size_bytes=(prefix / path).stat().st_size,
            sha256=file_sha256(prefix / path),
            package=package,
        )
        for path, package in paths
    ]
    add_accepted(prefix, files)
    return files


def add_accepted(prefix: Path, files: Iterable[AcceptedFile]) -> None:
    """Write down files that are known from elsewhere, beside those that are written down already."""
    known = read_accepted(prefix) | {file.path: file for file in files}
    if known:
        rows = [asdict(known[path]) for path in sorted(known)]
        write_atomically(prefix / ACCEPTED_FILE, json.dumps(rows, indent=1).encode() + b"\n")


def recall(cache: Path, package: LockedPackage, python_version: str) -> list[AcceptedFile]:
    """What `remember` wrote of this package for this Python; fetching it anew again would show the same."""
    try:
        rows = json.loads(_memory_of(cache, package, python_version).read_text())
        return [AcceptedFile(**row) for row in rows]
    except (OSError, ValueError, TypeError):
        return []


def remember(cache: Path, package: LockedPackage, python_version: str, files: Iterable[AcceptedFile]) -> None:
    """Keep what a package's files are in truth, for the next environment with the same locked hashes."""
    rows = [asdict(file) for file in files]
    write_atomically(_memory_of(cache, package, python_version), json.dumps(rows, indent=1).encode() + b"\n")


def _memory_of(cache: Path, package: LockedPackage, python_version: str) -> Path:
    minor = ".".join(python_version.split(".")[:2])
    key = hashlib.sha256("\n".join([package.name, package.version, minor, *sorted(package.hashes)]).encode())
    return cache / "accepted" / f"{package.name}-{package.version}-{key.hexdigest()[:16]}.json"
