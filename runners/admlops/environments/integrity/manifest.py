"""The manifest of an environment: every file with its hash and its package, every link, every folder.

One list serves all: it is written before the state says `ready`, and verification, repair, packs and shared libraries
read it. A pack has the same list beside its archive.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import msgspec

from admlops.core.errors import EnvError
from admlops.core.storage import write_atomically
from admlops.environments.integrity.walking import LEFT_OUT
from admlops.environments.prefix import MANIFEST_FILE

SCHEMA = 1
INTERPRETER_LINKS = ("bin/python", "bin/python3")
"""The links by which a virtual environment may lead to a Python outside."""

__all__ = ["LEFT_OUT", "MANIFEST_FILE", "SCHEMA", "Entry", "Interpreter", "Manifest", "Owner", "PrefixListing"]


class Owner(NamedTuple):
    """The package that brought a file, and the manager that installed it: `conda`, `python` or another installer."""

    manager: str
    package: str

    @classmethod
    def parse(cls, text: str) -> Owner | None:
        """Read `manager:package`; None for ""."""
        manager, _, package = text.partition(":")
        return cls(manager, package) if package else None

    def __str__(self) -> str:
        return f"{self.manager}:{self.package}"


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One member: `content` is the BLAKE3 of a file (hexadecimal), or where a link points; "" for a folder.

    `offset` is where a file's content begins in an uncompressed archive [bytes]; `mtime_s` is its time of change.
    `owner` is `manager:package`, "" where no package lists the file or the list was written by admlops 0.1.
    """

    path: str
    kind: Literal["file", "link", "folder"]
    mode: int
    size_bytes: int
    content: str
    offset: int = 0
    mtime_s: int = 0
    owner: str = ""


class Interpreter(msgspec.Struct, frozen=True):
    """The Python outside the prefix that a virtual environment links to."""

    link: str
    target: str
    version: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """An environment. `prefix` is absolute: it runs only where it was built. `state` is of its state file."""

    schema: int
    name: str
    digest: str
    prefix: str
    state: Mapping[str, Any]
    interpreter: Interpreter | None
    entries: tuple[Entry, ...]

    @property
    def size_bytes(self) -> int:
        """The bytes of all files."""
        return sum(entry.size_bytes for entry in self.entries)

    def why_unfit(self, prefix: Path, digest: str) -> str | None:
        """Say why this cannot become the environment `digest` at `prefix`; None if it can."""
        if self.digest != digest:
            return "its environment was built from other locks"
        if self.prefix != str(prefix):
            return f"its environment runs only at {self.prefix} (export ADMLOPS_ENVIRONMENTS to have it there)"
        if self.interpreter is not None and not os.access(self.interpreter.target, os.X_OK):
            return f"it needs Python {self.interpreter.version} at {self.interpreter.target}"
        return None

    def why_unsafe(self) -> str | None:
        """Say why files must not be written by this list; None if they may.

        No entry lies outside the prefix, in a linked folder or twice; no link leaves the prefix.
        """
        kinds: dict[str, str] = {}
        for entry in self.entries:  # tens of thousands, as text: no Path is made for them
            if not {"", ".", ".."}.isdisjoint(entry.path.split("/")):
                return f"{entry.path!r} is not a path inside an environment"
            if entry.path in kinds:
                return f"{entry.path!r} is listed twice"
            parent = entry.path.rpartition("/")[0]
            if parent and kinds.get(parent) != "folder":
                return f"{entry.path!r} does not lie in a folder of the environment"
            if entry.kind == "link" and not stays_inside(entry.path, entry.content, self.prefix):
                return f"the link {entry.path!r} leads out of the environment, to {entry.content!r}"
            kinds[entry.path] = entry.kind
        outside = self.interpreter
        if outside is not None and (
            outside.link not in INTERPRETER_LINKS or outside.link in kinds or kinds.get("bin") != "folder"
        ):
            return f"{outside.link!r} is no place for a link to a Python"
        return None


class ManifestMismatchError(Exception):
    """A file, link or interpreter differs from its manifest entry."""


@dataclass(frozen=True, kw_only=True)
class PrefixListing:
    """The content of a prefix, as a manifest will list it."""

    entries: tuple[Entry, ...]
    interpreter: Interpreter | None

    def with_owners(self, owners: Mapping[str, Owner]) -> PrefixListing:
        """Name the package of every file that `owners` knows by its path."""
        owned = (
            msgspec.structs.replace(entry, owner=str(owners[entry.path])) if entry.path in owners else entry
            for entry in self.entries
        )
        return PrefixListing(entries=tuple(owned), interpreter=self.interpreter)


