"""Whether a prefix is what its packages and its lock say: nothing missing, changed, or added that would shadow.

`quick` looks at names, versions and sizes; `full` hashes every file. Nothing here trusts a time stamp: a pod's user
edits files, and the cache of packages may have been edited through a hard link.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from admlops.core.types import Watch
from admlops.environments.integrity.file_manifest import CONTENTS_FILE
from admlops.environments.integrity.files import (
    CondaRecord,
    Distribution,
    ExpectedFile,
    Manager,
    is_fresh_bytecode,
    link_digest,
    merge_files,
    read_conda_records,
    read_distributions,
)
from admlops.environments.integrity.lock_comparison import LockedConda, compare_conda, compare_python
from admlops.environments.integrity.record_overrides import ACCEPTED_FILE, read_accepted
from admlops.environments.prefix import SENTINEL, STATE_FILE
from admlops.environments.spec.requirements import LockedPackage

Kind = Literal["missing", "changed", "added", "package"]

CHUNK_FILES = 64
OWN_FILES = frozenset(
    (
        *(STATE_FILE, "admlops-activation.json", ACCEPTED_FILE, CONTENTS_FILE, SENTINEL, ".lock"),
        *(".gitignore", "CACHEDIR.TAG", "pyvenv.cfg", "lib64"),
    )
)
"""What stands at the top of a prefix and belongs to no package: ours, uv's and rattler's."""
VENV_FILES = frozenset(
    (
        *("bin/python", "bin/python3", "bin/activate_this.py", "bin/activate", "bin/deactivate.bat", "bin/pydoc.bat"),
        *(f"bin/activate.{shell}" for shell in ("bat", "csh", "fish", "nu", "ps1", "xsh")),
    )
)
UNSEARCHED = frozenset(("conda-meta", "var", "share", "__pycache__"))
"""Folders in which an additional file shadows nothing: records, caches, data, and bytecode that needs its source."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that is wrong: `path` is relative to the prefix, `package` and `manager` say whose it is."""

    path: str
    reason: str
    kind: Kind
    package: str | None = None
    manager: Manager | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a verification found. `files_checked` counts files and links; `bytes_checked` what was hashed."""

    full: bool
    packages: int
    files_checked: int
    bytes_checked: int
    differences: tuple[Difference, ...]

    @property
    def clean(self) -> bool:
        return not self.differences


def verify(
    prefix: Path,
    *,
    full: bool,
    conda: Sequence[LockedConda] | None = None,
    python: Sequence[LockedPackage] | None = None,
    watch: Watch | None = None,
) -> Report:
    """Compare a prefix with the records of its installers and, where given, with its locks.

    Args:
        prefix: the environment's folder.
        full: hash every file; else only compare names, versions, file types and sizes.
        conda: the packages of the conda lock.
        python: the packages of the Python locks that are for this interpreter and device.
        watch: told how far the hashing is.

    Raises:
        EnvError: a record of conda-meta cannot be read at all.
    """
    records = read_conda_records(prefix)
    owned = {file.path for record in records for file in record.files}
    distributions = read_distributions(prefix, owned_by_conda=owned)
    expected = merge_files([*records, *distributions])
    differences = [_difference_of(*found) for found in _against_locks(records, distributions, conda, python)]
    differences += _recordless(distributions)
    if not records:
        differences += _check_interpreter(prefix)
    present, missing = _look(prefix, expected)
    differences += missing
    hashed = 0
    if full:
        changed, hashed = _hash_all(prefix, present, watch)
        differences += changed
    differences += _additions(prefix, expected, conda=bool(records))
    accepted = read_accepted(prefix)
    differences = [
        one for one in differences if one.path not in accepted or not accepted[one.path].holds(prefix, full=full)
    ]
    return Report(
        full=full,
        packages=len(records) + len(distributions),
        files_checked=len(expected),
        bytes_checked=hashed,
        differences=tuple(sorted(differences, key=lambda one: (one.path, one.reason))),
    )


def _against_locks(
    records: list[CondaRecord],
    distributions: list[Distribution],
    conda: Sequence[LockedConda] | None,
    python: Sequence[LockedPackage] | None,
) -> Iterator[tuple[str, str, str, Manager]]:
    if conda is not None:
        for path, package, reason in compare_conda(records, conda):
            yield path, package, reason, "conda"
    if python is not None:
        for path, package, reason in compare_python(distributions, python):
            yield path, package, reason, "python"


def _difference_of(path: str, package: str, reason: str, manager: Manager) -> Difference:
    return Difference(path=path, reason=reason, kind="package", package=package, manager=manager)


def _recordless(distributions: list[Distribution]) -> list[Difference]:
    """A package without RECORD cannot be verified, nor removed by an installer."""
    return [
        _difference_of(one.record, one.name, "is missing: nothing of this package can be verified", "python")
        for one in distributions
        if not one.files
    ]


def _check_interpreter(prefix: Path) -> Iterator[Difference]:
    """A virtual environment's `bin/python` must lead to the interpreter that its pyvenv.cfg names."""
    settings = prefix / "pyvenv.cfg"
    python = prefix / "bin" / "python"
    try:
        lines = (line.partition("=") for line in settings.read_text().splitlines())
        home = {name.strip(): value.strip() for name, _, value in lines}.get("home", "")
    except OSError:
        yield Difference(path="pyvenv.cfg", reason="is missing", kind="missing")
        return
    if not python.exists():
        yield Difference(path="bin/python", reason="is missing, or leads nowhere", kind="missing")
    elif python.resolve().parent != Path(home).resolve():
        reason = f"leads to {python.resolve()}; the environment was made for {home}"
        yield Difference(path="bin/python", reason=reason, kind="changed")


