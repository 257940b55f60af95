"""Planning metrics: distance to the driven path (L2) and collision rate, as ST-P3 and VAD, and as UniAD report them.

Both look at 0.5 s steps up to 3 s and draw the other traffic into a raster of 200 × 200 cells of 0.5 m around the
LiDAR; the ego vehicle of 4.084 × 1.85 m, its centre 0.5 m ahead, is a fixed set of 32 cells, moved by whole cells.
Steps at which the driven path itself collides count as free. A position beyond the grid is moved to its border.

`stp3.planning`: at 1, 2 and 3 s the mean over all steps up to then, over the samples whose future is whole; vehicles,
cycles and people are in the way. `obj_col` tests one cell, and VAD's code looks 25 m off; the value is kept as it is.
`uniad.planning`: at 1, 2 and 3 s the value at that step, over all samples; steps without a driven path have distance 0;
vehicles alone are in the way.

Frame: LiDAR of the key frame, x right, y forward, metres. Single precision where the originals have it.

Source: VAD, projects/mmdet3d_plugin/VAD/planner/metric_stp3.py, VAD.py and nuscenes_vad_dataset.py; UniAD,
planning_head_plugin/planning_metrics.py.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.context import Context
from admlops.evaluation.metrics import Metric
from admlops.evaluation.planning.protocols import AVERAGED, HORIZONS_S, NAMES, PROTOCOLS, PUBLISHED, STP3, UNIAD
from admlops.evaluation.planning.rasterization import CELLS, fills
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights, resample_ratios
from admlops.evaluation.trajectories.arrays import STEPS, PlanTruth, Traffic
from admlops.evaluation.trajectories.ground_truth import motion_ground_truth
from admlops.evaluation.trajectories.outputs import PlanTable

CELL_M = 0.5
HALF_GRID_M = 50.0
EGO_ROWS = np.arange(97, 105)
EGO_COLUMNS = np.arange(98, 102)
"""The ego vehicle's cells on the grid, counted from behind and from the left, when it stands at the origin."""

SAMPLES_AT_ONCE = 512
Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class PlanningEvaluation:
    """Values by name: `L2_1s` [m], `obj_col_1s`, `obj_box_col_1s` [share of samples] and so on; None without
    samples."""

    protocol: str
    samples: int
    values: Mapping[str, float | None]
    each: Floats
    """(samples, 9): what each sample adds to the means, in the order of `values`."""

    rows: Ints
    """(samples,): which of the plans given these are."""

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By name the values in resamples of scenes; `scenes` holds the scene of each plan given."""
        each = self.each.astype(np.float64)
        ratios = resample_ratios(each, np.ones_like(each), scenes[self.rows], weights)
        return published_names(dict(zip(self.values, ratios.T, strict=True)))

    def details(self) -> dict[str, Any]:
        """Count how many plans were measured."""
        return {"protocol": self.protocol, "samples": self.samples}

    def metrics(self, dataset: str) -> list[Metric]:
        return [
            Metric(name=name, protocol=self.protocol, value=value, n=self.samples, dataset=dataset)
            for name, value in published_names(self.values).items()
        ]


def published_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under the names that papers use, `collision` for `obj_box_col`, and the means of the three horizons.

    The values are numbers, arrays or None.
    """
    named: dict[str, Any] = {}
    for name in NAMES:
        own = {f"{second}s": values[f"{name}_{second}s"] for second in HORIZONS_S}
        if name in AVERAGED:
            parts = list(own.values())
            own["avg"] = None if any(part is None for part in parts) else sum(parts) / len(parts)
        named |= {f"{PUBLISHED.get(name, name)}_{horizon}": value for horizon, value in own.items()}
    return named


@dataclass(frozen=True, kw_only=True)
class _Others:
    """Polygons on the grid: `place` (K,) numbers sample and step, `low` and `high` (K, 2) bound the `corners`."""

    place: Ints
    corners: Ints
    low: Ints
    high: Ints


def evaluate_table(table: PlanTable, context: Context, protocol: str) -> PlanningEvaluation:
    """Evaluate the plans of a run. Raises DataError: the annotations are missing or damaged."""
    ground_truth = motion_ground_truth(context)
    truth = ground_truth.vad_plan if protocol == STP3 else ground_truth.uniad_plan
    paths = context.share("planning.paths", lambda: table.paths(context))
    return evaluate_planning(((path, truth(index)) for index, path in enumerate(paths)), protocol=protocol)


