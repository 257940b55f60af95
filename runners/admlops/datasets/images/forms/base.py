"""What a form is: how pictures and their labels lie on the disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from admlops.core.errors import DataError
from admlops.datasets.images.contents import Contents

HEAD_BYTES = 1 << 16
LABEL_FOLDERS = ("", "annotations", "labels")
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
        folders += [path for name in LABEL_FOLDERS[1:] for path in _entries(self.root / name) if path.is_dir()]
        wanted = {".json", ".yaml", ".yml"}
        return [path for folder in folders for path in _entries(folder) if path.suffix.lower() in wanted]

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


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())[:MAX_SURVEYED]
    except OSError:
        return []
