"""Restoring an environment from its pack: streamed, checked file by file, in parallel.

Files are taken from where the manifest says they begin in the archive; each is hashed as it is written. For a
compressed pack one thread decompresses, this one cuts the stream into files, and a few write them. For a stored pack a
few threads each copy a range of the archive, which the kernel is asked to read ahead. A compiled library that is here
already is hashed and hard-linked instead. An archive whose manifest states no offsets is read member by member.
"""

from __future__ import annotations

import os
import queue
import tarfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3

from admlops.core.errors import EnvError
from admlops.core.storage import explain_os_error
from admlops.core.types import Say, Watch
from admlops.environments.integrity.hashing import BLOCK_BYTES, count_threads, split
from admlops.environments.integrity.manifest import Entry, ManifestMismatchError, complete
from admlops.environments.reuse.libraries import Libraries, is_library
from admlops.environments.reuse.packs.manifest import Pack, PackManifest, read_pack
from admlops.environments.reuse.packs.packing import pack_path

AHEAD_BLOCKS = 32
HEADER_BYTES = 16 << 10
"""tarfile's buffer: it copies the rest of it at each read, so a large one costs more than it saves."""
PIECE_BYTES = 8 << 20
"""A file up to this size is handed to a writer whole; a larger one is written by the reader, piece by piece."""
PENDING_BYTES = 128 << 20
BATCH_FILES = 64
BATCH_BYTES = 4 << 20
"""Small files go to a writer in batches: handing each over alone costs as much as writing it."""
MAX_WRITERS = 16
THREADS_PER_CORE = 2
"""While one waits for the disk, another one hashes."""


def restore_from_pack(
    folder: Path,
    prefix: Path,
    *,
    digest: str,
    say: Say,
    libraries: Libraries | None = None,
    on_progress: Watch | None = None,
) -> PackManifest | None:
    """Restore the environment `digest` at `prefix` from a folder of packs; gives the pack's manifest.

    None if no pack fits. `prefix` must be empty but for what admlops wrote there. `libraries` are shared with others.
    A pack that turns out damaged is reported and not used: the caller clears what was unpacked of it.
    """
    archive = pack_path(folder, prefix)
    try:
        pack = read_pack(archive)
        if pack is None:
            return None
        reason = pack.manifest.why_unfit(prefix, digest)
        if reason is not None:
            say(f"the pack {archive} does not fit: {reason}")
            return None
        unpack(pack, prefix, libraries=libraries, on_progress=on_progress)
    except EnvError as error:
        say(f"{error.message}; building instead")
        return None
    return pack.manifest


def unpack(
    pack: Pack,
    prefix: Path,
    *,
    libraries: Libraries | None = None,
    on_progress: Watch | None = None,
) -> None:
    """Unpack and check every file of a pack into `prefix`. The caller holds the prefix's lock and writes its state.

    Without `libraries` the environment shares no file with another one.

    Raises:
        EnvError: the archive is damaged or not what the manifest says; names the file.
        StorageError: the disk is full or cannot be written.
    """
    manifest = pack.manifest
    try:
        prefix.mkdir(parents=True, exist_ok=True)
        if manifest.stored:
            _copy_members(pack, prefix, libraries, on_progress)
        else:
            with (
                pack.archive.open("rb") as compressed,
                _decompressed(compressed) as stream,
                _writers(libraries) as pool,
            ):
                unpack_all = _cut_stream if _has_offsets(manifest) else _unpack_members
                unpack_all(stream, manifest, prefix, pool, on_progress)
        complete(prefix, manifest.entries, manifest.interpreter)
    except (zstandard.ZstdError, tarfile.TarError, EOFError) as error:
        raise _damaged(pack.archive, f"it cannot be read ({error})") from error
    except ManifestMismatchError as error:
        raise _damaged(pack.archive, str(error)) from error
    except OSError as error:
        raise explain_os_error(error, prefix) from error


def _damaged(archive: Path, reason: str) -> EnvError:
    return EnvError(f"the pack {archive} is damaged: {reason}", hint=f"rm {archive}   # then: admlops env pack MODEL")


def _has_offsets(manifest: PackManifest) -> bool:
    offsets = [entry.offset for entry in manifest.entries if entry.kind == "file"]
    return bool(offsets) and offsets[0] > 0 and all(one < other for one, other in pairwise(offsets))


def _cut_stream(
    stream: _Ahead, manifest: PackManifest, prefix: Path, pool: _Writers, on_progress: Watch | None
) -> None:
    """Cut the files out of a stream by their ascending offsets; ignore what lies between them."""
    root, total, position, done = f"{prefix}/", manifest.size_bytes, 0, 0
    _make_folders_and_links(manifest.entries, prefix)
    for entry in manifest.entries:
        if entry.kind != "file":
            continue
        for _ in stream.pieces(entry.offset - position):
            pass
        if entry.size_bytes <= PIECE_BYTES:
            pool.submit(entry, root + entry.path, b"".join(stream.pieces(entry.size_bytes)), entry.mtime_s)
        else:
            pieces = stream.pieces(entry.size_bytes)
            _place_file(entry, root + entry.path, pieces, entry.mtime_s, pool.libraries)
            for _ in pieces:  # of a library that was here already
                pass
        position = entry.offset + entry.size_bytes
        done += entry.size_bytes
        if on_progress is not None:
            on_progress(done, total)


