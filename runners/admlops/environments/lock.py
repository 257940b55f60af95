"""Hashed Python locks: `name==version --hash=sha256:…`, one package an entry, no URL of an index."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from admlops.errors import EnvError

HASH = re.compile(r"--hash=(sha256:[0-9a-f]{64})(?=\s|$)")


@dataclass(frozen=True, kw_only=True)
class LockedPackage:
    """One package of a lock: exact version, the interpreters it is for, and what its file may hash to."""

    requirement: Requirement
    version: str
    hashes: tuple[str, ...]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    def applies_to(self, marker_environment: Mapping[str, str]) -> bool:
        """Whether this entry is for an interpreter, described as PEP 508 markers describe it."""
        marker = self.requirement.marker
        return marker is None or marker.evaluate(dict(marker_environment))


def read_lock(path: Path) -> list[LockedPackage]:
    """The packages of a lock.

    Raises:
        EnvError: the lock is missing, or an entry has no sha256, no exact version, or is a URL; names file and line.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise EnvError(f"the lock {path} cannot be read: {error.strerror}", hint=f"git checkout -- {path}") from error
    packages = []
    number = 0
    for number, entry in _entries(text):
        packages.append(_parse(entry, f"{path}:{number}"))
    return packages


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
    specifiers = list(requirement.specifier)
    if requirement.url or len(specifiers) != 1 or specifiers[0].operator != "==" or "*" in specifiers[0].version:
        raise _refuse(where, f"{wanted!r} is not pinned as name==version")
    if not hashes:
        raise _refuse(where, f"{requirement.name} has no sha256")
    if entry.count("--hash") != len(hashes):
        raise _refuse(where, f"{requirement.name} has a hash that is not sha256: and 64 hexadecimal digits")
    return LockedPackage(requirement=requirement, version=specifiers[0].version, hashes=hashes)


def _refuse(where: str, reason: str) -> EnvError:
    return EnvError(
        f"{where}: {reason}",
        hint="uv pip compile --universal --generate-hashes requirements.in -o requirements.txt   # makes a whole lock",
    )
