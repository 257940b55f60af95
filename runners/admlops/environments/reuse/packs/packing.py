"""Packs a ready environment: one pass over its files, each hashed and compared with the manifest as it is archived."""

from __future__ import annotations

import os
import socket
import stat
import tarfile
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

import msgspec
import psutil
import zstandard
from blake3 import blake3

from admlops.core.errors import EnvError
from admlops.core.storage import explain_os_error
from admlops.core.types import Watch
from admlops.environments.integrity.hashing import BLOCK_BYTES
from admlops.environments.integrity.manifest import (
    SCHEMA,
    Entry,
    Interpreter,
    describe,
    interpreter_link,
    read_manifest,
    stays_inside,
)
from admlops.environments.integrity.records import is_fresh_bytecode
from admlops.environments.integrity.walking import walk
from admlops.environments.prefix import read_state
from admlops.environments.reuse.packs.manifest import (
    COMPRESSED,
    STORED,
    Pack,
    PackManifest,
    archive_of,
    encode_manifest,
    manifest_of,
)

ABANDONED_S = 24 * 3600.0


def pack_path(folder: Path, prefix: Path) -> Path:
    """Name the place of the pack of `prefix` in a folder of packs: the stored one if it is there."""
    stored = archive_of(folder, prefix.name, stored=True)
    return stored if stored.is_file() else archive_of(folder, prefix.name, stored=False)


def pack_environment(prefix: Path, folder: Path, *, level: int = COMPRESSED, on_progress: Watch | None = None) -> Pack:
    """Pack the environment at `prefix` into `folder`; a pack that was there is replaced when the new one is whole.

    `level` is zstd's, or STORED.

    Raises:
        EnvError: the environment is not ready, a file differs from its manifest, or it holds what no pack can hold: a
            socket, a link that leaves it.
        StorageError: the disk is full or the folder cannot be written.
    """
    state = read_state(prefix)
    if state is None or state["state"] != "ready":
        raise EnvError(f"{prefix} is not a ready environment", hint="admlops env list")
    stored = level == STORED
    archive, other = (archive_of(folder, prefix.name, stored=kind) for kind in (stored, not stored))
    mark = f"{socket.gethostname()}.{os.getpid()}"
    temporary, draft = (path.with_name(f".{path.name}.{mark}") for path in (archive, manifest_of(archive)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (archive, other, manifest_of(archive)):
            _remove_leftovers(path)
        entries, interpreter, size_bytes, archive_hash = _write_archive(prefix, temporary, level, on_progress)
        manifest = PackManifest(
            schema=SCHEMA,
            name=state["name"],
            digest=state["digest"],
            prefix=str(prefix),
            state=state,
            interpreter=interpreter,
            archive_size_bytes=size_bytes,
            archive_blake3=archive_hash,
            entries=tuple(entries),
            stored=stored,
        )
        draft.write_bytes(encode_manifest(manifest))
        manifest_of(archive).unlink(missing_ok=True)
        other.unlink(missing_ok=True)
        temporary.replace(archive)
        draft.replace(manifest_of(archive))
    except OSError as error:
        raise explain_os_error(error, archive) from error
    finally:
        for path in (temporary, draft):
            with suppress(OSError):
                path.unlink()
    return Pack(archive=archive, manifest=manifest)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed packers left beside `path`; other machines' may still be at work, so theirs is kept a day."""
    begin = f".{path.name}."
    for left in path.parent.glob(f"{begin}*"):
        host, _, pid = left.name.removeprefix(begin).rpartition(".")
        ended = host == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))
        with suppress(FileNotFoundError):  # it has just been finished
            if ended or time.time() - left.stat().st_mtime > ABANDONED_S:
                left.unlink()


class _HashedFile:
    """A file that is written from its beginning to its end, and hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self.size_bytes = file, blake3(), 0

    def write(self, block: bytes) -> int:
        self._hash.update(block)
        self.size_bytes += len(block)
        return self._file.write(block)

    def hexdigest(self) -> str:
        return str(self._hash.hexdigest())


class _HashedSource:
    """A file that is read once, and hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.hash = file, blake3()

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self.hash.update(block)
        return block


def _write_archive(
    prefix: Path, target: Path, level: int, on_progress: Watch | None
) -> tuple[list[Entry], Interpreter | None, int, str]:
    found = list(walk(prefix))
    manifest = read_manifest(prefix)
    listed = {} if manifest is None else {entry.path: entry for entry in manifest.entries}
    total = sum(status.st_size for _, status in found if stat.S_ISREG(status.st_mode))
    entries: list[Entry] = []
    interpreter: Interpreter | None = None
    done = 0
    with target.open("wb") as file:
        hashed = _HashedFile(file)
        with (
            _compressed(hashed, level) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT, bufsize=BLOCK_BYTES) as tar,
        ):
            for path, status in found:
                outside = interpreter_link(prefix, path, status)
                if outside is not None:
                    interpreter = outside
                    continue
                entries.append(_add(tar, prefix, path, status, listed.get(path)))
                done += entries[-1].size_bytes
                if on_progress is not None:
                    on_progress(done, total)
        file.flush()
        os.fsync(file.fileno())
    return entries, interpreter, hashed.size_bytes, hashed.hexdigest()


def _compressed(file: _HashedFile, level: int) -> AbstractContextManager[Any]:
    if level == STORED:
        return nullcontext(file)
    compressor = zstandard.ZstdCompressor(level=level, threads=-1)
    return compressor.stream_writer(file, closefd=False)  # type: ignore[arg-type]


def _add(tar: tarfile.TarFile, prefix: Path, path: str, status: os.stat_result, listed: Entry | None) -> Entry:
    entry = _describe(prefix, path, status)
    member = tarfile.TarInfo(path)
    member.mode, member.mtime = entry.mode, int(status.st_mtime)
    if entry.kind == "file":
        entry = _add_file(tar, prefix, entry, member)
    else:
        member.type = tarfile.DIRTYPE if entry.kind == "folder" else tarfile.SYMTYPE
        member.linkname = entry.content
        tar.addfile(member)
    if listed is None:
        return entry
    if (entry.kind, entry.content) != (listed.kind, listed.content) and not is_fresh_bytecode(prefix / path):
        raise EnvError(
            f"{prefix.name} is not packed: {path} is not what its manifest lists",
            hint=f"admlops env repair {prefix.name}",
        )
    return msgspec.structs.replace(entry, owner=listed.owner)


def _describe(prefix: Path, path: str, status: os.stat_result) -> Entry:
    entry = describe(prefix, path, status)
    if entry is None:
        raise EnvError(f"{prefix / path} is neither file, folder nor link", hint=f"rm {prefix / path}")
    if entry.kind == "link" and not stays_inside(path, entry.content, str(prefix)):
        raise EnvError(
            f"{prefix / path} links to {entry.content}, outside the environment, so it cannot be packed",
            hint=f"admlops env repair {prefix.name}   # or remove the link: rm {prefix / path}",
        )
    return entry


def _add_file(tar: tarfile.TarFile, prefix: Path, entry: Entry, member: tarfile.TarInfo) -> Entry:
    with (prefix / entry.path).open("rb") as file:
        source = _HashedSource(file)
        member.size = entry.size_bytes
        tar.addfile(member, source)  # type: ignore[arg-type]
    offset = tar.offset - -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return msgspec.structs.replace(entry, content=str(source.hash.hexdigest()), offset=offset)
