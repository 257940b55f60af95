"""Environments that were removed and set aside: what of them is as their stored pack says, an installation takes back.

Whoever restores an environment on the machine where it was removed has all of its files already, so they are hashed
where they lie instead of being written anew. What differs, what is missing and what was added comes from the pack or
goes.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from admlops.environments.libraries import BLOCK_BYTES, hash_file, is_library
from admlops.environments.packs.manifest import Entry, Manifest, archive_of, manifest_of
from admlops.environments.packs.packing import LEFT_OUT
from admlops.environments.prefix import STATE_FILE

ASIDE_SUFFIX = ".aside"
SHARE_FILES = 256
"""So many files a thread takes at a time."""


def aside_of(prefix: Path) -> Path:
    """Where the environment of a prefix lies while it is set aside, on the same disk."""
    return prefix.with_name(f".{prefix.name}{ASIDE_SUFFIX}")


def has_stored_pack(folder: Path, prefix: Path) -> bool:
    """Whether a folder of packs holds a stored one of this environment, so that its files may come back."""
    archive = archive_of(folder, prefix.name, stored=True)
    return archive.is_file() and manifest_of(archive).is_file()


def set_aside(prefix: Path) -> None:
    """Take an environment out of sight in one step, its files as they are. The caller holds its lock.

    Raises:
        OSError: it cannot be moved, or another one is there.
    """
    (prefix / STATE_FILE).unlink(missing_ok=True)
    prefix.rename(aside_of(prefix))


def take_back(manifest: Manifest, prefix: Path) -> set[str]:
    """Put what was set aside at `prefix` again and remove what is not as the manifest says [the paths that are].

    `prefix` holds nothing but what admlops wrote there, which stays.

    Raises:
        OSError: something cannot be read, moved or removed.
    """
    aside = aside_of(prefix)
    if not aside.is_dir():
        return set()
    for name in LEFT_OUT:
        if (prefix / name).exists():
            (prefix / name).replace(aside / name)
    aside.rename(prefix)
    whole, files = set(), []
    for path, entry in _alike(manifest, prefix):
        if entry.kind == "file":
            files.append(entry)
        else:
            whole.add(path)
    shares = [files[start : start + SHARE_FILES] for start in range(0, len(files), SHARE_FILES)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for unchanged in pool.map(lambda share: _unchanged(share, prefix), shares):
            whole |= unchanged
    return whole


def _alike(manifest: Manifest, prefix: Path) -> Iterator[tuple[str, Entry]]:
    """What looks as the manifest says, contents of files aside; the rest is removed on the way."""
    wanted = {entry.path: entry for entry in manifest.entries}
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(prefix / folder) as listing:
            items = list(listing)
        for item in items:
            path = f"{folder}/{item.name}" if folder else item.name
            if path in LEFT_OUT:
                continue
            entry = wanted.get(path)
            if entry is None or not _looks_like(item, entry):
                _remove(item)
                continue
            if entry.kind == "folder":
                os.chmod(item.path, 0o700)  # noqa: PTH101 - its own mode comes last, when it is filled
                folders.append(path)
            yield path, entry


def _looks_like(item: os.DirEntry[str], entry: Entry) -> bool:
    status = item.stat(follow_symlinks=False)
    if entry.kind == "folder":
        return stat.S_ISDIR(status.st_mode)
    if entry.kind == "link":
        return stat.S_ISLNK(status.st_mode) and os.readlink(item.path) == entry.content  # noqa: PTH115
    same = (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_size) == (
        stat.S_IFREG,
        entry.mode,
        entry.size_bytes,
    )
    # Libraries have the time of whichever environment brought them, and names elsewhere; nothing else has.
    return same and (
        is_library(entry.path, entry.size_bytes) or (status.st_nlink == 1 and int(status.st_mtime) == entry.mtime_s)
    )


def _remove(item: os.DirEntry[str]) -> None:
    if item.is_dir(follow_symlinks=False):
        shutil.rmtree(item.path)
    else:
        os.unlink(item.path)  # noqa: PTH108


def _unchanged(share: list[Entry], prefix: Path) -> set[str]:
    """The paths whose content is the manifest's; the other files are removed."""
    buffer = memoryview(bytearray(BLOCK_BYTES))
    found = set()
    for entry in share:
        path = f"{prefix}/{entry.path}"
        if hash_file(path, buffer) == entry.content:
            found.add(entry.path)
        else:
            os.unlink(path)  # noqa: PTH108
    return found