def write_manifest(
    prefix: Path, listing: PrefixListing, *, name: str, digest: str, state: Mapping[str, Any]
) -> Manifest:
    """Write the manifest into the prefix, with the details that the state file is about to hold.

    Raises:
        StorageError: it cannot be written.
    """
    manifest = Manifest(
        schema=SCHEMA,
        name=name,
        digest=digest,
        prefix=str(prefix),
        state=state,
        interpreter=listing.interpreter,
        entries=listing.entries,
    )
    write_atomically(prefix / MANIFEST_FILE, msgspec.json.encode(manifest) + b"\n", sync=False)
    return manifest


def read_manifest(prefix: Path) -> Manifest | None:
    """Read the manifest in a prefix; None if there is none of this schema, or if it is damaged."""
    try:
        manifest = msgspec.json.decode((prefix / MANIFEST_FILE).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError):
        return None
    return manifest if manifest.schema == SCHEMA else None


def describe(prefix: Path, path: str, status: os.stat_result) -> Entry | None:
    """Describe what lies at `path`, except the content of a file; None for a socket or the like."""
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return Entry(path=path, kind="folder", mode=mode, size_bytes=0, content="")
    if stat.S_ISLNK(status.st_mode):
        target = str((prefix / path).readlink())
        return Entry(path=path, kind="link", mode=mode, size_bytes=0, content=target)
    if not stat.S_ISREG(status.st_mode):
        return None
    mtime_s = int(status.st_mtime)  # bytecode names the whole second of its source
    return Entry(path=path, kind="file", mode=mode, size_bytes=status.st_size, content="", mtime_s=mtime_s)


def interpreter_link(prefix: Path, path: str, status: os.stat_result) -> Interpreter | None:
    """Recognise a virtual environment's `bin/python` that links to a Python outside."""
    if path not in INTERPRETER_LINKS or not stat.S_ISLNK(status.st_mode):
        return None
    target = str((prefix / path).readlink())
    if stays_inside(path, target, str(prefix)):
        return None
    return Interpreter(link=path, target=target, version=_venv_version(prefix))


def _venv_version(prefix: Path) -> str:
    """Read the Python version that a virtual environment was made for from its pyvenv.cfg."""
    for line in (prefix / "pyvenv.cfg").read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() in ("version_info", "version"):
            return value.strip()
    raise EnvError(
        f"{prefix / 'pyvenv.cfg'} does not say which Python it is for", hint=f"admlops env repair {prefix.name}"
    )


def stays_inside(path: str, target: str, prefix: str) -> bool:
    """Decide whether a link at `path` (relative to the prefix) that points at `target` stays in the prefix."""
    joined = PurePosixPath(prefix) / PurePosixPath(path).parent / target
    depth: list[str] = []
    for part in joined.parts[1:]:
        if part == "..":
            if not depth:
                return False
            depth.pop()
        else:
            depth.append(part)
    inside = PurePosixPath(prefix).parts[1:]
    return tuple(depth[: len(inside)]) == inside


def complete(prefix: Path, entries: Iterable[Entry], interpreter: Interpreter | None) -> None:
    """Finish a prefix whose files, links and folders were written: modes of folders, and the link to a Python.

    Raises:
        ManifestMismatchError: links that each stay inside lead out when combined, or the Python is not there.
        OSError: something cannot be changed.
    """
    inside = os.path.realpath(prefix) + os.sep
    folders = []
    for entry in entries:
        if entry.kind == "folder":
            folders.append(entry)
        elif entry.kind == "link" and not os.path.realpath(prefix / entry.path).startswith(inside):
            raise ManifestMismatchError(f"its link {entry.path!r} leads out of the environment")
    for entry in reversed(folders):
        os.chmod(f"{prefix}/{entry.path}", entry.mode)  # noqa: PTH101 - thousands of them
    if interpreter is not None:
        _link_interpreter(interpreter, prefix)


def _link_interpreter(interpreter: Interpreter, prefix: Path) -> None:
    if not os.access(interpreter.target, os.X_OK):
        raise ManifestMismatchError(f"it needs Python {interpreter.version} at {interpreter.target}")
    (prefix / interpreter.link).symlink_to(interpreter.target)
