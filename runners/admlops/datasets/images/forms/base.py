"""What a form is: how pictures and their labels lie on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from admlops.core.errors import DataError
from admlops.datasets.images.contents import Contents, suffix_of

HEAD_BYTES = 1 << 16
LABEL_FOLDERS = ("", "annotations", "labels")
LABEL_SUFFIXES = frozenset((".json", ".yaml", ".yml"))
MAX_SURVEYED = 500
"""Files of a folder whose beginning is looked at."""


class Survey:
    """A data set's root, looked at once for all forms: a folder, or a file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def is_file(self) -> bool:
        return self.root.is_file()

    @cached_property
    def files(self) -> list[Path]:
        """The file itself; else those of the folder, and of its annotations/ and labels/ and the folders in these."""
        if self.is_file:
            return [self.root]
        folders = [self.root / name for name in LABEL_FOLDERS]
        folders += [path for name in LABEL_FOLDERS[1:] for path in list_folders(self.root / name)]
        return [path for folder in folders for path in _list_label_files(folder)]

    def named(self, path: Path) -> str:
        """Return a file's name as a version: its path below the root."""
        return path.name if self.is_file else path.relative_to(self.root).as_posix()

    def head(self, path: Path) -> str:
        """Return the beginning of a file; empty if it cannot be read."""
        try:
            with path.open("rb") as file:
                return file.read(HEAD_BYTES).decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
        except OSError:
            return ""

    def path_of(self, version: str) -> Path:
        """Return the file that a version names."""
        return self.root if self.is_file else self.root / version


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form of data set.

    Attributes:
        id: in messages and, for forms without a file to name, as version.
        title: what a person calls it.
        claim: the versions that a root holds in this form; none if it is not in this form.
        open: the data set of a root and one of these versions. Raises DataError.
        is_plain: whether it is claimed only where no other form is.
    """

    id: str
    title: str
    claim: Callable[[Survey], list[str]]
    open: Callable[[Survey, str], Contents]
    is_plain: bool = False


def read_text(path: Path) -> str:
    """Return a text file's content, without a byte order mark.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8: {error}", hint=f"file {path}") from error


def list_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, in order; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(one.path) for one in entries if one.is_dir() and not one.name.startswith("."))
    except OSError:
        return []


def _list_label_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [one.name for one in entries if suffix_of(one.name) in LABEL_SUFFIXES]
    except OSError:
        return []
    return [folder / name for name in sorted(names)[:MAX_SURVEYED]]
