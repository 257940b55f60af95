"""What a pack holds: a list of its files with their hashes, beside the archive.

A pack is `<name>.tar.zst`, or `<name>.tar` for one that is stored uncompressed, and `<name>.json`. The manifest is
written last, so a pack without one does not exist. A compressed archive's members stand in the manifest's order, so
unpacking checks each as it comes by; of a stored one the manifest knows where each file's content begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec

from admlops.environments.libraries import is_library, library_name
from admlops.errors import EnvError

SCHEMA = 1
COMPRESSED_SUFFIX = ".tar.zst"
STORED_SUFFIX = ".tar"
MANIFEST_SUFFIX = ".json"
INTERPRETER_LINKS = ("bin/python", "bin/python3")
"""The links by which a virtual environment may lead to a Python outside."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One member: `content` is the BLAKE3 of a file (hexadecimal), or where a link points; "" for a folder.

    `offset` is where a file's content begins in the uncompressed archive [bytes]; `mtime_s` is its time of change.
    """

    path: str
    kind: Literal["file", "link", "folder"]
    mode: int
    size_bytes: int
    content: str
    offset: int = 0
    mtime_s: int = 0


class Interpreter(msgspec.Struct, frozen=True):
    """The Python outside the prefix that a virtual environment links to."""

    link: str
    target: str
    version: str


class Manifest(msgspec.Struct, frozen=True):
    """The environment in a pack. `prefix` is absolute: an environment runs only where it was built.

    `state` is what the environment's state file says; `archive_blake3` is of the archive as it lies on disk, which is
    not compressed if it is `stored`.
    """

    schema: int
    name: str
    digest: str
    prefix: str
    state: Mapping[str, Any]
    interpreter: Interpreter | None
    archive_size_bytes: int
    archive_blake3: str
    entries: tuple[Entry, ...]
    stored: bool = False

    @property
    def size_bytes(self) -> int:
        """The bytes of all files, unpacked."""
        return sum(entry.size_bytes for entry in self.entries)


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A pack on disk."""

    archive: Path
    manifest: Manifest

    @property
    def manifest_path(self) -> Path:
        return manifest_of(self.archive)


def archive_of(folder: Path, name: str, *, stored: bool) -> Path:
    """Where the archive of the pack `name` lies in a folder of packs."""
    return folder / f"{name}{STORED_SUFFIX if stored else COMPRESSED_SUFFIX}"


def name_of(archive: Path) -> str:
    """The name of the pack whose archive this is: its prefix's."""
    return archive.name.removesuffix(COMPRESSED_SUFFIX).removesuffix(STORED_SUFFIX)


def manifest_of(archive: Path) -> Path:
    return archive.with_name(name_of(archive) + MANIFEST_SUFFIX)


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as its file holds it."""
    return msgspec.json.encode(manifest) + b"\n"


def read_pack(archive: Path) -> Pack | None:
    """The pack whose archive is `archive`, or None if it is not there.

    Raises:
        EnvError: the manifest is broken, from a newer schema, or names a path outside the prefix.
    """
    path = manifest_of(archive)
    if not path.is_file() or not archive.is_file():
        return None
    return Pack(archive=archive, manifest=parse_manifest(path.read_bytes(), str(path)))


def parse_manifest(content: bytes, where: str) -> Manifest:
    """The manifest in `content`. Raises EnvError, naming `where`, if it is not one or not safe to unpack."""
    try:
        schema = msgspec.json.decode(content, type=dict[str, Any]).get("schema")
        if schema != SCHEMA:
            raise _refuse(where, f"its schema is {schema}, this admlops reads {SCHEMA}")
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise _refuse(where, str(error)) from error
    _check_paths(manifest, where)
    return manifest


def libraries_wanted(folder: Path) -> set[str]:
    """The shared libraries, by name, of the stored packs in a folder: they are kept for the next installation."""
    wanted = set()
    for path in folder.glob(f"*{MANIFEST_SUFFIX}"):
        try:
            manifest = parse_manifest(path.read_bytes(), str(path))
        except (EnvError, OSError):  # whoever installs from it is told
            continue
        if manifest.stored:
            files = (entry for entry in manifest.entries if entry.kind == "file")
            wanted |= {library_name(one.content, one.mode) for one in files if is_library(one.path, one.size_bytes)}
    return wanted


def _check_paths(manifest: Manifest, where: str) -> None:
    """No entry lies outside the prefix, in a linked folder or twice; no link leaves the prefix."""
    kinds: dict[str, str] = {}
    for entry in manifest.entries:  # tens of thousands, as text: no Path is made for them
        if not {"", ".", ".."}.isdisjoint(entry.path.split("/")):
            raise _refuse(where, f"{entry.path!r} is not a path inside an environment")
        if entry.path in kinds:
            raise _refuse(where, f"{entry.path!r} is listed twice")
        parent = entry.path.rpartition("/")[0]
        if parent and kinds.get(parent) != "folder":
            raise _refuse(where, f"{entry.path!r} does not lie in a folder of the environment")
        if entry.kind == "link" and not stays_inside(entry.path, entry.content, manifest.prefix):
            raise _refuse(where, f"the link {entry.path!r} leads out of the environment, to {entry.content!r}")
        kinds[entry.path] = entry.kind
    outside = manifest.interpreter
    if outside is not None and (
        outside.link not in INTERPRETER_LINKS or outside.link in kinds or kinds.get("bin") != "folder"
    ):
        raise _refuse(where, f"{outside.link!r} is no place for a link to a Python")


def stays_inside(path: str, target: str, prefix: str) -> bool:
    """Whether a link at `path` (relative to the prefix) that points at `target` stays in the prefix."""
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


def _refuse(where: str, reason: str) -> EnvError:
    return EnvError(f"the pack {where} cannot be used: {reason}", hint=f"rm {where}   # the next env install builds")