def evaluate_planning(plans: Iterable[tuple[Floats, PlanTruth]], *, protocol: str = STP3) -> PlanningEvaluation:
    """Evaluate planned paths, (6, 2) [m] each, with their ground truth.

    Raises:
        ValueError: the protocol is neither of PROTOCOLS, or a path does not have six steps.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"{protocol!r} is not one of {', '.join(PROTOCOLS)}")
    rows: list[int] = []
    wanted = _wanted(plans, whole=protocol == STP3, rows=rows)
    parts = [_steps(chunk, protocol) for chunk in _chunks(wanted)]
    if not parts:
        none = np.zeros((0, len(_names())))
        return PlanningEvaluation(
            protocol=protocol,
            samples=0,
            values=dict.fromkeys(_names()),
            each=none,
            rows=np.zeros(0, np.int64),
        )
    measured = [np.concatenate([part[index] for part in parts]).astype(np.float32) for index in range(len(NAMES))]
    summarize = _average_so_far if protocol == STP3 else _at_the_step
    each, means = zip(*(summarize(steps) for steps in measured), strict=True)
    return PlanningEvaluation(
        protocol=protocol,
        samples=len(rows),
        values=dict(zip(_names(), itertools.chain.from_iterable(means), strict=True)),
        each=np.concatenate(each, axis=1),
        rows=np.array(rows, dtype=np.int64),
    )


def _wanted(
    plans: Iterable[tuple[Floats, PlanTruth]], *, whole: bool, rows: list[int]
) -> Iterator[tuple[Floats, PlanTruth]]:
    """The plans that count, or all; their positions go to `rows`."""
    for row, (plan, truth) in enumerate(plans):
        if truth.is_whole or not whole:
            rows.append(row)
            yield plan, truth


def _names() -> list[str]:
    return [f"{name}_{second}s" for name in NAMES for second in HORIZONS_S]


def _average_so_far(steps: Floats) -> tuple[Floats, list[float]]:
    """Means over the steps so far in single precision, of each sample; then over the samples in double precision."""
    sums = np.cumsum(steps, axis=1, dtype=np.float32)
    each = np.stack([sums[:, 2 * second - 1] / np.float32(2 * second) for second in HORIZONS_S], axis=1)
    return each, [float(mean) for mean in each.mean(axis=0, dtype=np.float64)]


def _at_the_step(steps: Floats) -> tuple[Floats, list[float]]:
    """The values at the steps; sums over the samples one after another in single precision, as UniAD keeps them."""
    total = np.cumsum(steps, axis=0, dtype=np.float32)[-1] / np.float32(len(steps))
    at = [2 * second - 1 for second in HORIZONS_S]
    return steps[:, at], [float(total[step]) for step in at]


def _steps(chunk: Sequence[tuple[Floats, PlanTruth]], protocol: str) -> tuple[Floats, Bools, Bools]:
    """For each sample and step: the distance [m], whether the plan's centre collides, whether its box does."""
    plan = np.array([path for path, _ in chunk], dtype=np.float32)
    path = np.array([truth.path for _, truth in chunk], dtype=np.float32)
    if plan.shape[1:] != (STEPS, 2) or path.shape[1:] != (STEPS, 2):
        raise ValueError(f"a path is not ({STEPS}, 2): {plan.shape[1:]} planned, {path.shape[1:]} driven")
    square = (plan - path) ** 2
    if protocol == UNIAD:
        square = square * np.array([truth.known for _, truth in chunk], dtype=np.float32)[..., np.newaxis]
    distance = np.sqrt(square[..., 0] + square[..., 1])
    sample, step, corners = _polygons([truth.traffic for _, truth in chunk], protocol)
    others = _Others(
        place=sample * STEPS + step,
        corners=corners,
        low=functools.reduce(np.minimum, [corners[:, index] for index in range(4)]),
        high=functools.reduce(np.maximum, [corners[:, index] for index in range(4)]),
    )
    driven = _collides(*_box_cells(path.reshape(-1, 2), protocol), others)
    planned = _collides(*_box_cells(plan.reshape(-1, 2), protocol), others)
    point = _collides(*_point_cells(plan.reshape(-1, 2), protocol), others)
    shape = distance.shape
    return distance, (point & ~driven).reshape(shape), (planned & ~driven).reshape(shape)