def _unpack_members(
    stream: _Ahead, manifest: PackManifest, prefix: Path, pool: _Writers, on_progress: Watch | None
) -> None:
    total, done = manifest.size_bytes, 0
    with tarfile.open(fileobj=stream, mode="r|", bufsize=HEADER_BYTES) as tar:  # type: ignore[call-overload]
        members: Iterator[tarfile.TarInfo] = iter(tar)
        for entry in manifest.entries:
            member = next(members, None)
            _check_member(member, entry)
            assert member is not None
            target = str(prefix / entry.path)
            if entry.kind == "folder":
                os.mkdir(target, 0o700)  # noqa: PTH102 - a hundred thousand of these: no Path is made for them
            elif entry.kind == "link":
                os.symlink(entry.content, target)  # noqa: PTH211
            else:
                _take_file(tar, member, entry, target, pool)
            done += entry.size_bytes
            if on_progress is not None:
                on_progress(done, total)
        extra = next(members, None)
        if extra is not None:
            raise ManifestMismatchError(f"it holds {extra.name!r}, which its manifest does not list")


def _copy_members(pack: Pack, prefix: Path, libraries: Libraries | None, on_progress: Watch | None) -> None:
    """Copy the files of a stored archive, each from where the manifest says it begins, by a few threads."""
    root = f"{prefix}/"
    files = [entry for entry in pack.manifest.entries if entry.kind == "file"]
    total, done = pack.manifest.size_bytes, 0
    _make_folders_and_links(pack.manifest.entries, prefix)
    with pack.archive.open("rb") as archive, _pool() as pool:

        def copy(share: list[Entry]) -> int:
            buffer = memoryview(bytearray(BLOCK_BYTES))
            span = share[-1].offset + share[-1].size_bytes - share[0].offset
            os.posix_fadvise(archive.fileno(), share[0].offset, max(0, span), os.POSIX_FADV_WILLNEED)
            for entry in share:
                pieces = _pieces(archive.fileno(), entry, buffer)
                _place_file(entry, root + entry.path, pieces, entry.mtime_s, libraries)
            return sum(entry.size_bytes for entry in share)

        for size_bytes in pool.map(copy, split(files, lambda entry: entry.size_bytes)):
            done += size_bytes
            if on_progress is not None:
                on_progress(done, total)


def _make_folders_and_links(entries: Iterable[Entry], prefix: Path) -> None:
    for entry in entries:
        if entry.kind == "folder":
            os.mkdir(prefix / entry.path, 0o700)  # noqa: PTH102
        elif entry.kind == "link":
            os.symlink(entry.content, prefix / entry.path)  # noqa: PTH211


def _pieces(descriptor: int, entry: Entry, buffer: memoryview) -> Iterator[memoryview]:
    """A file's content in a stored archive, piece by piece in `buffer`.

    It is read, not mapped, so that a failing network disk gives an error.
    """
    done = 0
    while done < entry.size_bytes:
        size = os.preadv(descriptor, [buffer[: entry.size_bytes - done]], entry.offset + done)
        if not size:
            raise ManifestMismatchError(f"it ends within {entry.path!r}")
        done += size
        yield buffer[:size]


def _check_member(member: tarfile.TarInfo | None, entry: Entry) -> None:
    if member is None:
        raise ManifestMismatchError(f"it ends before {entry.path!r}")
    kind = "folder" if member.isdir() else "link" if member.issym() else "file" if member.isreg() else "other"
    found = (member.name, kind, member.size, member.mode)
    if found != (entry.path, entry.kind, entry.size_bytes, entry.mode):
        raise ManifestMismatchError(f"it holds {member.name!r} where its manifest lists {entry.path!r}")
    if entry.kind == "link" and member.linkname != entry.content:
        raise ManifestMismatchError(f"its link {entry.path!r} points elsewhere than its manifest says")


def _take_file(tar: tarfile.TarFile, member: tarfile.TarInfo, entry: Entry, target: str, pool: _Writers) -> None:
    source = tar.extractfile(member)
    assert source is not None
    if entry.size_bytes <= PIECE_BYTES:
        pool.submit(entry, target, source.read(), int(member.mtime))
    else:
        pieces = iter(lambda: source.read(PIECE_BYTES), b"")
        _place_file(entry, target, pieces, int(member.mtime), pool.libraries)


