"""The data sets that this machine knows: those in the repository's `data/`, and those that runs were made on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from admlops.catalog.registries import DATA_KINDS
from admlops.core.errors import DataError
from admlops.core.paths import Layout
from admlops.datasets.base import DataKind, HasSplits
from admlops.results.runs import list_runs

COUNTED_FILES = 50_000
"""How many files are counted before a size is called a lower bound: counting millions takes minutes."""


@dataclass(frozen=True, kw_only=True)
class KnownData:
    """One version of a data set.

    Attributes:
        kind: the id of its data kind; None for a folder in `data/` that no kind recognises.
        splits: split → how many of its scenes are here.
        size_bytes: of the whole root, all versions together; a lower bound unless `size_is_whole`.
        problem: why it cannot be read; empty if it can.
    """

    root: Path
    kind: str | None
    version: str | None
    splits: dict[str, int]
    synthetic: bool
    runs: int
    size_bytes: int
    size_is_whole: bool
    problem: str


def list_data(layout: Layout, *, count_all: bool = False) -> list[KnownData]:
    """List the data sets that are known, by folder.

    Args:
        count_all: add up the sizes of all files, however many there are.
    """
    used: dict[Path, int] = {}
    for run in list_runs(layout)[0]:
        root = Path(run.header.data.root)
        used[root.resolve()] = used.get(root.resolve(), 0) + 1
    inside = [path for path in sorted(layout.data.glob("*")) if path.is_dir() and not path.name.startswith(".")]
    there = {path.resolve(): path for path in [*(root for root in used if root.exists()), *inside]}
    limit = None if count_all else COUNTED_FILES
    return [one for path in sorted(there.values()) for one in _describe(path, used.get(path.resolve(), 0), limit)]


def _describe(root: Path, runs: int, limit: int | None) -> Iterator[KnownData]:
    size, whole = measure_bytes(root, limit)
    kinds: Iterator[DataKind] = DATA_KINDS.values()
    recognised = [one for one in kinds if (one.takes_files or root.is_dir()) and _recognises(one, root)]
    kind = min(recognised, key=lambda one: one.is_general, default=None)
    versions: list[str | None] = [None]
    if kind is not None and kind.versions is not None:
        versions = [*kind.versions(root)] or [None]
    for version in versions:
        splits, synthetic, problem = _open(kind, root, version)
        yield KnownData(
            root=root,
            kind=None if kind is None else kind.id,
            version=version,
            splits=splits,
            synthetic=synthetic,
            runs=runs,
            size_bytes=size,
            size_is_whole=whole,
            problem=problem,
        )


def _recognises(kind: DataKind, root: Path) -> bool:
    try:
        return kind.recognise(root)
    except OSError:
        return False


def _open(kind: DataKind | None, root: Path, version: str | None) -> tuple[dict[str, int], bool, str]:
    """Return splits, whether it is synthetic, and what is wrong."""
    if kind is None:
        return {}, False, "no data set that is known"
    try:
        opened = kind.open(root, version)
        return opened.splits() if isinstance(opened, HasSplits) else {}, opened.is_synthetic, ""
    except DataError as error:
        return {}, False, error.message


def measure_bytes(root: Path, limit: int | None = None) -> tuple[int, bool]:
    """Return the size of a file, or of those below a folder, and whether all were counted; stops after `limit` files.

    Links below it are not followed; a folder that cannot be read counts nothing.
    """
    if root.is_file():
        return root.stat().st_size, True
    size = count = 0
    for folder, _, names in os.walk(root.resolve()):
        for name in names:
            try:
                size += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118  millions of files
            except OSError:
                continue
            count += 1
            if limit is not None and count >= limit:
                return size, False
    return size, True
