"""What a data set of nuScenes' tables holds, in numbers: boxes by class, distance, visibility and condition, the way
the vehicle drives, tracks, and how near its samples lie to those that models are trained on.

Each number is one query over the tables of `SampleTables`; boxes are counted, never kept in Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.types import Watch
from admlops.curation.columns import Source
from admlops.curation.map_statistics import MapStatistics, measure_maps
from admlops.curation.sample_tables import SampleTables
from admlops.curation.tags import Rules, read_rules, tag_samples

SOURCES: tuple[Source, ...] = ("scene", "pose", "boxes", "map", "training")
"""What is read of the tables."""
RING_M = 10
OUTER_RING = 5
"""Rings of distance are 10 m wide; the last one, from 50 m on, has no end."""
VISIBILITIES = ("unknown", "0-40 %", "40-60 %", "60-80 %", "80-100 %")
STANDING_MPS = 0.2
"""A vehicle that is slower than this from one sample to the next stands: both samples show the same."""
NEAR_M, FAR_M = 5.0, 20.0
BINS = ("< 5 m", "5–20 m", "> 20 m")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
BOX_AXES = {
    "class": "CAST(class AS VARCHAR)",
    "distance": f"CAST(least(CAST(floor(distance / {RING_M}) AS INTEGER), {OUTER_RING}) AS VARCHAR)",
    "visibility": "CAST(visibility AS VARCHAR)",
}
SAMPLE_AXES = ("light", "weather", "location", "split", "hour", "scene")
TAG_AXIS = "tag"
AXES = (*BOX_AXES, *SAMPLE_AXES, TAG_AXIS)
"""What boxes and samples are counted by."""
UNKNOWN = "unknown"

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The values of a quantity: how many, their mean, quantiles `p5` … `p95`, and a histogram of equal bins."""

    n: int
    unit: str
    mean: float | None
    minimum: float | None
    maximum: float | None
    quantiles: Mapping[str, float]
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    values: Floats = field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without each single one."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "values"}


@dataclass(frozen=True, kw_only=True)
class ClassRow:
    """One class: its boxes, its objects (tracks), and the tracks' length in samples, seconds and metres."""

    boxes: int
    objects: int
    empty: int
    moving: int
    median_distance_m: float | None
    speed_p95: float | None
    track_samples: float | None
    track_s: float | None
    track_m_p95: float | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of values of some axes: how many boxes, in how many samples."""

    values: tuple[str, ...]
    boxes: int
    samples: int


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Samples at which the vehicle stands, and those that repeat the one before; `distinct` are all that do not."""

    samples: int
    scenes: int
    duplicates: int
    distinct: int
    duplicated_boxes: int


@dataclass(frozen=True, kw_only=True)
class SetStatistics:
    """The numbers of a data set, or of chosen samples of it. `lacking` says what it does not have, and why."""

    scenes: int
    samples: int
    boxes: int
    objects: int
    groups: Mapping[str, Mapping[str, Mapping[str, int]]]
    classes: Mapping[str, ClassRow]
    cells: tuple[Cell, ...]
    driving: Mapping[str, Distribution]
    per_sample: Mapping[str, Distribution]
    tracks: Mapping[str, Distribution]
    standing: Standing | None
    training: Mapping[str, Mapping[str, int]]
    map: MapStatistics | None
    lacking: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("driving", "per_sample", "tracks"):
            plain[name] = {key: own.to_json() for key, own in plain[name].items()}
        plain["classes"] = {name: asdict(row) for name, row in self.classes.items()}
        plain["standing"] = None if self.standing is None else asdict(self.standing)
        plain["map"] = None if self.map is None else asdict(self.map)
        plain["cells"] = [[*cell.values, cell.boxes, cell.samples] for cell in self.cells]
        return {**plain, "cell_columns": [*CELL_AXES, "boxes", "samples"]}


CELL_AXES = ("class", "distance", "visibility", "light", "weather")
"""The axes of `cells`."""


def measure_tables(
    tables: SampleTables, *, map_samples: int, watch: Watch, chosen: Sequence[str] | None = None
) -> SetStatistics:
    """Measure a data set that has tables.

    Args:
        watch: gets how many samples' maps are cut out, and their total.
        map_samples: of how many samples, evenly taken, the map's elements are cut out; 0 for none.
        chosen: the tokens of the samples to look at; all if None.

    Raises:
        DataError: a table is missing, or is not whole.
    """
    tables.read(SOURCES)
    if chosen is not None:
        tables.keep(chosen)
    has_boxes, has_map = "boxes" not in tables.lacking, "map" not in tables.lacking
    scenes, samples = tables.ask("SELECT count(DISTINCT scene), count(*) FROM samples")[0]
    boxes, objects = tables.ask("SELECT count(*), count(DISTINCT instance) FROM boxes")[0] if has_boxes else (0, 0)
    return SetStatistics(
        scenes=scenes,
        samples=samples,
        boxes=boxes,
        objects=objects,
        groups={name: _count_group(tables, name) for name in ("split", "location", "light", "weather", "hour")},
        classes=_measure_classes(tables) if has_boxes else {},
        cells=tuple(count_cells(tables, CELL_AXES)) if has_boxes else (),
        driving=_measure_driving(tables),
        per_sample=_measure_samples(tables) if has_boxes else {},
        tracks=_measure_tracks(tables) if has_boxes else {},
        standing=_measure_standing(tables, has_boxes=has_boxes),
        training={} if "training" in tables.lacking else _measure_training(tables),
        map=measure_maps(tables, map_samples, watch) if has_map and map_samples else None,
        lacking=_find_lacking(tables),
    )


