"""Packs in a folder or an S3-compatible store, pushed and pulled so that an interruption costs one part at most.

A store holds `parts/<BLAKE3>` and `<name>.pack.json`, which lists the parts of the archive and of its manifest and is
written last. Parts are named by their content: those that are there already need not travel again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3

from admlops.core.errors import EnvError
from admlops.core.file_lock import hold
from admlops.core.object_store import explained, open_store, shown
from admlops.core.storage import explain_os_error, write_atomically
from admlops.core.types import Watch
from admlops.environments.reuse.packs.manifest import (
    Pack,
    archive_of,
    manifest_of,
    name_of,
    parse_manifest,
)

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMA = 1
PART_BYTES = 32 << 20
TRANSFERS = 4
PUSH = "admlops env push MODEL"
"""The command that fills a store."""


class Part(msgspec.Struct, frozen=True):
    """A piece of a file, named by its BLAKE3."""

    blake3: str
    size_bytes: int


class Listing(msgspec.Struct, frozen=True):
    """What a store holds under one name: the parts of the archive in order, and the manifest as one part."""

    schema: int
    name: str
    archive: tuple[Part, ...]
    manifest: Part


def push(pack: Pack, target: str, *, on_progress: Watch | None = None) -> int:
    """Put a pack into a store; parts that it holds already stay. Returns the bytes that were sent.

    Raises:
        UsageError: the address cannot be used.
        EnvError: the store cannot be reached or refuses.
    """
    store = open_store(target, make=True, push=PUSH)
    name = name_of(pack.archive)
    manifest = pack.manifest_path.read_bytes()
    total = pack.archive.stat().st_size + len(manifest)
    with explained(target, EnvError):
        sent, done = 0, 0
        parts: list[Part] = []
        with ThreadPoolExecutor(TRANSFERS) as pool:
            # map() would read the whole archive ahead of the sending; a batch bounds the memory.
            for batch in _batches(_pieces(pack.archive)):
                for part, travelled in pool.map(lambda piece: _put(store, piece), batch):
                    parts.append(part)
                    sent += part.size_bytes if travelled else 0
                    done += part.size_bytes
                    if on_progress is not None:
                        on_progress(done, total)
        listed, travelled = _put(store, manifest)
        sent += listed.size_bytes if travelled else 0
        listing = Listing(schema=SCHEMA, name=name, archive=tuple(parts), manifest=listed)
        store.put(f"{name}.pack.json", msgspec.json.encode(listing))
    return sent


def pull(
    name: str,
    target: str,
    folder: Path,
    *,
    on_progress: Watch | None = None,
    say: Callable[[str], None] | None = None,
) -> Pack | None:
    """Bring the pack `name` (without a suffix) from a store into `folder`; None if the store does not hold it.

    What is here already is not fetched: a whole archive, and what an interrupted pull brought. Two processes that want
    the same pack share one transfer.

    Raises:
        UsageError: the address cannot be used.
        EnvError: the store cannot be reached, or what came is not what its listing says.
        StorageError: `folder` cannot be written.
    """
    from obstore.exceptions import NotFoundError

    store = open_store(target, push=PUSH)
    with explained(target, EnvError):
        try:
            content = bytes(store.get(f"{name}.pack.json").bytes())
        except (NotFoundError, FileNotFoundError):
            return None
        listing = _parse_listing(content, name, target)
        manifest = _get(store, listing.manifest, target)
        parsed = parse_manifest(manifest, f"{shown(target)}/{name}")
        archive = archive_of(folder, name, stored=parsed.stored)
        with hold(folder / f".{name}.pull.lock", what=f"pulling {name}", say=say or (lambda line: None)):
            try:
                if not _holds(archive, parsed.archive_blake3):
                    _assemble(store, listing, archive, target, parsed.archive_blake3, on_progress)
            except OSError as error:
                raise explain_os_error(error, archive) from error
            archive_of(folder, name, stored=not parsed.stored).unlink(missing_ok=True)
            write_atomically(manifest_of(archive), manifest)
    return Pack(archive=archive, manifest=parsed)


def _holds(path: Path, digest: str) -> bool:
    """Tell whether a file is there and has this BLAKE3."""
    return path.is_file() and path.stat().st_size > 0 and str(blake3().update_mmap(path).hexdigest()) == digest


def _assemble(
    store: ObjectStore, listing: Listing, archive: Path, target: str, digest: str, on_progress: Watch | None
) -> None:
    """Assemble the archive from its parts, each written at its place in a file beside it, renamed when it is whole."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(f".{archive.name}.pull")
    total = sum(part.size_bytes for part in listing.archive)
    offsets = [sum(part.size_bytes for part in listing.archive[:index]) for index in range(len(listing.archive))]
    done = 0
    with partial.open("ab"):
        pass
    with partial.open("r+b", buffering=0) as file:
        descriptor = file.fileno()

        def bring(placed: tuple[int, Part]) -> int:
            offset, part = placed
            if str(blake3(os.pread(descriptor, part.size_bytes, offset)).hexdigest()) != part.blake3:
                os.pwrite(descriptor, _get(store, part, target), offset)
            return part.size_bytes

        with ThreadPoolExecutor(TRANSFERS) as pool:
            for size_bytes in pool.map(bring, zip(offsets, listing.archive, strict=True)):
                done += size_bytes
                if on_progress is not None:
                    on_progress(done, total)
        file.truncate(total)
        os.fsync(descriptor)
    if not _holds(partial, digest):
        partial.unlink()
        raise _unusable(target, listing.name, "its parts do not make the archive that its manifest names")
    partial.replace(archive)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PART_BYTES):
            yield piece


def _batches(pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for piece in pieces:
        batch.append(piece)
        if len(batch) == TRANSFERS:
            yield batch
            batch = []
    if batch:
        yield batch


def _put(store: ObjectStore, content: bytes) -> tuple[Part, bool]:
    """Store this content; returns its part, and whether it had to be sent."""
    from obstore.exceptions import NotFoundError

    part = Part(blake3=str(blake3(content).hexdigest()), size_bytes=len(content))
    try:
        if store.head(_key(part))["size"] == part.size_bytes:
            return part, False
    except (NotFoundError, FileNotFoundError):
        pass
    store.put(_key(part), content)
    return part, True


def _get(store: ObjectStore, part: Part, target: str) -> bytes:
    content = bytes(store.get(_key(part)).bytes())
    if str(blake3(content).hexdigest()) != part.blake3:
        raise EnvError(
            f"{shown(target)}/{_key(part)} is damaged: its content is not what its name says",
            hint="admlops env push MODEL   # from where the pack is whole, after that object is deleted",
        )
    return content


def _key(part: Part) -> str:
    return f"parts/{part.blake3}"


def _parse_listing(content: bytes, name: str, target: str) -> Listing:
    try:
        listing = msgspec.json.decode(content, type=Listing)
        if listing.schema != SCHEMA or listing.name != name:
            raise msgspec.ValidationError(f"schema {listing.schema}, name {listing.name!r}")
        for part in (*listing.archive, listing.manifest):
            if len(part.blake3) != 64 or not part.blake3.isalnum() or not 0 <= part.size_bytes <= 2 * PART_BYTES:
                raise msgspec.ValidationError(f"a part {part.blake3!r} of {part.size_bytes} bytes")
    except msgspec.DecodeError as error:
        raise _unusable(target, name, str(error)) from error
    return listing


def _unusable(target: str, name: str, reason: str) -> EnvError:
    return EnvError(
        f"{shown(target)}/{name}.pack.json cannot be used: {reason}",
        hint=f"admlops env push MODEL --to {shown(target)}   # from where the pack is whole",
    )