def _place_file(
    entry: Entry, target: str, pieces: Iterable[bytes | memoryview], mtime_s: int, libraries: Libraries | None
) -> None:
    """Link the shared library, or else write the file from its pieces, which are only read then."""
    shared = libraries if is_library(entry.path, entry.size_bytes) else None
    if shared is not None and shared.give(entry.content, entry.mode, target):
        return
    _write_file(entry, target, pieces, mtime_s)
    if shared is not None:
        shared.take(target, entry.content, entry.mode)


def _write_file(entry: Entry, target: str, pieces: Iterable[bytes | memoryview], mtime_s: int) -> None:
    digest = blake3()
    with open(target, "xb", buffering=0) as file:  # noqa: PTH123
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
        os.fchmod(file.fileno(), entry.mode)
        os.utime(file.fileno(), (mtime_s, mtime_s))
    if str(digest.hexdigest()) != entry.content:
        raise ManifestMismatchError(f"the content of {entry.path!r} is not what its manifest says")


class _Ahead:
    """A stream that another thread decompresses, a bounded number of blocks ahead of its reader."""

    def __init__(self, compressed: Any) -> None:
        self._blocks: queue.Queue[bytes | Exception] = queue.Queue(AHEAD_BLOCKS)
        self._block, self._position = b"", 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._decompress, args=(compressed,), daemon=True)
        self._thread.start()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes: fewer only at the end."""
        parts: list[bytes] = []
        while size:
            if self._position == len(self._block) and not self._next_block():
                break
            part = self._block[self._position : self._position + size]
            self._position += len(part)
            size -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield the next `size` bytes as they come, without copying them."""
        while size > 0:
            if self._position == len(self._block) and not self._next_block():
                raise ManifestMismatchError("it ends before its manifest does")
            piece = memoryview(self._block)[self._position : self._position + size]
            self._position += len(piece)
            size -= len(piece)
            yield piece

    def stop(self) -> None:
        """End the other thread, whatever it waits for."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._blocks.get(timeout=0.01)
            except queue.Empty:
                continue

    def _next_block(self) -> bool:
        block = self._blocks.get()
        if isinstance(block, Exception):
            raise block
        self._block, self._position = block, 0
        if not block:
            self._blocks.put(b"")  # the end stays the end
        return bool(block)

    def _decompress(self, compressed: Any) -> None:
        try:
            with zstandard.ZstdDecompressor().stream_reader(compressed, read_across_frames=True) as reader:
                while not self._stopped.is_set() and (block := reader.read(BLOCK_BYTES)):
                    self._blocks.put(block)
            self._blocks.put(b"")
        except (zstandard.ZstdError, OSError) as error:
            self._blocks.put(error)


@contextmanager
def _decompressed(compressed: Any) -> Iterator[_Ahead]:
    stream = _Ahead(compressed)
    try:
        yield stream
    finally:
        stream.stop()


class _Writers:
    """A few threads that hash and write files, with a bounded number of bytes waiting for them."""

    def __init__(self, pool: ThreadPoolExecutor, libraries: Libraries | None) -> None:
        self._pool, self.libraries = pool, libraries
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._pending_bytes = 0
        self._batch: list[tuple[Entry, str, bytes, int]] = []
        self._batch_bytes = 0

    def submit(self, entry: Entry, target: str, content: bytes, mtime_s: int) -> None:
        """Queue a file for writing."""
        self._batch.append((entry, target, content, mtime_s))
        self._batch_bytes += len(content)
        if len(self._batch) >= BATCH_FILES or self._batch_bytes >= BATCH_BYTES:
            self._flush()
        while self._pending_bytes > PENDING_BYTES:
            self._wait_for_one()

    def finish(self) -> None:
        """Wait until every file is written."""
        self._flush()
        while self._pending:
            self._wait_for_one()

    def _flush(self) -> None:
        future = self._pool.submit(self._write_batch, self._batch)
        self._pending.append((future, self._batch_bytes))
        self._pending_bytes += self._batch_bytes
        self._batch, self._batch_bytes = [], 0

    def _write_batch(self, batch: list[tuple[Entry, str, bytes, int]]) -> None:
        for entry, target, content, mtime_s in batch:
            _place_file(entry, target, [content], mtime_s, self.libraries)

    def _wait_for_one(self) -> None:
        future, size_bytes = self._pending.popleft()
        self._pending_bytes -= size_bytes
        future.result()


@contextmanager
def _writers(libraries: Libraries | None) -> Iterator[_Writers]:
    with _pool() as pool:
        writers = _Writers(pool, libraries)
        yield writers
        writers.finish()


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """A few threads; after an error nothing is begun any more."""
    with ThreadPoolExecutor(min(MAX_WRITERS, THREADS_PER_CORE * count_threads())) as pool:
        try:
            yield pool
        except BaseException:  # Ctrl-C too: what waits must not be begun
            pool.shutdown(cancel_futures=True)
            raise