def _look(prefix: Path, expected: dict[str, ExpectedFile]) -> tuple[list[tuple[ExpectedFile, int]], list[Difference]]:
    """The files that are there with their sizes [bytes], and what is wrong at first sight."""
    present: list[tuple[ExpectedFile, int]] = []
    wrong: list[Difference] = []
    root = str(prefix)
    for file in expected.values():
        try:
            stat = os.lstat(f"{root}/{file.path}")
        except OSError:
            if not file.path.endswith(".pyc"):
                wrong.append(_wrong(file, "is missing", "missing"))
            continue
        is_link = (stat.st_mode & 0o170000) == 0o120000
        if is_link != file.link and file.manager == "conda":
            wrong.append(_wrong(file, "is a link" if is_link else "is no link any more", "changed"))
        elif not is_link and file.sizes and stat.st_size not in file.sizes and not _is_recompiled(prefix, file):
            stated = ", ".join(map(str, sorted(file.sizes)))
            wrong.append(_wrong(file, f"has {stat.st_size} bytes; its package has {stated}", "changed"))
        else:
            present.append((file, stat.st_size))
    return present, wrong


def _hash_all(
    prefix: Path, present: list[tuple[ExpectedFile, int]], watch: Watch | None
) -> tuple[list[Difference], int]:
    """What differs from its hash, and the bytes that were read. Hashing releases the interpreter's lock."""
    hashable = [(file, size) for file, size in present if file.digests]
    total = sum(size for _, size in hashable)
    chunks = [hashable[start : start + CHUNK_FILES] for start in range(0, len(hashable), CHUNK_FILES)]

    def check(chunk: list[tuple[ExpectedFile, int]]) -> tuple[list[Difference], int]:
        found = (_check_content(prefix, file) for file, _ in chunk)
        return [difference for difference in found if difference], sum(size for _, size in chunk)

    wrong: list[Difference] = []
    done = 0
    with ThreadPoolExecutor(max_workers=min(8, len(os.sched_getaffinity(0)))) as pool:
        for found, size in pool.map(check, chunks):
            wrong += found
            done += size
            if watch is not None:
                watch(done, total)
    return wrong, done


def _check_content(prefix: Path, file: ExpectedFile) -> Difference | None:
    path = prefix / file.path
    try:
        if file.link:
            target = str(path.readlink())
            return None if link_digest(target) in file.digests else _wrong(file, f"leads to {target}", "changed")
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        return _wrong(file, f"cannot be read: {error.strerror}", "changed")
    if digest in file.digests or _is_recompiled(prefix, file):
        return None
    shared = "" if path.stat().st_nlink == 1 else "; environments that share it have it so too"
    return _wrong(file, f"has another content than its package's{shared}", "changed")


def _is_recompiled(prefix: Path, file: ExpectedFile) -> bool:
    return file.path.endswith(".pyc") and is_fresh_bytecode(prefix / file.path)


def _wrong(file: ExpectedFile, reason: str, kind: Kind) -> Difference:
    return Difference(path=file.path, reason=reason, kind=kind, package=file.package, manager=file.manager)


def _additions(prefix: Path, expected: dict[str, ExpectedFile], *, conda: bool) -> Iterator[Difference]:
    """Files that no package brought, where a program, a module, a header or a library would be looked for."""
    own = OWN_FILES if conda else OWN_FILES | VENV_FILES
    for path in _walk(prefix):
        if path in expected or path in own or (not conda and path.startswith("bin/python3.")):
            continue
        name = path.rpartition("/")[2]
        if name.endswith(".pth") or name in ("sitecustomize.py", "usercustomize.py"):
            reason = "was added, and runs whenever Python starts"
        else:
            reason = "was added; no package has it"
        yield Difference(path=path, reason=reason, kind="added")


def _walk(prefix: Path) -> Iterator[str]:
    """Files and links below the prefix, relative to it, without the folders in which nothing can shadow."""
    pending = [""]
    while pending:
        folder = pending.pop()
        with os.scandir(prefix / folder) as entries:
            for entry in entries:
                path = f"{folder}{entry.name}"
                if not entry.is_dir(follow_symlinks=False):
                    yield path
                elif entry.name != "__pycache__" and path not in UNSEARCHED:
                    pending.append(f"{path}/")