def _find_lacking(tables: SampleTables) -> dict[str, str]:
    """What the statistics are about and the data set does not have, and why."""
    found: dict[str, str] = {name: reason for name, reason in tables.lacking.items() if name in SOURCES}
    columns = ((name, tables.find_lacking([name])) for name in ("light", "weather", "hour"))
    return found | {name: lacking[1] for name, lacking in columns if lacking is not None}


def count_cells(tables: SampleTables, axes: Sequence[str], rules: Rules | None = None) -> list[Cell]:
    """Count boxes and samples by every combination of values of `axes` that occurs.

    With an axis of boxes only samples with boxes count. A sample with several tags counts in each of them.
    """
    sources: set[Source] = {"scene"}
    sources |= {"pose", "boxes"}
    tables.read(sources)
    has_boxes = "boxes" not in tables.lacking
    if TAG_AXIS in axes:
        _make_tags(tables, rules or read_rules())
    values = [_axis(name) for name in axes]
    of_boxes = any(name in BOX_AXES for name in axes)
    join = "JOIN" if of_boxes else "LEFT JOIN"
    source = f"samples {join} boxes ON boxes.sample = samples.number" if has_boxes else "samples"
    source += " JOIN sample_tags ON sample_tags.number = samples.number" if TAG_AXIS in axes else ""
    boxes = "count(boxes.instance)" if has_boxes else "0"
    listed = ", ".join(str(place + 1) for place in range(len(axes)))
    rows = tables.ask(
        f"SELECT {', '.join(values)}, {boxes}, count(DISTINCT samples.number) FROM {source} "
        f"GROUP BY {listed} ORDER BY {listed}"
    )
    return [
        Cell(
            values=tuple(_spell(name, value) for name, value in zip(axes, row, strict=False)),
            boxes=int(row[-2]),
            samples=int(row[-1]),
        )
        for row in rows
    ]


def _make_tags(tables: SampleTables, rules: Rules) -> None:
    """Make the table `sample_tags`: a row for each tag of each sample."""
    tagged = {one.rule.name: one.samples for one in tag_samples(tables, rules)}
    names = np.array([name for name, samples in tagged.items() for _ in samples], dtype=object)
    tokens = np.array([token for samples in tagged.values() for token in samples], dtype=object)
    tables.add("given_tags", {"sample": tokens, "tag": names})
    tables.ask(
        "CREATE OR REPLACE TEMP TABLE sample_tags AS SELECT number, tag FROM given_tags JOIN sample_rows USING (sample)"
    )


def _axis(name: str) -> str:
    if name in BOX_AXES:
        return BOX_AXES[name]
    if name == TAG_AXIS:
        return "sample_tags.tag"
    return f"coalesce(CAST(samples.{name} AS VARCHAR), '{UNKNOWN}')"


def _spell(axis: str, value: str) -> str:
    if axis == "distance":
        ring = int(value)
        return f"> {OUTER_RING * RING_M} m" if ring == OUTER_RING else f"{ring * RING_M}-{(ring + 1) * RING_M} m"
    if axis == "visibility":
        return VISIBILITIES[int(value)]
    return str(value)


def _count_group(tables: SampleTables, name: str) -> dict[str, dict[str, int]]:
    rows = tables.ask(
        f"SELECT coalesce(CAST({name} AS VARCHAR), '{UNKNOWN}'), count(DISTINCT scene), count(*) FROM samples "
        f"GROUP BY 1, {name} ORDER BY {name}"
    )
    return {str(value): {"scenes": scenes, "samples": samples} for value, scenes, samples in rows}


