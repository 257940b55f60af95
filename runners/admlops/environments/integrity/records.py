"""Reads the lists of files that packages brought: conda-meta of conda packages, RECORD of Python packages."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from admlops.core.errors import EnvError
from admlops.environments.integrity.manifest import Owner

PYC_HEADER = struct.Struct("<4sIII")


@dataclass(frozen=True, kw_only=True)
class PackageRecord:
    """A package as its record in the prefix has it. `name` is the normalised one, `record` the path of its record.

    `manager` is `python` for a package with a dist-info, else the id of the installer that brought it. `build`, hashes
    and `url` are conda's.
    """

    manager: str
    name: str
    version: str
    record: str
    files: tuple[RecordedFile, ...] = field(repr=False)
    build: str = ""
    sha256: str | None = None
    md5: str | None = None
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class RecordedFile:
    """One file or link, `path` relative to the prefix. Any of `digests` (SHA-256) is valid; without one it must exist.

    Several wheels may bring the same file (`tests/__init__.py`): the last one installed is there, and that is no fault.
    `link` is None where the record does not tell links from files, as RECORD does not.
    """

    path: str
    owner: Owner
    digests: frozenset[str]
    sizes: frozenset[int]
    link: bool | None = None

    def merge(self, other: RecordedFile) -> RecordedFile:
        """Combine two records of one path: the file may be either's."""
        return replace(
            self,
            digests=self.digests | other.digests if self.digests and other.digests else frozenset(),
            sizes=self.sizes | other.sizes if self.sizes and other.sizes else frozenset(),
        )


class _Path(msgspec.Struct, rename={"path": "_path"}):
    path: str
    path_type: str
    sha256: str | None = None
    sha256_in_prefix: str | None = None
    size_in_bytes: int | None = None
    prefix_placeholder: str | None = None
    file_mode: str | None = None


class _Paths(msgspec.Struct):
    paths: list[_Path]


class _CondaMeta(msgspec.Struct):
    name: str
    version: str
    build: str
    url: str
    paths_data: _Paths
    sha256: str | None = None
    md5: str | None = None


