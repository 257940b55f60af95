"""Verifies a prefix: nothing missing, changed, or added that would shadow what packages brought.

A finished environment is checked against its manifest. While it is built, and where admlops 0.1 built it, it is checked
against the lists that its packages brought (`records`). Nothing here trusts a time stamp: a pod's user edits files, and
the cache of packages may have been edited through a hard link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, cast

import msgspec

from admlops.catalog.registries import INSTALLERS
from admlops.core.storage import explain_os_error
from admlops.core.types import Watch
from admlops.environments.activation import ACTIVATION_FILE, read_activation
from admlops.environments.integrity.expected import ExpectedFile, expect_listed, expect_recorded
from admlops.environments.integrity.hashing import FileHashes, hash_files
from admlops.environments.integrity.lock_comparison import UNLOCKED, LockedBasePackage, compare_base, compare_python
from admlops.environments.integrity.manifest import (
    Entry,
    Interpreter,
    PrefixListing,
    describe,
    interpreter_link,
    read_manifest,
)
from admlops.environments.integrity.record_overrides import RecordOverride, read_legacy_overrides
from admlops.environments.integrity.records import (
    PackageRecord,
    is_fresh_bytecode,
    link_digest,
    merge_files,
    owners_of,
    read_records,
)
from admlops.environments.integrity.walking import walk
from admlops.environments.prefix import INSTALLER_KEY, read_state
from admlops.environments.spec.requirements import LockedPackage

Kind = Literal["missing", "changed", "added", "package"]

OWN_FILES = frozenset(
    (ACTIVATION_FILE, "admlops-accepted.json", ".lock", ".gitignore", "CACHEDIR.TAG", "pyvenv.cfg", "lib64")
)
"""What stands at the top of a prefix and belongs to no package: ours, uv's and rattler's."""
UNSEARCHED = ("conda-meta/", "var/", "share/")
"""Folders in which an additional file shadows nothing: records, caches and data."""
RUN_AT_START = (".pth", "sitecustomize.py", "usercustomize.py")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is wrong: `path` is relative to the prefix, `package` and `manager` say whose it is."""

    path: str
    reason: str
    kind: Kind
    package: str | None = None
    manager: str | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of a verification.

    `files_checked` counts files and links; `bytes_checked` what was hashed. `by_manifest` is False where the prefix has
    no manifest and was checked against the lists of its packages.
    """

    full: bool
    packages: int
    files_checked: int
    bytes_checked: int
    differences: tuple[Difference, ...]
    by_manifest: bool = True

    @property
    def clean(self) -> bool:
        return not self.differences


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A prefix checked against its packages' lists, each file hashed once; `listing` is what its manifest will list."""

    report: Report
    listing: PrefixListing


class PrefixReader(Protocol):
    """What an installer tells of the prefixes that it fills."""

    def read_packages(self, prefix: Path) -> Sequence[PackageRecord]:
        """Read the installer's own packages with their files; Python packages with a dist-info may be left out."""

    def owns(self, path: str) -> bool:
        """Decide whether the installer itself puts a file at `path` that no package lists."""

    def check_base(self, prefix: Path) -> Iterable[Difference]:
        """Find faults in what the prefix relies on outside itself."""


def reader_of(prefix: Path) -> PrefixReader:
    """Find the installer that filled a prefix: by its state, or by conda's records while there is none."""
    state = read_state(prefix)
    default = "conda" if (prefix / "conda-meta").is_dir() else "venv"
    return cast("PrefixReader", INSTALLERS.get(default if state is None else str(state[INSTALLER_KEY])))