def _measure_classes(tables: SampleTables) -> dict[str, ClassRow]:
    rows = tables.ask(
        "WITH tracks AS (SELECT class, instance, count(*) AS n, max(time_s) - min(time_s) AS s, sum(step_m) AS m "
        "FROM boxes JOIN samples ON samples.number = boxes.sample GROUP BY class, instance), "
        "by_track AS (SELECT class, count(*) AS objects, median(n) AS n, median(s) AS s, "
        "quantile_cont(m, 0.95) AS m FROM tracks GROUP BY class), "
        "by_box AS (SELECT class, count(*) AS boxes, count(*) FILTER (points = 0) AS empty, "
        "count(*) FILTER (speed > 0.5) AS moving, median(distance) AS distance, quantile_cont(speed, 0.95) AS speed "
        "FROM boxes GROUP BY class) "
        "SELECT CAST(class AS VARCHAR), boxes, objects, empty, moving, distance, speed, n, s, m "
        "FROM by_box JOIN by_track USING (class) ORDER BY boxes DESC, 1"
    )
    return {
        str(name): ClassRow(
            boxes=boxes,
            objects=objects,
            empty=empty,
            moving=moving,
            median_distance_m=distance,
            speed_p95=speed,
            track_samples=n,
            track_s=seconds,
            track_m_p95=metres,
        )
        for name, boxes, objects, empty, moving, distance, speed, n, seconds, metres in rows
    }


def _measure_driving(tables: SampleTables) -> dict[str, Distribution]:
    columns = tables.columns_of("SELECT speed, yaw_rate FROM samples ORDER BY number")
    return {
        "speed": describe(_known(columns["speed"]), "m/s", bins=np.arange(0.0, 21.0)),
        "yaw_rate": describe(_known(columns["yaw_rate"]), "rad/s", bins=np.arange(-0.525, 0.55, 0.05).round(3)),
    }


def _measure_samples(tables: SampleTables) -> dict[str, Distribution]:
    columns = tables.columns_of("SELECT boxes, vehicles, pedestrians FROM samples ORDER BY number")
    return {name: describe(_known(columns[name]), "", bins=np.arange(0.0, 210.0, 10)) for name in columns}


def _measure_tracks(tables: SampleTables) -> dict[str, Distribution]:
    columns = tables.columns_of(
        "SELECT max(time_s) - min(time_s) AS s, CAST(sum(step_m) AS DOUBLE) AS m FROM boxes "
        "JOIN samples ON samples.number = boxes.sample GROUP BY instance ORDER BY instance"
    )
    return {
        "duration": describe(_known(columns["s"]), "s", bins=np.arange(0.0, 21.0)),
        "path": describe(_known(columns["m"]), "m", bins=np.arange(0.0, 210.0, 10)),
    }


def _measure_standing(tables: SampleTables, *, has_boxes: bool) -> Standing:
    samples, scenes = tables.ask("SELECT count(*), count(DISTINCT scene) FROM samples WHERE speed < ?", [STANDING_MPS])[
        0
    ]
    tables.ask(
        "CREATE OR REPLACE TEMP TABLE repeated AS SELECT number FROM pose_rows JOIN sample_rows USING (number) "
        f"WHERE moved_m / since_s < {STANDING_MPS}"
    )
    repeated = tables.ask("SELECT count(*) FROM repeated")[0][0]
    held = (
        tables.ask("SELECT count(*) FROM boxes WHERE sample IN (SELECT number FROM repeated)") if has_boxes else [(0,)]
    )
    whole = tables.ask("SELECT count(*) FROM samples")[0][0]
    return Standing(
        samples=samples, scenes=scenes, duplicates=repeated, distinct=whole - repeated, duplicated_boxes=held[0][0]
    )


def _measure_training(tables: SampleTables) -> dict[str, dict[str, int]]:
    """Count the samples of each other split by their distance to the nearest training sample of the same map."""
    rows = tables.ask(
        "SELECT split, count(*) FILTER (training_m < ?), count(*) FILTER (training_m >= ? AND training_m < ?), "
        "count(*) FILTER (training_m >= ?) FROM samples WHERE split NOT IN ('train', 'mini_train') "
        "GROUP BY 1 ORDER BY 1",
        [NEAR_M, NEAR_M, FAR_M, FAR_M],
    )
    return {str(split): dict(zip(BINS, counts, strict=True)) for split, *counts in rows}


def _known(values: Any) -> Floats:
    """The values that are there, as floats."""
    known = np.ma.asarray(values).compressed().astype(np.float64)
    return known[np.isfinite(known)]


def describe(values: Floats, unit: str, *, bins: Floats) -> Distribution:
    """Describe values; those outside the histogram's bins count in the first and the last one."""
    counts, _ = np.histogram(np.clip(values, bins[0], bins[-1]), bins)
    has = len(values) > 0
    found = np.quantile(values, QUANTILES).tolist() if has else []
    return Distribution(
        n=len(values),
        unit=unit,
        mean=float(values.mean()) if has else None,
        minimum=float(values.min()) if has else None,
        maximum=float(values.max()) if has else None,
        quantiles={f"p{round(100 * share)}": value for share, value in zip(QUANTILES, found, strict=False)},
        edges=tuple(bins.tolist()),
        counts=tuple(counts.tolist()),
        values=values,
    )
