"""What lies around samples on the map: elements of each class, their lengths and how much they bend.

The elements are the ground truth that map models are evaluated by, `vector_map.sample_vectors`: cut out of 60 × 30 m
around the LiDAR. Cutting takes some hundredths of a second a sample, so evenly taken samples stand for all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import MAP_CLASSES
from admlops.core.types import Watch
from admlops.datasets.nuscenes.vector_map import sample_vectors

if TYPE_CHECKING:
    from admlops.curation.sample_tables import SampleTables

SHARES = (0.05, 0.5, 0.95)

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ElementRow:
    """One class of elements; quantiles are p5, p50 and p95.

    Attributes:
        elements: in all samples looked at.
        per_sample: their mean number a sample.
        length_m: of an element [m].
        curvature: of an element [1/m]: the sum of the absolute angles between its segments, by its length.
    """

    elements: int
    per_sample: float
    length_m: tuple[float, ...]
    curvature: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class MapStatistics:
    """Elements by class in `samples` of `whole` samples; `lacking` are maps without a usable file, and why."""

    samples: int
    whole: int
    classes: Mapping[str, ElementRow]
    lacking: Mapping[str, str]


def measure_maps(tables: SampleTables, most: int, watch: Watch) -> MapStatistics:
    """Cut the elements around at most `most` samples, evenly taken in their order; `watch` gets samples."""
    whole = int(tables.ask("SELECT count(*) FROM samples")[0][0])
    step = max(1, -(-whole // most))
    rows = tables.ask(
        "SELECT location, translation, rotation, lidar_translation, lidar_rotation FROM (SELECT *, row_number() OVER "
        "(ORDER BY number) - 1 AS place FROM sample_rows JOIN pose_rows USING (number)) WHERE place % ? = 0 "
        "ORDER BY place",
        [step],
    )
    lengths: dict[str, list[float]] = defaultdict(list)
    bends: dict[str, list[float]] = defaultdict(list)
    lacking: dict[str, str] = {}
    looked_at = 0
    for number, (location, *pose) in enumerate(rows, 1):
        watch(number, len(rows))
        if location in lacking:
            continue
        try:
            elements = sample_vectors(tables.data.root / "maps", location, _make_sample(*pose))
        except DataError as error:
            lacking[location] = error.message
            continue
        looked_at += 1
        for element in elements:
            length, bend = measure_line(element.points)
            lengths[element.type].append(length)
            bends[element.type].append(bend)
    classes = {
        name: ElementRow(
            elements=len(lengths[name]),
            per_sample=len(lengths[name]) / looked_at,
            length_m=_quantiles(lengths[name]),
            curvature=_quantiles(bends[name]),
        )
        for name in MAP_CLASSES
        if looked_at
    }
    return MapStatistics(samples=looked_at, whole=whole, classes=classes, lacking=lacking)


def measure_line(points: Points) -> tuple[float, float]:
    """Return the length [m] and the mean absolute curvature [1/m] of a polyline (N, 2)."""
    steps = np.diff(points, axis=0)
    sizes = np.hypot(steps[:, 0], steps[:, 1])
    steps, length = steps[sizes > 0], float(sizes.sum())
    if len(steps) < 2 or length == 0:
        return length, 0.0
    angles = np.arctan2(steps[:, 1], steps[:, 0])
    turns = np.abs((np.diff(angles) + np.pi) % (2 * np.pi) - np.pi)
    return length, float(turns.sum() / length)


def _quantiles(values: list[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(values, SHARES)) if values else ()


def _make_sample(translation: Any, rotation: Any, lidar_translation: Any, lidar_rotation: Any) -> dict[str, Any]:
    ego = {"translation": translation, "rotation_wxyz": rotation}
    lidar = {"translation": lidar_translation, "rotation_wxyz": lidar_rotation}
    return {"ego2global": ego, "lidar": {"sensor2ego": lidar, "ego2global": ego}}