def verify(
    prefix: Path,
    *,
    full: bool,
    base: Sequence[LockedBasePackage] | None = None,
    python: Sequence[LockedPackage] | None = None,
    watch: Watch | None = None,
) -> Report:
    """Compare a prefix with its manifest and, where given, with its locks.

    Args:
        prefix: the environment's folder.
        full: hash every file; else only compare names, versions, file types and sizes.
        base: the packages of the installer's own lock.
        python: the packages of the Python locks that are for this interpreter and device.
        watch: told how far the hashing is.

    Raises:
        EnvError: a record of a package cannot be read at all.
        StorageError: a folder cannot be read.
    """
    reader = reader_of(prefix)
    packages = read_records(prefix, reader.read_packages(prefix))
    present = _list(prefix)
    manifest = read_manifest(prefix)
    overrides: Mapping[str, RecordOverride] = {}
    if manifest is None:
        overrides = read_legacy_overrides(prefix)
        expected = expect_recorded(merge_files(packages), overrides)
        differences = _recordless(packages)
    else:
        expected = expect_listed(manifest)
        differences = _check_activation(prefix)
    unreadable: dict[str, OSError] = {}
    hashes = hash_files(
        str(prefix),
        [(file.path, present[file.path].st_size) for file in expected if _is_hashed(file, present, full=full)],
        sha256={file.path for file in expected if file.algorithm == "sha256"},
        watch=watch,
        unreadable=unreadable,
    )
    against_locks = list(_compare_locks(packages, base, python))
    differences += [*against_locks, *reader.check_base(prefix)]
    differences += _compare(prefix, expected, present, hashes, unreadable)
    listed = {file.path for file in expected} | overrides.keys() | _files_of_unlocked(packages, against_locks)
    if manifest is not None and manifest.interpreter is not None:
        listed.add(manifest.interpreter.link)
    differences += _find_additions(present, listed, reader)
    return Report(
        full=full,
        packages=len(packages),
        files_checked=len(expected),
        bytes_checked=sum(present[path].st_size for path in hashes) if full else 0,
        differences=_sort(differences),
        by_manifest=manifest is not None,
    )


def inspect(
    prefix: Path,
    *,
    base: Sequence[LockedBasePackage] | None = None,
    python: Sequence[LockedPackage] | None = None,
    overrides: Mapping[str, RecordOverride],
    watch: Watch | None = None,
) -> Inspection:
    """Check a prefix that was just filled against its packages' lists and its locks, and list it; read each file once.

    `overrides` replace what a package's own list states of some files.

    Raises:
        EnvError: a record of a package cannot be read at all.
        StorageError: something cannot be read.
    """
    reader = reader_of(prefix)
    packages = read_records(prefix, reader.read_packages(prefix))
    present = _list(prefix)
    expected = expect_recorded(merge_files(packages), overrides)
    entries, interpreter = _describe(prefix, present)
    try:
        hashes = hash_files(
            str(prefix),
            [(entry.path, entry.size_bytes) for entry in entries if entry.kind == "file"],
            sha256={file.path for file in expected if file.digests},
            watch=watch,
        )
    except OSError as error:
        raise explain_os_error(error, prefix) from error
    against_locks = list(_compare_locks(packages, base, python))
    differences = [*against_locks, *_recordless(packages), *reader.check_base(prefix)]
    differences += _compare(prefix, expected, present, hashes, {})
    listed = {file.path for file in expected} | overrides.keys() | _files_of_unlocked(packages, against_locks)
    differences += _find_additions(present, listed, reader)
    report = Report(
        full=True,
        packages=len(packages),
        files_checked=len(expected),
        bytes_checked=sum(entry.size_bytes for entry in entries),
        differences=_sort(differences),
        by_manifest=False,
    )
    hashed = (
        msgspec.structs.replace(entry, content=hashes[entry.path].blake3) if entry.kind == "file" else entry
        for entry in entries
    )
    listing = PrefixListing(entries=tuple(hashed), interpreter=interpreter)
    return Inspection(report=report, listing=listing.with_owners(owners_of(packages)))


def _list(prefix: Path) -> dict[str, os.stat_result]:
    try:
        return dict(walk(prefix))
    except OSError as error:
        raise explain_os_error(error, prefix) from error


def _describe(prefix: Path, present: Mapping[str, os.stat_result]) -> tuple[list[Entry], Interpreter | None]:
    entries: list[Entry] = []
    interpreter = None
    for path, status in present.items():
        outside = interpreter_link(prefix, path, status)
        entry = None if outside is not None else describe(prefix, path, status)
        interpreter = outside or interpreter
        if entry is not None:
            entries.append(entry)
    return entries, interpreter


def _compare_locks(
    packages: Sequence[PackageRecord],
    base: Sequence[LockedBasePackage] | None,
    python: Sequence[LockedPackage] | None,
) -> Iterator[Difference]:
    own = [package for package in packages if package.manager != "python"]
    others = [package for package in packages if package.manager == "python"]
    manager = own[0].manager if own else "conda"
    if base is not None:
        for path, package, reason in compare_base(own, base):
            yield Difference(path=path, reason=reason, kind="package", package=package, manager=manager)
    if python is not None:
        for path, package, reason in compare_python(others, python):
            yield Difference(path=path, reason=reason, kind="package", package=package, manager="python")


