"""conda-meta: what a prefix says is installed in it, made to say where it really came from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admlops.core.errors import EnvError

if TYPE_CHECKING:
    from admlops.environments.spec.conda_lock import CondaPackage

_HARMLESS = re.compile(
    r"^((share/)?(doc|man|info|licenses?)/|[^/]*(LICEN[SC]E|NOTICE|README|EULA)[^/]*$)", re.IGNORECASE
)
"""Paths that several packages of one vendor bring in different versions, and that no program reads."""


def channel_url(package: CondaPackage) -> str:
    """The address of the channel that a package is from."""
    return package.url.rsplit("/", 2)[0]


def read_records(prefix: Path) -> dict[str, dict[str, Any]]:
    """The records of conda-meta by package name; unreadable ones are left out, so that they count as not installed."""
    records = {}
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            record = json.loads(path.read_text())
            records[str(record["name"])] = record
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return records


def differing(prefix: Path, packages: Sequence[CondaPackage]) -> set[str]:
    """Return the names of packages that were installed from another file than the lock's.

    py-rattler sees no difference between two packages of one name, version and build.
    """
    records = read_records(prefix)
    found = [package for package in packages if package.name in records]
    return {package.name for package in found if not _same(records[package.name], package)}


def _same(record: dict[str, Any], package: CondaPackage) -> bool:
    named = all(str(record.get(key)) == getattr(package, key) for key in ("version", "build"))
    if package.sha256:
        return named and record.get("sha256") == package.sha256
    return named and record.get("md5") == package.md5


def finish_records(prefix: Path, packages: Sequence[CondaPackage]) -> None:
    """Give each record the package's own address, hashes included, and drop the places it was unpacked at.

    Raises:
        EnvError: a package of the lock has no record: it was not installed.
    """
    wanted = {package.name: package for package in packages}
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        record = json.loads(path.read_text())
        package = wanted.pop(record["name"], None)
        if package is None or record.get("url") == package.url:
            continue
        record |= {"url": package.url, "channel": channel_url(package), "fn": package.file_name}
        for key in ("link", "extracted_package_dir", "package_tarball_full_path"):
            record.pop(key, None)
        # Not flushed to the disk one by one: after a power failure, a prefix that is not ready is built again.
        temporary = path.with_name(f".{path.name}")
        temporary.write_text(json.dumps(record, indent=1) + "\n")
        temporary.replace(path)
    if wanted:
        raise EnvError(
            f"after the installation {prefix} lacks {', '.join(sorted(wanted))}",
            hint=f"rm -r {prefix}   # then run the command again",
        )


def check_clashes(prefix: Path) -> None:
    """Refuse a prefix in which two packages brought different files for one path.

    Raises:
        EnvError: names the path and both packages.
    """
    records = read_records(prefix)
    for loser, path, digest in _set_aside(records):
        if _HARMLESS.search(path):
            continue
        for name, record in records.items():
            for entry in record["paths_data"]["paths"]:
                if entry["_path"] == path and entry.get("sha256") != digest:
                    raise EnvError(
                        f"the packages {name} and {loser} both bring {path}, and not the same",
                        hint="leave one of them out of environment.yml, then: admlops env lock MODEL",
                    )


def _set_aside(records: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, str | None]]:
    """(package, path, sha256) of files that py-rattler moved out of the way of another package's."""
    for name, record in records.items():
        for entry in record["paths_data"]["paths"]:
            if "original_path" in entry:
                yield name, entry["original_path"], entry.get("sha256")