def read_conda_records(prefix: Path) -> list[PackageRecord]:
    """Read every conda package of the prefix, by name.

    Raises:
        EnvError: a record of conda-meta cannot be read.
    """
    decoder = msgspec.json.Decoder(_CondaMeta)
    records = []
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            meta = decoder.decode(path.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            raise EnvError(
                f"{path} is damaged: {error}", hint=f"admlops env repair {prefix.name}   # builds it anew"
            ) from error
        records.append(
            PackageRecord(
                manager="conda",
                name=meta.name,
                version=meta.version,
                build=meta.build,
                sha256=meta.sha256,
                md5=meta.md5,
                url=meta.url,
                record=f"conda-meta/{path.name}",
                files=tuple(_conda_file(entry, meta.name) for entry in meta.paths_data.paths),
            )
        )
    return records


def _conda_file(entry: _Path, package: str) -> RecordedFile:
    owner = Owner("conda", package)
    if entry.path_type == "directory":
        return RecordedFile(path=entry.path, owner=owner, digests=frozenset(), sizes=frozenset(), link=False)
    link = entry.path_type == "softlink"
    # rattler writes the hash of a link's text; the package's own hash is that of the file it leads to.
    digest = entry.sha256_in_prefix if link else entry.sha256_in_prefix or entry.sha256
    # A text file grows or shrinks with the prefix that is written into it; the size is the package's.
    sized = not link and not (entry.prefix_placeholder and entry.file_mode == "text") and digest == entry.sha256
    return RecordedFile(
        path=entry.path,
        owner=owner,
        digests=frozenset() if digest is None else frozenset({digest}),
        sizes=frozenset({entry.size_in_bytes}) if sized and entry.size_in_bytes is not None else frozenset(),
        link=link,
    )


def read_distributions(prefix: Path, *, owned: Iterable[str] = ()) -> list[PackageRecord]:
    """Read every Python package whose dist-info no other package owns. One without a RECORD has no files."""
    others = set(owned)
    found = []
    for site_packages in sorted(prefix.glob("lib/python3*/site-packages")):
        for folder in sorted(site_packages.glob("*.dist-info")):
            metadata = (folder / "METADATA").relative_to(prefix).as_posix()
            if metadata not in others:
                found.append(_read_distribution(prefix, folder))
    return found


def _read_distribution(prefix: Path, folder: Path) -> PackageRecord:
    stated, _, version = folder.name.removesuffix(".dist-info").partition("-")
    name = canonicalize_name(stated)
    record = folder / "RECORD"
    files = tuple(_recorded_files(prefix, record, name)) if record.is_file() else ()
    where = record.relative_to(prefix).as_posix()
    return PackageRecord(manager="python", name=name, version=version, record=where, files=files)


def _recorded_files(prefix: Path, record: Path, package: str) -> Iterator[RecordedFile]:
    owner = Owner("python", package)
    base = os.path.relpath(record.parent.parent, prefix)
    with record.open(encoding="utf-8", newline="") as file:
        for row in csv.reader(file):
            if not row:
                continue
            path, hashed, size = (*row, "", "")[:3]
            yield RecordedFile(
                path=os.path.normpath(os.path.join(base, path)),  # noqa: PTH118 - thousands of them, as text
                owner=owner,
                digests=_digest_of(hashed),
                sizes=frozenset({int(size)}) if size.isdigit() else frozenset(),
            )


def _digest_of(hashed: str) -> frozenset[str]:
    """RECORD's `sha256=` and unpadded urlsafe base64, as hexadecimal digits."""
    algorithm, _, value = hashed.partition("=")
    if algorithm != "sha256":
        return frozenset()
    try:
        return frozenset({base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()})
    except binascii.Error:
        return frozenset({"unreadable"})


def read_records(prefix: Path, own: Iterable[PackageRecord]) -> list[PackageRecord]:
    """Read every package of a prefix: those of its installer, `own`, then the Python packages that are not among them.

    Raises:
        EnvError: a record cannot be read.
    """
    packages = list(own)
    return packages + read_distributions(prefix, owned=(file.path for package in packages for file in package.files))


def owners_of(packages: Iterable[PackageRecord]) -> dict[str, Owner]:
    """Map each path to the package that brought it, its own record included."""
    owners: dict[str, Owner] = {}
    for package in packages:
        owners[package.record] = Owner(package.manager, package.name)
        owners |= {file.path: file.owner for file in package.files}
    return owners


def merge_files(packages: Iterable[PackageRecord]) -> dict[str, RecordedFile]:
    """Collect the recorded files by their path; what two packages bring may be either's."""
    merged: dict[str, RecordedFile] = {}
    for package in packages:
        for file in package.files:
            before = merged.get(file.path)
            merged[file.path] = file if before is None else before.merge(file)
    return merged


def link_digest(target: str) -> str:
    """Compute the hash that conda-meta keeps of a symbolic link."""
    return hashlib.sha256(target.encode()).hexdigest()


def is_fresh_bytecode(path: Path) -> bool:
    """Decide whether a `__pycache__/*.pyc` was compiled from the source beside it as it is now.

    Interpreters and installers recompile bytecode, so its hash may differ from the package's; Python itself asks
    exactly this before it uses the file.
    """
    source = path.parent.parent / f"{path.name.split('.', 1)[0]}.py"
    try:
        with path.open("rb") as file:
            _, flags, mtime, size = PYC_HEADER.unpack(file.read(PYC_HEADER.size))
        stat = source.stat()
    except (OSError, struct.error):
        return False
    return bool(flags == 0 and mtime == int(stat.st_mtime) & 0xFFFFFFFF and size == stat.st_size & 0xFFFFFFFF)
