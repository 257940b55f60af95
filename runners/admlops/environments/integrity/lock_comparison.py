"""Compares what is installed with what the locks ask for: names, versions, builds and hashes of packages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from packaging.version import InvalidVersion, Version

from admlops.environments.integrity.records import PackageRecord
from admlops.environments.spec.requirements import LockedPackage

Finding = tuple[str, str, str]
"""(path of the record in the prefix, name of the package, what is wrong)."""


MISSING = "is missing; the lock has it"
UNLOCKED = "is installed; the lock does not have it"


class LockedBasePackage(Protocol):
    """What a comparison needs of a package that an installer's own lock names."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def build(self) -> str: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def md5(self) -> str | None: ...


def compare_base(records: Sequence[PackageRecord], locked: Sequence[LockedBasePackage]) -> Iterator[Finding]:
    """Find packages that differ from the installer's lock: missing, additional, of another version, build or hash."""
    wanted = {package.name: package for package in locked}
    found = {record.name: record for record in records}
    for name in sorted(wanted.keys() - found.keys()):
        package = wanted[name]
        yield f"conda-meta/{name}-{package.version}-{package.build}.json", name, MISSING
    for name, record in found.items():
        if name not in wanted:
            yield record.record, name, UNLOCKED
            continue
        package = wanted[name]
        if (record.version, record.build) != (package.version, package.build):
            have, want = f"{record.version} {record.build}", f"{package.version} {package.build}"
            yield record.record, name, f"is {have}; the lock has {want}"
        elif package.sha256 is not None and record.sha256 != package.sha256:
            yield record.record, name, f"was installed from sha256 {record.sha256}; the lock has {package.sha256}"
        elif package.sha256 is None and package.md5 is not None and record.md5 != package.md5:
            yield record.record, name, f"was installed from md5 {record.md5}; the lock has {package.md5}"


def compare_python(distributions: Sequence[PackageRecord], locked: Sequence[LockedPackage]) -> Iterator[Finding]:
    """Find Python packages that differ from the lock: missing, additional, or of another version."""
    wanted = {package.name: package.version for package in locked}
    found = {one.name: one for one in distributions}
    for name in sorted(wanted.keys() - found.keys()):
        yield f"site-packages/{name}-{wanted[name]}.dist-info", name, MISSING
    for name, distribution in found.items():
        if name not in wanted:
            yield distribution.record, name, UNLOCKED
        elif not _same_version(distribution.version, wanted[name]):
            yield distribution.record, name, f"is {distribution.version}; the lock has {wanted[name]}"


def _same_version(one: str, other: str) -> bool:
    """dist-info writes `1.9.1+cu111` as `1.9.1+cu111` or `1.9.1_cu111`, and 2.0.0 where a lock may have 2.0."""
    try:
        return Version(one.replace("_", "+", 1)) == Version(other)
    except InvalidVersion:
        return one == other
