"""Files of a prefix that are hard links to uv's cache, and those among them that the prefix should have for itself."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from admlops.core.storage import explain_os_error
from admlops.environments.integrity.hashing import count_threads
from admlops.environments.integrity.walking import walk
from admlops.environments.reuse.libraries import is_library

BESIDE = ".own"


class LinkedFile(NamedTuple):
    """A file with further hard links: its path in the prefix, its (device, inode), its size [bytes]."""

    path: str
    inode: tuple[int, int]
    size_bytes: int


def find_linked(prefix: Path) -> Iterator[LinkedFile]:
    """Yield the files of a prefix that have several names; none where there is no prefix."""
    with suppress(FileNotFoundError):
        for path, status in walk(prefix):
            if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                yield LinkedFile(path, (status.st_dev, status.st_ino), status.st_size)


def give_own_copies(prefix: Path, *, except_for: Collection[tuple[int, int]]) -> None:
    """Replace every hard link by a copy, except those of compiled libraries and of the inodes `except_for`.

    Raises:
        StorageError: the disk is full, or a file cannot be replaced.
    """
    linked = [file for file in find_linked(prefix) if file.inode not in except_for]
    own = [prefix / file.path for file in linked if not is_library(file.path, file.size_bytes)]
    try:
        with ThreadPoolExecutor(count_threads()) as pool:
            list(pool.map(_copy, own))
    except OSError as error:
        raise explain_os_error(error, prefix) from error


def _copy(path: Path) -> None:
    beside = path.with_name(f"{path.name}{BESIDE}")
    shutil.copy2(path, beside)
    os.replace(beside, path)  # noqa: PTH105
