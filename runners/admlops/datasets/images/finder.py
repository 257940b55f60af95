"""The pictures and videos below a folder, and finding those that a file with labels names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from admlops.core.errors import DataError
from admlops.core.paths import home_folder
from admlops.datasets.images.contents import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    Picture,
    is_picture,
    natural_order,
    suffix_of,
)

MAX_DEPTH = 6
"""How many folders deep below a data set are searched."""
MAX_LEVELS_UP = 3
"""How many folders above a file with labels are searched for its pictures."""
TRIED = 50


def list_files(root: Path) -> Iterator[tuple[str, Path, int]]:
    """Give name, path and size of every picture and video below a folder, links followed, in no order.

    A folder that a link leads back to is not entered again. Hidden files and folders are passed over.

    Raises:
        DataError: the folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    folders = [("", str(root), 0)]
    while folders:
        prefix, folder, depth = folders.pop()
        try:
            own = os.stat(folder)  # noqa: PTH116  twenty thousand files: text is quicker than Path
            if (own.st_dev, own.st_ino) in seen:
                continue
            seen.add((own.st_dev, own.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    name = f"{prefix}{entry.name}"
                    if _is_media(entry.name):
                        yield name, Path(entry.path), _size(entry)
                    elif depth < MAX_DEPTH and entry.is_dir():
                        folders.append((f"{name}/", entry.path, depth + 1))
        except OSError as error:
            raise DataError(f"{folder} cannot be read: {error.strerror}", hint=f"ls -ld {folder}") from error


def list_pictures(root: Path) -> list[Picture]:
    """Return the pictures below a folder in natural order, videos left out."""
    found = [
        Picture(name=name, path=path, size_bytes=size) for name, path, size in list_files(root) if is_picture(name)
    ]
    return sorted(found, key=lambda picture: natural_order(picture.name))


def has_pictures(root: Path, *, depth: int) -> bool:
    """Tell whether a picture or video lies in a folder or up to `depth` folders below it."""
    try:
        with os.scandir(root) as entries:
            below: list[Path] = []
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_media(entry.name):
                    return True
                if depth > 0 and len(below) < TRIED and entry.is_dir():
                    below.append(Path(entry.path))
    except OSError:
        return False
    return any(has_pictures(folder, depth=depth - 1) for folder in below)


class PictureFinder:
    """The pictures that a file with labels names, below one folder, found by the end of their paths."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._by_name: dict[str, list[Picture]] = {}
        for picture in list_pictures(base):
            self._by_name.setdefault(picture.name.rpartition("/")[2], []).append(picture)

    def find(self, named: str, *, where: Path) -> Picture | None:
        """Return the picture; of several with that name, the one that shares most of its folders.

        Raises:
            DataError: several share equally many of them.
        """
        parts = [part for part in named.replace("\\", "/").split("/") if part not in ("", ".")]
        there = self._by_name.get(parts[-1] if parts else "", [])
        if len(there) < 2:
            return there[0] if there else None
        shared = [(count_shared(parts, picture.name.split("/")), picture) for picture in there]
        most = max(count for count, _ in shared)
        best = [picture for count, picture in shared if count == most]
        if len(best) > 1:
            raise DataError(
                f"{where} names {named}, and {len(best)} pictures in {self.base} are called that: "
                f"{best[0].name}, {best[1].name}",
                hint="name the picture with its folder, or move the other pictures away",
            )
        return best[0]

    def find_or_name(self, named: str, *, where: Path) -> Picture:
        """Return the picture, or a missing one under the name that it should have."""
        return self.find(named, where=where) or Picture(name=named, path=self.base / named)


def find_base(file: Path, names: list[str]) -> Path:
    """Return the folder below which a file's pictures lie: its own, or one of those above it."""
    tried = [Path(name).name for name in names[:TRIED]]
    folder = file.parent
    for base in [folder, *folder.parents][: MAX_LEVELS_UP + 1]:
        if base in (Path(base.anchor), home_folder()) and base != folder:
            break
        there = {name.rpartition("/")[2] for name, _, _ in list_files(base)}
        if any(name in there for name in tried):
            return base
    return folder


def file_size(path: Path) -> int:
    """Return a file's size [bytes]; 0 if it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_media(name: str) -> bool:
    suffix = suffix_of(name)
    return suffix in PICTURE_SUFFIXES or suffix in VIDEO_SUFFIXES


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0  # a link that leads nowhere: told by `data check`


def count_shared(first: Sequence[str], second: Sequence[str]) -> int:
    """Count the parts that two paths have in common at their ends."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count
