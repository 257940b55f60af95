"""The compiled libraries that environments share: one file on disk under several names, found by its content.

Libraries of torch, CUDA and OpenCV are nine tenths of an environment's bytes, the same in most environments, and not
what a person edits. Everything else is each environment's own copy. `environments/.libraries` has a hard link to every
library. Another environment is given that file only after its content was hashed again: a library that was written
through any of its names is given to nobody.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from admlops.core.storage import explain_os_error
from admlops.environments.integrity.hashing import count_threads, hash_file
from admlops.environments.integrity.manifest import Entry

LIBRARY = re.compile(r"\.(so(\.[0-9]+)*|a)$")
SMALLEST_BYTES = 64 << 10
"""Smaller ones are many and take little space."""
BESIDE = ".shared"
NAMES_OF_ONE = 2
"""The names of a library that one environment has: there, and among the shared ones."""


def is_library(path: str, size_bytes: int) -> bool:
    """Tell whether environments share a file of this name and size."""
    return size_bytes >= SMALLEST_BYTES and LIBRARY.search(path) is not None


@dataclass(frozen=True)
class Libraries:
    """The shared libraries of one folder of environments. Without hard links nothing is shared, and all works."""

    folder: Path

    def give(self, content: str, mode: int, target: str) -> bool:
        """Put the library whose BLAKE3 is `content` at `target`, where nothing is; False if there is no whole one."""
        kept = self._name(content, mode)
        if not self._is_whole(kept, content, mode):
            return False
        try:
            os.link(kept, target)
        except OSError:  # removed meanwhile, too many names, another disk
            return False
        return True

    def take(self, path: str, content: str, mode: int) -> None:
        """Keep the library at `path`, whose content was hashed just now, for other environments."""
        kept = self._name(content, mode)
        with suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):
                kept.unlink()
            os.link(path, kept)

    def share(self, prefix: Path, entries: Iterable[Entry]) -> int:
        """Share the libraries of a finished environment: keep new ones, and replace the others by those that are kept.

        Return the size of those that have a name elsewhere too, in another environment or in uv's cache [bytes].

        `entries` are those of its manifest, hashed just now.

        Raises:
            StorageError: a library cannot be replaced.
        """
        found = [entry for entry in entries if entry.kind == "file" and is_library(entry.path, entry.size_bytes)]
        try:
            with ThreadPoolExecutor(count_threads()) as pool:
                return sum(pool.map(lambda entry: self._share_one(f"{prefix}/{entry.path}", entry), found))
        except OSError as error:
            raise explain_os_error(error, prefix) from error

    def unused(self, wanted: Collection[str] = (), *, used: Collection[str] | None = None) -> dict[Path, int]:
        """Return the libraries that no environment has, with what they free [bytes], except `wanted` (`library_name`).

        `used` are those of environments; without it a library with a name elsewhere is taken for used. One that uv's
        cache has as well frees nothing.
        """
        found = {}
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.folder):
                status = entry.stat(follow_symlinks=False)
                is_alone = status.st_nlink == 1
                if entry.name not in wanted and (is_alone or (used is not None and entry.name not in used)):
                    found[Path(entry.path)] = status.st_blocks * 512 if is_alone else 0
        return found

    def prune(self, wanted: Collection[str] = (), *, used: Collection[str] | None = None) -> int:
        """Remove the libraries that `unused` returns; returns what that freed [bytes].

        Raises:
            StorageError: one cannot be removed.
        """
        unused = self.unused(wanted, used=used)
        for path in unused:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise explain_os_error(error, path) from error
        return sum(unused.values())

    def _name(self, content: str, mode: int) -> Path:
        return self.folder / library_name(content, mode)

    def _share_one(self, path: str, entry: Entry) -> int:
        kept = self._name(entry.content, entry.mode)
        beside = f"{path}{BESIDE}"
        if kept.exists() and kept.samefile(path):
            pass
        elif self.give(entry.content, entry.mode, beside):
            os.replace(beside, path)  # noqa: PTH105
        else:
            self.take(path, entry.content, entry.mode)
        status = os.lstat(path)
        return status.st_blocks * 512 if status.st_nlink > NAMES_OF_ONE else 0

    @staticmethod
    def _is_whole(kept: Path, content: str, mode: int) -> bool:
        try:
            return kept.stat().st_mode & 0o7777 == mode and hash_file(str(kept)) == content
        except OSError:
            return False


def library_name(content: str, mode: int) -> str:
    """Return a library's name among the shared ones; it includes the mode, which all names of one file share."""
    return f"{content}-{mode:o}"
