"""Records as flat rows: one a sample, one a detection or one a map element. Column names carry the units."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from msgspec import UNSET

from admlops.results.record import Record

Cell = str | int | float | None
Row = tuple[Cell, ...]
Columns = Mapping[str, str]
"""Column name → DuckDB type."""

_SAMPLE_KEY = {"run": "VARCHAR", "scene": "VARCHAR", "index_in_scene": "INTEGER", "sample_token": "VARCHAR"}

SAMPLE_COLUMNS: Columns = MappingProxyType(
    {
        **_SAMPLE_KEY,
        "status": "VARCHAR",
        "failure_class": "VARCHAR",
        "inference_time_s": "DOUBLE",
        "end_to_end_time_s": "DOUBLE",
        "gpu_memory_used_mb": "DOUBLE",
        "detections": "INTEGER",
        "map_elements": "INTEGER",
    }
)
DETECTION_COLUMNS: Columns = MappingProxyType(
    {
        **_SAMPLE_KEY,
        "id": "INTEGER",
        "class_name": "VARCHAR",
        "confidence": "DOUBLE",
        **dict.fromkeys(("x_m", "y_m", "z_m", "width_m", "length_m", "height_m"), "DOUBLE"),
        **dict.fromkeys(("rotation_w", "rotation_x", "rotation_y", "rotation_z"), "DOUBLE"),
        **dict.fromkeys(("velocity_x_mps", "velocity_y_mps"), "DOUBLE"),
        "attribute": "VARCHAR",
    }
)
MAP_ELEMENT_COLUMNS: Columns = MappingProxyType(
    {**_SAMPLE_KEY, "id": "INTEGER", "type": "VARCHAR", "confidence": "DOUBLE", "points_m": "VARCHAR"}
)


def sample_rows(record: Record) -> Iterator[Row]:
    """The one row of a sample. A task that the model does not do has no count."""
    metadata = record.metadata
    yield (
        *_key(record),
        metadata.status,
        None if metadata.failure is UNSET else metadata.failure.kind,
        metadata.inference_time,
        metadata.end_to_end_time,
        metadata.gpu_memory_used,
        None if record.detections_3d is UNSET else len(record.detections_3d),
        None if record.map_elements is UNSET else len(record.map_elements),
    )


def detection_rows(record: Record) -> Iterator[Row]:
    """One row a detected box, ego frame."""
    for one in () if record.detections_3d is UNSET else record.detections_3d:
        box = one.bbox_3d
        velocity = box.velocity or (None, None)
        yield (
            *_key(record),
            one.id,
            one.class_name,
            one.confidence,
            *box.center,
            *box.size_wlh,
            *box.rotation_wxyz,
            *velocity,
            one.attribute,
        )


def map_element_rows(record: Record) -> Iterator[Row]:
    """One row a map element, ego frame; its points are a JSON array of [x, y]."""
    for one in () if record.map_elements is UNSET else record.map_elements:
        yield (*_key(record), one.id, one.type, one.confidence, json.dumps(one.points, separators=(",", ":")))


TABLES: Mapping[str, tuple[Columns, Callable[[Record], Iterator[Row]]]] = MappingProxyType(
    {
        "samples": (SAMPLE_COLUMNS, sample_rows),
        "detections": (DETECTION_COLUMNS, detection_rows),
        "map_elements": (MAP_ELEMENT_COLUMNS, map_element_rows),
    }
)
"""Table name → its columns and the rows that a record has in it."""


def _key(record: Record) -> Row:
    metadata = record.metadata
    return (metadata.run, metadata.scene, metadata.index_in_scene, metadata.sample_token)
