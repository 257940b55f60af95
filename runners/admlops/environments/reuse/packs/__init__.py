"""Packs: one compressed archive of an environment, for the volume that outlives the container disk.

It may import spec, integrity and prefix. Begin with `packing.py`, then `unpacking.py`.
"""

from __future__ import annotations

from admlops.environments.reuse.packs.manifest import (
    COMPRESSED,
    STORED,
    Pack,
    PackManifest,
    libraries_wanted,
    read_pack,
)
from admlops.environments.reuse.packs.packing import pack_environment, pack_path
from admlops.environments.reuse.packs.unpacking import restore_from_pack, unpack

__all__ = [
    "COMPRESSED",
    "STORED",
    "Pack",
    "PackManifest",
    "libraries_wanted",
    "pack_environment",
    "pack_path",
    "read_pack",
    "restore_from_pack",
    "unpack",
]
