"""Hashed Python locks: `name==version --hash=sha256:…`, one package an entry, no URL of an index.

A wheel that no index has is locked by its own address: `name @ https://….whl --hash=sha256:…`. Where its hash could not
be known when the lock was made, it reads `--hash=sha256:unknown`, until a machine with a network has fetched it once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from admlops.core.errors import EnvError
from admlops.core.storage import write_atomically

UNKNOWN_HASH = "unknown"
HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})(?=\s|$)")
_UNKNOWN = re.compile(rf"--hash=sha256:{UNKNOWN_HASH}(?=\s|$)")


@dataclass(frozen=True, kw_only=True)
class LockedPackage:
    """One package of a lock: exact version, the interpreters it is for, and what its file may hash to.

    `url` is the address of a wheel that no index has. `hashes` is empty only for such a wheel, and only until somebody
    has fetched it once: see `hash_unknown`.
    """

    requirement: Requirement
    version: str
    hashes: tuple[str, ...]
    url: str | None = None

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def hash_unknown(self) -> bool:
        """Tell whether nobody has recorded this file's sha256 yet."""
        return not self.hashes

    def applies_to(self, marker_environment: Mapping[str, str]) -> bool:
        """Tell whether this entry is for an interpreter, described as PEP 508 markers describe it."""
        marker = self.requirement.marker
        return marker is None or marker.evaluate(dict(marker_environment))


def read_lock(path: Path) -> list[LockedPackage]:
    """The packages of a lock.

    Raises:
        EnvError: the lock is missing, or an entry has no sha256, no exact version, or an address that is not the https
            address of a wheel; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise _refuse(str(path), f"byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8") from error
    except OSError as error:
        raise EnvError(f"the lock {path} cannot be read: {error.strerror}", hint=f"git checkout -- {path}") from error
    return [_parse(entry, f"{path}:{number}") for number, entry in _entries(text)]


def write_hashes(lock: Path, sha256_by_name: Mapping[str, str]) -> None:
    """Put hashes in the place of unknown ones.

    Raises:
        EnvError: the lock has no unknown hash for one of the names.
    """
    text = lock.read_text(encoding="utf-8")
    for name, sha256 in sha256_by_name.items():
        pattern = rf"(?m)^({re.escape(name)} @ \S+ \\\n\s+--hash=sha256:){UNKNOWN_HASH}$"
        text, count = re.subn(pattern, rf"\g<1>{sha256}", text)
        if count != 1:
            raise EnvError(f"{lock} has no unknown hash for {name}", hint=f"git diff {lock}")
    if sha256_by_name:
        write_atomically(lock, text.encode())


def _entries(text: str) -> list[tuple[int, str]]:
    """(line number, entry) with continued lines joined and comments left out."""
    entries: list[tuple[int, str]] = []
    begun: int | None = None
    parts: list[str] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split(" #")[0].strip()
        if not line or line.startswith("#"):
            continue
        begun = begun or number
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            entries.append((begun, " ".join(parts)))
            begun, parts = None, []
    if parts:
        entries.append((begun or 1, " ".join(parts)))
    return entries


def _parse(entry: str, where: str) -> LockedPackage:
    hashes = tuple(HASH.findall(entry))
    wanted = entry.split(" --hash", 1)[0].strip()
    try:
        requirement = Requirement(wanted)
    except InvalidRequirement as error:
        raise _refuse(where, f"{wanted!r} is not a requirement: {error}") from error
    if requirement.url:
        return _parse_wheel(requirement, requirement.url, entry, hashes, where)
    specifiers = list(requirement.specifier)
    if len(specifiers) != 1 or specifiers[0].operator != "==" or "*" in specifiers[0].version:
        raise _refuse(where, f"{wanted!r} is not pinned as name==version")
    _check_hashes(requirement.name, entry, hashes, where)
    return LockedPackage(requirement=requirement, version=specifiers[0].version, hashes=hashes)


def _parse_wheel(requirement: Requirement, url: str, entry: str, hashes: tuple[str, ...], where: str) -> LockedPackage:
    """An entry that names a wheel by its address."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise _refuse(where, f"{requirement.name}: {url} is not pinned: only a plain https address is")
    try:
        name, version, _, _ = parse_wheel_filename(unquote(parts.path.rsplit("/", 1)[-1]))
    except InvalidWheelFilename as error:
        raise _refuse(where, f"{requirement.name}: {url} is not pinned: it is not the address of a wheel") from error
    if name != canonicalize_name(requirement.name):
        raise _refuse(where, f"{requirement.name}: {url} is a wheel of {name}")
    if not _UNKNOWN.search(entry) or hashes:
        _check_hashes(requirement.name, entry, hashes, where)
    return LockedPackage(requirement=requirement, version=str(version), hashes=hashes, url=url)


def _check_hashes(name: str, entry: str, hashes: tuple[str, ...], where: str) -> None:
    if not hashes:
        raise _refuse(where, f"{name} has no sha256")
    if entry.count("--hash") != len(hashes):
        raise _refuse(where, f"{name} has a hash that is not sha256: and 64 hexadecimal digits")


def _refuse(where: str, reason: str) -> EnvError:
    return EnvError(
        f"{where}: {reason}",
        hint="admlops env lock MODEL   # makes whole locks from a model's inputs",
    )
