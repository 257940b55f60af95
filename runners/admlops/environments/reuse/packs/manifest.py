"""The manifest of a pack: the manifest of its environment, and what is known of the archive beside it.

A pack is `<name>.tar.zst`, or `<name>.tar` for one that is stored uncompressed, and `<name>.json`. The manifest is
written last, so a pack without one does not exist. A compressed archive's members stand in the manifest's order, so
unpacking checks each as it comes by; of a stored one the manifest says where each file's content begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from admlops.core.errors import EnvError
from admlops.environments.integrity.manifest import SCHEMA, Manifest
from admlops.environments.reuse.libraries import is_library, library_name

COMPRESSED = 3
"""The level of packs, zstd's own default: on site-packages a higher one costs minutes and saves a few per cent."""
STORED = 0
"""The level at which a pack is not compressed: some three times as large, restored in a fraction of the time."""
COMPRESSED_SUFFIX = ".tar.zst"
STORED_SUFFIX = ".tar"
MANIFEST_SUFFIX = ".json"


class PackManifest(Manifest, frozen=True, kw_only=True):
    """The environment in a pack.

    `archive_blake3` is of the archive as it lies on disk, which is not compressed if it is `stored`.
    """

    archive_size_bytes: int
    archive_blake3: str
    stored: bool = False


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A pack on disk."""

    archive: Path
    manifest: PackManifest

    @property
    def manifest_path(self) -> Path:
        return manifest_of(self.archive)


def archive_of(folder: Path, name: str, *, stored: bool) -> Path:
    """Return where the archive of the pack `name` lies in a folder of packs."""
    return folder / f"{name}{STORED_SUFFIX if stored else COMPRESSED_SUFFIX}"


def name_of(archive: Path) -> str:
    """The name of the pack whose archive this is: its prefix's."""
    return archive.name.removesuffix(COMPRESSED_SUFFIX).removesuffix(STORED_SUFFIX)


def manifest_of(archive: Path) -> Path:
    return archive.with_name(name_of(archive) + MANIFEST_SUFFIX)


def encode_manifest(manifest: PackManifest) -> bytes:
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


def parse_manifest(content: bytes, where: str) -> PackManifest:
    """The manifest in `content`. Raises EnvError, naming `where`, if it is not one or not safe to unpack."""
    try:
        schema = msgspec.json.decode(content, type=dict[str, Any]).get("schema")
        if schema != SCHEMA:
            raise _refuse(where, f"its schema is {schema}, this admlops reads {SCHEMA}")
        manifest = msgspec.json.decode(content, type=PackManifest)
    except msgspec.DecodeError as error:
        raise _refuse(where, str(error)) from error
    unsafe = manifest.why_unsafe()
    if unsafe is not None:
        raise _refuse(where, unsafe)
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


def _refuse(where: str, reason: str) -> EnvError:
    return EnvError(f"the pack {where} cannot be used: {reason}", hint=f"rm {where}   # the next env install builds")
