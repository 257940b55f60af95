"""Walks a prefix: every file, link and folder in it, in an order that does not vary."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from admlops.environments.prefix import LEGACY_CONTENTS_FILE, MANIFEST_FILE, SENTINEL, STATE_FILE

LEFT_OUT = (STATE_FILE, SENTINEL, MANIFEST_FILE, LEGACY_CONTENTS_FILE)
"""Written by whoever makes an environment, the state file last; no manifest lists them."""


def walk(prefix: Path, *, prune: Callable[[str], bool] = lambda path: False) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (path relative to the prefix, status), a folder before its content, `LEFT_OUT` left out.

    Args:
        prefix: the environment's folder.
        prune: whether a folder and all below it are skipped.

    Raises:
        OSError: a folder cannot be read.
    """
    root = str(prefix)
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(f"{root}/{folder}") as listing:
            items = sorted(listing, key=lambda item: item.name)
        for item in items:
            path = f"{folder}/{item.name}" if folder else item.name
            if path in LEFT_OUT:
                continue
            if not item.is_dir(follow_symlinks=False):
                yield path, item.stat(follow_symlinks=False)
            elif not prune(path):
                yield path, item.stat(follow_symlinks=False)
                folders.append(path)


def disk_usage_bytes(folder: Path, *, names_elsewhere: int | None = None) -> int:
    """Sum what a folder takes on its disk [bytes]; links are not followed.

    Args:
        folder: any folder.
        names_elsewhere: count only what is freed with the folder: a file with more than this many names outside of it
            stays on disk. None counts every name.
    """
    names_inside: Counter[tuple[int, int]] = Counter()
    total = 0
    for parent, folders, files in os.walk(folder):
        for name in (*files, *folders):
            with suppress(OSError):
                status = os.lstat(f"{parent}/{name}")
                if names_elsewhere is not None and stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                    file = (status.st_dev, status.st_ino)
                    names_inside[file] += 1
                    if names_inside[file] != max(1, status.st_nlink - names_elsewhere):
                        continue
                total += status.st_blocks * 512
    return total