def _polygons(traffic: Sequence[Traffic], protocol: str) -> tuple[Ints, Ints, Ints]:
    """Every other at every step as a polygon on the grid: its sample, its step and its corners (K, 4, 2)."""
    counts = [len(one.positions) for one in traffic]
    kinds = np.concatenate([one.vehicle | (one.person & (protocol == STP3)) for one in traffic])
    present = np.concatenate([one.present for one in traffic]) & kinds[:, np.newaxis]
    other, step = np.nonzero(present)
    positions, yaws, sizes = (
        np.concatenate([getattr(one, name) for one in traffic]).astype(np.float32)
        for name in ("positions", "yaws", "sizes_lw")
    )
    corners = _corners(positions[other, step], yaws[other, step], sizes[other], protocol)
    return np.repeat(np.arange(len(traffic)), counts)[other], step, corners


def _corners(positions: Floats, yaws: Floats, sizes_lw: Floats, protocol: str) -> Ints:
    """The corners of rectangles in cells: column from the left, row from ahead (ST-P3) or from behind (UniAD)."""
    cosine, sine = np.cos(yaws).astype(np.float64), np.sin(yaws).astype(np.float64)
    half = sizes_lw.astype(np.float64) / 2
    length = half[:, :1] * np.array([1, -1, -1, 1])
    width = half[:, 1:] * np.array([1, 1, -1, -1])
    x = cosine[:, np.newaxis] * length + -sine[:, np.newaxis] * width + positions[:, :1]
    y = sine[:, np.newaxis] * length + cosine[:, np.newaxis] * width + positions[:, 1:]
    centre = HALF_GRID_M - CELL_M / 2
    rows = -y if protocol == STP3 else y
    cells = (np.stack([x, rows], axis=2) + centre + CELL_M / 2) / CELL_M
    return np.round(cells).astype(np.int64)


def _box_cells(positions: Floats, protocol: str) -> tuple[Ints, Ints, Ints, Bools]:
    """The ego vehicle's rows (K, 8), its first and last column (K,), and that it is always on the grid."""
    cells = (positions / np.float32(CELL_M)).astype(np.float64)
    ahead = cells[:, 1:] + EGO_ROWS
    rows = np.trunc(CELLS - ahead if protocol == STP3 else ahead).astype(np.int64)
    columns = np.trunc(cells[:, :1] + EGO_COLUMNS[[0, -1]]).astype(np.int64).clip(0, CELLS - 1)
    return rows.clip(0, CELLS - 1), columns[:, 0], columns[:, 1], np.ones(len(cells), bool)


def _point_cells(positions: Floats, protocol: str) -> tuple[Ints, Ints, Ints, Bools]:
    """The one cell that `obj_col` tests, and where it is on the grid; for ST-P3 with the original's half offset."""
    x, y = positions[:, 0], positions[:, 1]
    offset = np.float32(HALF_GRID_M - CELL_M / 2)
    if protocol == STP3:
        offset /= np.float32(2)
        y = -y
    column, row = (np.trunc((value + offset) / np.float32(CELL_M)).astype(np.int64) for value in (x, y))
    seen = (row >= 0) & (row < CELLS) & (column >= 0) & (column < CELLS)
    row, column = row.clip(0, CELLS - 1), column.clip(0, CELLS - 1)
    return row[:, np.newaxis], column, column, seen


def _collides(rows: Ints, first: Ints, last: Ints, seen: Bools, others: _Others) -> Bools:
    """Tell whether any polygon of a place (sample and step) fills one of its cells.

    Polygons are worked out cell by cell only where their bounding box meets the cells.
    """
    place, low, high = others.place, others.low, others.high
    near = (low[:, 0] <= last[place]) & (high[:, 0] >= first[place]) & seen[place]
    near &= (low[:, 1] <= rows.max(axis=1)[place]) & (high[:, 1] >= rows.min(axis=1)[place])
    at = place[near]
    hit = fills(others.corners[near], rows[at], first[at][:, np.newaxis], last[at][:, np.newaxis]).any(axis=1)
    answer = np.zeros(len(rows), dtype=np.bool_)
    answer[at[hit]] = True
    return answer


def _chunks(plans: Iterable[tuple[Floats, PlanTruth]]) -> Iterator[list[tuple[Floats, PlanTruth]]]:
    iterator = iter(plans)
    while chunk := list(itertools.islice(iterator, SAMPLES_AT_ONCE)):
        yield chunk
