"""Conda locks: `conda-lock.yml` in conda-lock's format, version 1, and `conda-lock.json` for what it cannot hold.

The first file is enough for any tool that reads the format. The second says, by address, sizes for progress bars and
disk checks, build numbers, `constrains`, `noarch` and timestamps, which packages may go without a sha256, and whether a
machine with a network has fetched every package once and found the hashes right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from admlops.core.errors import EnvError
from admlops.core.storage import write_atomically

CANONICAL_HOST = "https://conda.anaconda.org"
PLATFORM = "linux-64"
HEADER = (
    "# Made by `admlops env lock` from environment.yml. conda-lock.json says what this format cannot, and whether a\n"
    "# download has confirmed this lock yet or it was made from channel records alone.\n"
)
SIDE_SCHEMA = 1
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_MD5 = re.compile(r"^[0-9a-f]{32}$")
_URL = re.compile(r"^(https://[^/\s]+)/([^\s?#]+)/(linux-64|noarch)/([^/\s?#]+(?:\.conda|\.tar\.bz2))$")
NOTHING_BESIDE: dict[str, Any] = {"schema": SIDE_SCHEMA, "md5_only": [], "packages": {}, "confirmed": False}
"""What is known beside a lock that conda-lock itself made."""
_BESIDE = ("build_number", "constrains", "noarch", "size_bytes", "timestamp")
"""What the first file cannot hold of a package."""


@dataclass(frozen=True, kw_only=True)
class CondaPackage:
    """One conda package: what it is, where it lies, and what its file hashes to. `timestamp` is in milliseconds."""

    name: str
    version: str
    build: str
    build_number: int
    subdir: str
    channel: str
    url: str
    file_name: str
    sha256: str | None
    md5: str | None
    size_bytes: int | None
    depends: tuple[str, ...]
    constrains: tuple[str, ...]
    noarch: str | None
    timestamp: int | None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> CondaPackage:
        """A package from its fields in JSON."""
        values: dict[str, Any] = {field.name: record.get(field.name) for field in fields(cls)}
        values["depends"] = tuple(record.get("depends") or ())
        values["constrains"] = tuple(record.get("constrains") or ())
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class CondaLock:
    """A whole conda lock. `content_hash` is of the inputs.

    `md5_only` are the addresses whose channel publishes no sha256: these alone may go without. `confirmed` is whether
    every package was fetched once and was what the lock says; the sha256 of those in `md5_only` is known from then on.
    """

    platform: str
    channels: tuple[str, ...]
    packages: tuple[CondaPackage, ...]
    content_hash: str
    md5_only: frozenset[str]
    confirmed: bool

    @property
    def size_bytes(self) -> int:
        """The sum of the sizes that are known."""
        return sum(package.size_bytes or 0 for package in self.packages)


def describe_trust(lock: CondaLock) -> list[str]:
    """Return what a person should know of a lock before trusting it; nothing if all is known and was seen."""
    notes = []
    if not lock.confirmed:
        notes.append("made from channel records alone: no package was fetched yet to confirm it")
    bare = sorted(package.file_name for package in lock.packages if package.sha256 is None)
    if bare:
        notes.append(f"only an md5, because the channel publishes no sha256: {', '.join(bare)}")
    return notes


def side_file(lock: Path) -> Path:
    """`conda-lock.json`, which lies beside `conda-lock.yml`."""
    return lock.with_suffix(".json")


def write_conda_lock(path: Path, lock: CondaLock) -> None:
    """Write a lock and the file beside it, each whole or not at all.

    Raises:
        EnvError: a package has no hash, or only an md5 that the lock does not allow.
        StorageError: the files cannot be written.
    """
    for package in lock.packages:
        _check_hashes(path, package, lock.md5_only)
    document = {
        "version": 1,
        "metadata": {
            "content_hash": {lock.platform: lock.content_hash},
            "channels": [{"url": channel, "used_env_vars": []} for channel in lock.channels],
            "platforms": [lock.platform],
            "sources": ["environment.yml"],
        },
        "package": [_entry(package, lock.md5_only) for package in lock.packages],
    }
    beside = {
        "schema": SIDE_SCHEMA,
        "content_hash": lock.content_hash,
        "confirmed": lock.confirmed,
        "notes": describe_trust(lock),
        "md5_only": sorted(lock.md5_only),
        "packages": {package.url: _beside(package, lock.md5_only) for package in lock.packages},
    }
    text = HEADER + yaml.dump(document, sort_keys=False, width=1000)
    write_atomically(side_file(path), (json.dumps(beside, indent=1) + "\n").encode())
    write_atomically(path, text.encode())


def read_conda_lock(path: Path) -> CondaLock:
    """Read the lock in `path`, a `conda-lock.yml`, with what the file beside it adds, if there is one.

    A lock that conda-lock itself made is read too: its packages for this platform, without the optional ones.

    Raises:
        EnvError: a file is missing, not what it should be, or of another lock; or a package has no sha256 and is not
            named as one that may go without. Names file and package.
    """
    document = _load(path, yaml.safe_load)
    beside = _load(side_file(path), json.loads) if side_file(path).exists() else NOTHING_BESIDE
    try:
        return _assemble(path, document, beside)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _refuse(path, f"is not a conda lock of version 1: {type(error).__name__}: {error}") from error


def _assemble(path: Path, document: dict[str, Any], beside: dict[str, Any]) -> CondaLock:
    if document.get("version") != 1:
        other = "a lock of pixi" if "environments" in document else f"of version {document.get('version')!r}"
        raise _refuse(path, f"is {other}; what is read is conda-lock's format, version 1")
    if PLATFORM not in document["metadata"]["platforms"]:
        raise _refuse(path, f"is for {', '.join(document['metadata']['platforms'])}, not for {PLATFORM}")
    content_hash = document["metadata"]["content_hash"][PLATFORM]
    if beside["schema"] != SIDE_SCHEMA or beside.get("content_hash", content_hash) != content_hash:
        raise _refuse(side_file(path), f"is not of the lock {path.name} beside it")
    md5_only = frozenset(map(str, beside["md5_only"]))
    entries = [entry for entry in document["package"] if entry["platform"] == PLATFORM and _is_wanted(entry)]
    foreign = sorted(str(entry["name"]) for entry in entries if entry["manager"] != "conda")
    if foreign:
        raise _refuse(path, f"holds pip packages, which belong in requirements.in: {', '.join(foreign)}")
    packages = tuple(_package(path, entry, beside["packages"]) for entry in entries)
    urls = {package.url for package in packages}
    for package in packages:
        _check_hashes(path, package, md5_only)
    for stray in sorted((md5_only | beside["packages"].keys()) - urls):
        raise _refuse(side_file(path), f"names {stray}, which the lock does not")
    if len({package.name for package in packages}) != len(packages):
        raise _refuse(path, "has a package twice")
    return CondaLock(
        platform=PLATFORM,
        channels=tuple(str(channel["url"]) for channel in document["metadata"]["channels"]),
        packages=packages,
        content_hash=str(content_hash),
        md5_only=md5_only,
        confirmed=beside["confirmed"] is True,
    )


def _is_wanted(entry: Mapping[str, Any]) -> bool:
    """Leave out what conda-lock marks as optional: packages for development and their like."""
    return not entry.get("optional") and entry.get("category", "main") == "main"


def _package(path: Path, entry: dict[str, Any], beside: Mapping[str, Any]) -> CondaPackage:
    url = str(entry["url"])
    parts = _URL.match(url)
    if not parts:
        raise _refuse(path, f"{entry['name']}: {url} is not the https address of a conda package for {PLATFORM}")
    host, channel, subdir, file_name = parts.groups()
    more = beside.get(url, {})
    build = str(entry["build"]) if "build" in entry else file_name.rsplit("-", 1)[1].split(".")[0]
    return CondaPackage(
        name=str(entry["name"]),
        version=str(entry["version"]),
        build=build,
        build_number=int(more.get("build_number", _guess_build_number(build))),
        subdir=subdir,
        channel=channel if host == CANONICAL_HOST else f"{host}/{channel}",
        url=url,
        file_name=file_name,
        sha256=entry["hash"].get("sha256") or more.get("sha256"),
        md5=entry["hash"].get("md5"),
        size_bytes=more.get("size_bytes"),
        depends=tuple(more["depends"]) if "depends" in more else _join(entry["dependencies"]),
        constrains=tuple(more.get("constrains", ())),
        noarch=more.get("noarch"),
        timestamp=more.get("timestamp"),
    )


def _guess_build_number(build: str) -> int:
    """The number that most build names end with: `h7508c33_1_cpython` → 1, `0` → 0."""
    numbers = [part for part in build.split("_") if part.isdigit()]
    return int(numbers[-1]) if numbers else 0


def _split(depends: Sequence[str]) -> dict[str, str]:
    """Dependencies by name, as conda-lock has them; two of one name become one with both conditions."""
    found: dict[str, str] = {}
    for depend in depends:
        name, _, spec = depend.partition(" ")
        found[name] = ",".join(part for part in (found.get(name, ""), spec) if part)
    return found


def _join(dependencies: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name} {spec}".strip() for name, spec in dependencies.items())


def _entry(package: CondaPackage, md5_only: Collection[str]) -> dict[str, Any]:
    # A sha256 that was recorded later goes beside: this file, part of the environments' digests, stays as it was made.
    hashes = {"md5": package.md5, "sha256": None if package.url in md5_only else package.sha256}
    return {
        "name": package.name,
        "version": package.version,
        "manager": "conda",
        "platform": PLATFORM,
        "dependencies": _split(package.depends),
        "url": package.url,
        "hash": {kind: value for kind, value in hashes.items() if value},
        "category": "main",
        "optional": False,
        "build": package.build,
    }


def _beside(package: CondaPackage, md5_only: Collection[str]) -> dict[str, Any]:
    values = {name: getattr(package, name) for name in _BESIDE}
    if package.url in md5_only:
        values["sha256"] = package.sha256
    values["constrains"] = list(package.constrains)
    if _join(_split(package.depends)) != package.depends:
        values["depends"] = list(package.depends)
    return {name: value for name, value in values.items() if value not in (None, [])}


def _check_hashes(path: Path, package: CondaPackage, md5_only: frozenset[str]) -> None:
    for kind, value, shape in (("sha256", package.sha256, _SHA256), ("md5", package.md5, _MD5)):
        if value is not None and not shape.match(str(value)):
            raise _refuse(path, f"{package.name}: {value!r} is not a {kind}")
    if package.sha256 is None and package.md5 is None:
        raise _refuse(path, f"{package.name} has no hash ({package.url})")
    if package.sha256 is None and package.url not in md5_only:
        raise _refuse(
            path, f"{package.name} has only an md5, and {side_file(path).name} does not allow that for {package.url}"
        )


def _load(path: Path, parse: Any) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if "@EXPLICIT" in text:
            raise _refuse(path, "is a list of `conda list --explicit`; what is read is conda-lock's format, version 1")
        content = parse(text)
    except OSError as error:
        raise EnvError(f"{path} cannot be read: {error.strerror}", hint=f"git checkout -- {path.parent}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _refuse(path, f"cannot be parsed: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(content, dict):
        raise _refuse(path, "is no mapping; what is read is conda-lock's format, version 1")
    return content


def _refuse(path: Path, reason: str) -> EnvError:
    return EnvError(f"{path}: {reason}", hint="admlops env lock MODEL   # or: git checkout -- envs")
