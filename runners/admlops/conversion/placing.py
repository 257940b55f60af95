"""Bringing pictures and LiDAR files into a result: as hard links, copies or symbolic links."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Literal

from admlops.core.errors import DataError

Mode = Literal["hardlink", "copy", "symlink"]
MODES: tuple[Mode, ...] = ("hardlink", "copy", "symlink")
NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES})
"""Why a file may not get another name: another file system, or one without hard links. It is copied instead."""


class Placer:
    """Places files below a folder. A hard link shares the bytes: editing one picture edits both."""

    def __init__(self, folder: Path, mode: Mode = "hardlink") -> None:
        self.folder = folder
        self.mode = mode
        self.counts = Counter[str]()

    def place(self, source: Path, name: str) -> Path:
        """Bring a file to `name` below the folder; a file of the same content that is there already stays.

        Raises:
            DataError: it is not there, its name leads out of the folder, or another file has it already.
        """
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/"):
            raise DataError(f"{source} would be called {name!r}, which lies outside", hint="rename the file")
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        real = source.resolve()
        if target.exists():
            if target.samefile(real) or target.read_bytes() == real.read_bytes():
                return target
            raise DataError(f"two files would be called {name}, one of them {source}", hint="rename one of them")
        try:
            self._bring(real, target)
        except FileNotFoundError as error:
            raise DataError(
                f"{source} is not there", hint=f"ls -l {source.parent}   # or see: admlops data check"
            ) from error
        return target

    def place_folder(self, source: Path, name: str) -> None:
        """Bring every file of a folder, except what begins with a dot."""
        for folder, inner, files in os.walk(source):
            inner[:] = sorted(one for one in inner if not one.startswith("."))
            below = Path(folder).relative_to(source)
            for file in sorted(one for one in files if not one.startswith(".")):
                self.place(Path(folder) / file, (PurePosixPath(name) / below.as_posix() / file).as_posix())

    def _bring(self, source: Path, target: Path) -> None:
        if self.mode == "symlink":
            source.stat()
            target.symlink_to(source)
            self.counts["symlinks"] += 1
            return
        if self.mode == "hardlink":
            try:
                os.link(source, target)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
            else:
                self.counts["hard_links"] += 1
                return
        shutil.copyfile(source, target)
        self.counts["copies"] += 1
