"""Hashes the files of a prefix, each read once, in a few threads.

BLAKE3 is the hash of manifests, packs and shared libraries, because it is several times faster; SHA-256 is what
packages state of their files, so it is computed beside it where a package's own list is checked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from blake3 import blake3

from admlops.core.types import Watch

File = TypeVar("File")

BLOCK_BYTES = 1 << 20
SHARE_FILES = 256
"""How many files a thread takes at a time."""
SHARE_BYTES = 64 << 20
"""Or so many bytes: a few large libraries must not all fall to one thread."""


class FileHashes(NamedTuple):
    """The hashes of one file, hexadecimal; `sha256` is "" where it was not asked for."""

    blake3: str
    sha256: str


def hash_file(path: str, buffer: memoryview | None = None) -> str:
    """Compute the BLAKE3 of a file, hexadecimal.

    It is read rather than mapped, so that a disk that fails gives an OSError. A caller that hashes many small files
    passes one `buffer` for all of them.
    """
    return _hash(path, memoryview(bytearray(BLOCK_BYTES)) if buffer is None else buffer, with_sha256=False).blake3


def hash_files(
    root: str,
    files: Sequence[tuple[str, int]],
    *,
    sha256: Collection[str] = (),
    watch: Watch | None = None,
    unreadable: dict[str, OSError] | None = None,
) -> dict[str, FileHashes]:
    """Hash files below `root`.

    Args:
        root: the prefix.
        files: (path relative to `root`, size [bytes]) of each.
        sha256: the paths of those whose SHA-256 is needed too.
        watch: told how many bytes are done.
        unreadable: takes the error of a file that cannot be read; without it that error is raised.

    Raises:
        OSError: a file cannot be read.
    """

    def hash_share(share: Sequence[tuple[str, int]]) -> dict[str, FileHashes]:
        buffer = memoryview(bytearray(BLOCK_BYTES))
        found = {}
        for path, _ in share:
            try:
                found[path] = _hash(f"{root}/{path}", buffer, with_sha256=path in sha256)
            except OSError as error:
                if unreadable is None:
                    raise
                unreadable[path] = error
        return found

    total, done = sum(size for _, size in files), 0
    hashes: dict[str, FileHashes] = {}
    shares = split(files, lambda file: file[1])
    with ThreadPoolExecutor(count_threads()) as pool:
        for share, found in zip(shares, pool.map(hash_share, shares), strict=True):
            hashes |= found
            done += sum(size for _, size in share)
            if watch is not None:
                watch(done, total)
    return hashes


def count_threads(most: int = 16) -> int:
    """Count the threads that read and write files: the cores that this process may use, at most `most`."""
    return max(1, min(most, len(os.sched_getaffinity(0))))


def split(files: Sequence[File], size_of: Callable[[File], int]) -> list[list[File]]:
    """Split files into shares that one thread takes at a time."""
    shares: list[list[File]] = [[]]
    share_bytes = 0
    for file in files:
        if len(shares[-1]) >= SHARE_FILES or share_bytes >= SHARE_BYTES:
            shares.append([])
            share_bytes = 0
        shares[-1].append(file)
        share_bytes += size_of(file)
    return shares


def _hash(path: str, buffer: memoryview, *, with_sha256: bool) -> FileHashes:
    digest = blake3()
    other = hashlib.sha256() if with_sha256 else None
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while size := os.readv(descriptor, [buffer]):
            digest.update(buffer[:size])
            if other is not None:
                other.update(buffer[:size])
    finally:
        os.close(descriptor)
    return FileHashes(blake3=str(digest.hexdigest()), sha256="" if other is None else other.hexdigest())
