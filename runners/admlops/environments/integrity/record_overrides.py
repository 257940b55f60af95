"""Files that are right although their package's RECORD states other sizes or hashes, as torch 1.9.1's does.

Their hashes are learnt when a wheel was fetched anew, checked against the lock and installed: then its files are as
they came. They are remembered in the cache of downloads, for the next environment with the same locked hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from admlops.core.storage import file_sha256, write_atomically
from admlops.environments.spec.requirements import LockedPackage

LEGACY_FILE = "admlops-accepted.json"
"""Where admlops 0.1 kept the overrides of a prefix; a manifest needs none."""


@dataclass(frozen=True, kw_only=True)
class RecordOverride:
    """The true size and hash of a file. `path` is relative to the prefix; `package` is None for a file of uv's own."""

    path: str
    size_bytes: int
    sha256: str
    package: str | None = None


def read_legacy_overrides(prefix: Path) -> dict[str, RecordOverride]:
    """Read the overrides that admlops 0.1 kept in a prefix, by path; none if the file is missing or damaged."""
    try:
        return {row["path"]: RecordOverride(**row) for row in json.loads((prefix / LEGACY_FILE).read_text())}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def learn_overrides(prefix: Path, paths: Iterable[str], package: str) -> list[RecordOverride]:
    """Take files as they are now, of a package that was just installed from a file that the lock vouches for."""
    return [
        RecordOverride(
            path=path, size_bytes=(prefix / path).stat().st_size, sha256=file_sha256(prefix / path), package=package
        )
        for path in paths
    ]


def recall_overrides(cache: Path, package: LockedPackage, python_version: str) -> list[RecordOverride]:
    """Read what `remember_overrides` wrote of this package for this Python."""
    try:
        rows = json.loads(_memory_of(cache, package, python_version).read_text())
        return [RecordOverride(**row) for row in rows]
    except (OSError, ValueError, TypeError):
        return []


def remember_overrides(
    cache: Path, package: LockedPackage, python_version: str, overrides: Iterable[RecordOverride]
) -> None:
    """Keep the overrides of a package for the next environment with the same locked hashes."""
    rows = [asdict(one) for one in overrides]
    write_atomically(_memory_of(cache, package, python_version), json.dumps(rows, indent=1).encode() + b"\n")


def _memory_of(cache: Path, package: LockedPackage, python_version: str) -> Path:
    minor = ".".join(python_version.split(".")[:2])
    key = hashlib.sha256("\n".join([package.name, package.version, minor, *sorted(package.hashes)]).encode())
    return cache / "accepted" / f"{package.name}-{package.version}-{key.hexdigest()[:16]}.json"