def _recordless(packages: Sequence[PackageRecord]) -> list[Difference]:
    """A Python package without RECORD cannot be verified, nor removed by an installer."""
    reason = "is missing: nothing of this package can be verified"
    return [
        Difference(path=one.record, reason=reason, kind="package", package=one.name, manager=one.manager)
        for one in packages
        if one.manager == "python" and not one.files
    ]


def _check_activation(prefix: Path) -> list[Difference]:
    if read_activation(prefix) is not None:
        return []
    reason = "is missing or damaged: no program can be started in the environment"
    return [Difference(path=ACTIVATION_FILE, reason=reason, kind="missing")]


def _files_of_unlocked(packages: Sequence[PackageRecord], differences: Sequence[Difference]) -> set[str]:
    """List the files of packages that no lock has: one difference names each of these packages already."""
    unlocked = {one.package for one in differences if one.reason == UNLOCKED}
    return {file.path for package in packages if package.name in unlocked for file in package.files}


def _is_hashed(file: ExpectedFile, present: Mapping[str, os.stat_result], *, full: bool) -> bool:
    status = present.get(file.path)
    wanted = full or file.path.endswith(RUN_AT_START)
    return wanted and bool(file.digests) and status is not None and stat.S_ISREG(status.st_mode)


def _compare(
    prefix: Path,
    expected: Iterable[ExpectedFile],
    present: Mapping[str, os.stat_result],
    hashes: Mapping[str, FileHashes],
    unreadable: Mapping[str, OSError],
) -> Iterator[Difference]:
    for file in expected:
        if file.path in OWN_FILES and file.owner is None:
            continue
        found = _compare_one(prefix, file, present.get(file.path), hashes.get(file.path))
        if file.path in unreadable:
            found = f"cannot be read: {unreadable[file.path].strerror}", "changed"
        if found is not None and not _is_recompiled(prefix, file):
            reason, kind = found
            package, manager = (None, None) if file.owner is None else (file.owner.package, file.owner.manager)
            yield Difference(path=file.path, reason=reason, kind=kind, package=package, manager=manager)


def _compare_one(
    prefix: Path, file: ExpectedFile, status: os.stat_result | None, hashes: FileHashes | None
) -> tuple[str, Kind] | None:
    if status is None:
        return "is missing", "missing"
    is_link = stat.S_ISLNK(status.st_mode)
    if file.link is not None and is_link != file.link:
        return "is a link" if is_link else "is no link any more", "changed"
    if is_link:
        target = str((prefix / file.path).readlink()) if file.link else ""
        moved = (file.target is not None and target != file.target) or (
            file.link and file.algorithm == "sha256" and file.digests and link_digest(target) not in file.digests
        )
        return (f"leads to {target}", "changed") if moved else None
    if file.sizes and status.st_size not in file.sizes:
        stated = ", ".join(map(str, sorted(file.sizes)))
        return f"has {status.st_size} bytes; its package has {stated}", "changed"
    if file.executable is not None and bool(status.st_mode & 0o100) != file.executable:
        return ("is not executable any more" if file.executable else "was made executable"), "changed"
    found = None if hashes is None else hashes.sha256 if file.algorithm == "sha256" else hashes.blake3
    if found is not None and file.digests and found not in file.digests:
        shared = "" if status.st_nlink == 1 else "; environments that share it have it so too"
        return f"has another content than its package's{shared}", "changed"
    return None


def _is_recompiled(prefix: Path, file: ExpectedFile) -> bool:
    """Bytecode may be gone, or compiled again from the source beside it."""
    if not file.path.endswith(".pyc"):
        return False
    return not os.path.lexists(prefix / file.path) or is_fresh_bytecode(prefix / file.path)


def _find_additions(
    present: Mapping[str, os.stat_result], listed: set[str], reader: PrefixReader
) -> Iterator[Difference]:
    """Find files that nothing lists, where a program, a module, a header or a library would be looked for."""
    for path, status in present.items():
        if path in listed or stat.S_ISDIR(status.st_mode) or path in OWN_FILES or path.startswith(UNSEARCHED):
            continue
        if "__pycache__/" in path or reader.owns(path):
            continue
        at_start = path.endswith(RUN_AT_START)
        reason = "was added, and runs whenever Python starts" if at_start else "was added; no package has it"
        yield Difference(path=path, reason=reason, kind="added")


def _sort(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    found = {(one.path, one.reason): one for one in differences}
    return tuple(found[key] for key in sorted(found))
