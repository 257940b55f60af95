"""What is wrong with nuScenes tables and maps beside missing files: for `admlops data check`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from admlops.core.errors import DataError
from admlops.datasets.base import Problem
from admlops.datasets.nuscenes.map_file import read_map_file

ANNOTATION_NUMBERS = ("translation", "size", "rotation")


def find_annotation_problems(rows: Iterable[Mapping[str, Any]]) -> Iterator[Problem]:
    """Name every annotation that holds NaN or infinity, or a box without extent."""
    for row in rows:
        bad = next((key for key in ANNOTATION_NUMBERS if not all(map(math.isfinite, row[key]))), None)
        if bad is not None:
            yield _problem(row, "not finite", bad)
        elif min(row["size"]) <= 0:
            yield _problem(row, "no extent", "size")


def _problem(row: Mapping[str, Any], kind: str, key: str) -> Problem:
    what = f"{key} of row {row['token']!r}: {row[key]}"
    return Problem(name="sample_annotation.json", kind=kind, what=what, is_error=True)


def find_map_problems(maps: Path, locations: Iterable[str]) -> Iterator[Problem]:
    """Name every map that is missing, old or damaged. Only map elements need maps, so no such problem is an error."""
    for location in sorted(set(locations)):
        path = maps / "expansion" / f"{location}.json"
        try:
            read_map_file(path)
        except DataError as error:
            name = str(path.relative_to(maps.parent))
            yield Problem(name=name, kind="no map", what=f"{error.message} → {error.hint}", is_error=False)
