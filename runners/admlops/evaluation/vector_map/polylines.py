"""Distances between many polylines at once: resampling, Chamfer distance and buffers, as MapTR's evaluator has them.

Everything works on batches, in NumPy or in shapely's array functions, which let go of the interpreter's lock. A line's
points are (M, 2) [m], M ≥ 1, in any one frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

POINTS_PER_LINE = 100
BUFFER_M = 2.0
IOU_BUFFER_M = 1.0
NO_PAIR = np.inf

TRIED_POINTS = (50, 25, 75, 38, 62)
AWAY_M = 2.1
CLOSE_M = 1.5
"""See `_surely_meet`."""

PAIRS_AT_ONCE = 16
"""Distance matrices computed in one go: 16 of 100 × 100 in double precision stay within a core's cache."""

LINES_AT_ONCE = 1024
"""Lines resampled in one go."""

Points = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Indices = NDArray[np.intp]


def resample(lines: Sequence[Points], *, points: int = POINTS_PER_LINE) -> Points:
    """Polylines as `points` points at equal distances along each one: (L, points, 2).

    The same walk along the segments as GEOS's `interpolate`, for all lines at once: a target lies in the first segment
    that ends beyond it, segments of no length are passed over, and a line of no length gives its last point.
    """
    counts = np.array([len(line) for line in lines], dtype=np.intp)
    resampled = np.empty((len(lines), points, 2))
    # Lines of about one length together, so that no short one is padded to the longest; few enough for the cache.
    order = np.argsort(counts, kind="stable")
    for rows in np.array_split(order, len(lines) // LINES_AT_ONCE + 1) if lines else ():
        resampled[rows] = _resample(_pad([lines[row] for row in rows], counts[rows]), points)
    return resampled


def _resample(vertices: Points, points: int) -> Points:
    """`resample` for lines of equal vertex counts, (L, M, 2) with M ≥ 2, as (L, points, 2)."""
    lines, width = vertices.shape[:2]
    x, y = np.ascontiguousarray(vertices[..., 0]), np.ascontiguousarray(vertices[..., 1])
    dx, dy = np.diff(x, axis=1, append=x[:, -1:]), np.diff(y, axis=1, append=y[:, -1:])
    lengths = np.sqrt(dx * dx + dy * dy)
    along = np.zeros((lines, width))
    np.cumsum(lengths[:, :-1], axis=1, out=along[:, 1:])
    targets = np.linspace(0.0, along[:, -1], points, axis=-1)
    segment = _segments(along, targets) + width * np.arange(lines)[:, np.newaxis]
    share = targets - along.ravel()[segment]
    with np.errstate(divide="ignore", invalid="ignore"):
        share /= lengths.ravel()[segment]
    np.nan_to_num(share, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
    np.clip(share, 0.0, 1.0, out=share)
    resampled = np.empty((lines, points, 2))
    for axis, (start, step) in enumerate(((x, dx), (y, dy))):
        resampled[..., axis] = start.ravel()[segment] + share * step.ravel()[segment]
    return resampled


def _pad(lines: Sequence[Points], counts: Indices) -> Points:
    """(L, M, 2), M ≥ 2: every line to the length of the longest by repeating its last point."""
    width = max(2, int(counts.max()))
    stacked = np.concatenate(lines)[:, :2].astype(np.float64, copy=False)
    column = np.minimum(np.arange(width), counts[:, np.newaxis] - 1)
    padded: Points = stacked[(np.cumsum(counts) - counts)[:, np.newaxis] + column]
    return padded


def _segments(along: Points, targets: Points) -> Indices:
    """The segment of each target, (L, P): how many of the distances `along` (L, M) after the first it has reached."""
    lines, points = targets.shape
    step = np.maximum(along[:, -1:] / max(points - 1, 1), np.finfo(float).tiny)
    first = np.ceil(along[:, 1:] / step).clip(0, points).astype(np.intp)
    # `ceil` of a rounded quotient may be one off; the targets themselves decide.
    rows = np.arange(lines)[:, np.newaxis]
    first -= (first > 0) & (targets[rows, np.maximum(first - 1, 0)] >= along[:, 1:])
    first += (first < points) & (targets[rows, np.minimum(first, points - 1)] < along[:, 1:])
    reached = np.bincount((rows * (points + 1) + first).ravel(), minlength=lines * (points + 1))
    passed: Indices = np.cumsum(reached.reshape(lines, points + 1)[:, :points], axis=1)
    return passed


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Lines (L, 100, 2) [m] of many samples: those of sample s are first[s] to first[s + 1]."""

    lines: Points
    first: Indices

    @classmethod
    def of(cls, lines: Points, counts: Sequence[int]) -> Batch:
        """A batch of `counts[s]` lines for each sample s."""
        return cls(lines=lines, first=np.concatenate([[0], np.cumsum(counts, dtype=np.intp)]))


def nearest_lines(predictions: Batch, truth: Batch, *, limit_m: float) -> tuple[Indices, Points]:
    """Each prediction's nearest ground truth of its own sample, the first of equals, and how far it is [m].

    The index counts within the sample. Where no pair lies within `limit_m`, the index is 0 and the distance infinite.
    """
    pred, gt = _pairs_of_samples(predictions, truth)
    distance = pair_distances(predictions.lines, truth.lines, pred, gt, limit_m=limit_m)
    first = predictions.first
    start = np.repeat(truth.first[:-1], np.diff(first))
    index, nearest = best_of_each(pred, gt - start[pred], distance, size=len(predictions.lines))
    return index, nearest


def best_of_each(pred: Indices, gt: Indices, distance: Points, *, size: int) -> tuple[Indices, Points]:
    """For each of `size` predictions the smallest `distance` among its pairs, and its `gt`, the first of equals."""
    index, best = np.zeros(size, dtype=np.intp), np.full(size, NO_PAIR)
    finite = np.isfinite(distance)
    pred, gt, distance = pred[finite], gt[finite], distance[finite]
    order = np.lexsort((gt, distance, pred))
    chosen = order[np.diff(pred[order], prepend=-1) != 0]
    index[pred[chosen]], best[pred[chosen]] = gt[chosen], distance[chosen]
    return index, best


def _pairs_of_samples(predictions: Batch, truth: Batch) -> tuple[Indices, Indices]:
    """All pairs (prediction, ground truth) within the same sample, by prediction."""
    of_sample, there = np.diff(predictions.first), np.diff(truth.first)
    width = np.repeat(there, of_sample)
    pred = np.repeat(np.arange(len(width)), width)
    start = np.repeat(np.repeat(truth.first[:-1], of_sample), width)
    within = np.arange(len(pred)) - np.repeat(np.cumsum(width) - width, width)
    return pred, start + within


def pair_distances(a: Points, b: Points, i: Indices, j: Indices, *, limit_m: float) -> Points:
    """Chamfer distances [m] of the pairs (a[i], b[j]), (K,); infinite beyond `limit_m` and where no pair exists.

    A pair exists if the two lines, buffered by 2 m with flat caps and mitred joins, intersect. A pair beyond the limit
    matches at no threshold, whatever its exact distance; such pairs are by far the most, and lower bounds spare them
    the distance matrix, and the distance spares them the buffers.
    """
    distances = np.full(len(i), NO_PAIR)
    near = _near(a, b, i, j, limit_m)
    chamfers = chamfer(a, b, i[near], j[near])
    found = near[chamfers <= limit_m]
    distances[found] = chamfers[chamfers <= limit_m]
    unsure = found[~_surely_meet(a, b, i[found], j[found])]
    distances[unsure[~_buffers_meet(a, b, i[unsure], j[unsure])]] = NO_PAIR
    return distances


def _near(a: Points, b: Points, i: Indices, j: Indices, limit_m: float) -> Indices:
    """The pairs whose Chamfer distance may be at most `limit_m`, by two lower bounds.

    No point of a line is nearer to another line than to that one's bounding box. First the two boxes, then the mean
    over the points, which needs them all.
    """
    if not len(i):
        return np.zeros(0, dtype=np.intp)
    low_a, high_a, low_b, high_b = a.min(axis=1), a.max(axis=1), b.min(axis=1), b.max(axis=1)
    gap = np.maximum(low_a[i] - high_b[j], low_b[j] - high_a[i]).clip(min=0.0)
    near = np.nonzero(gap[:, 0] ** 2 + gap[:, 1] ** 2 <= limit_m**2)[0]
    # Single precision is enough for a bound, with a margin for its rounding.
    points_a, points_b = a.astype(np.float32), b.astype(np.float32)
    boxes_a, boxes_b = ([side.astype(np.float32) for side in box] for box in ((low_a, high_a), (low_b, high_b)))
    limit = limit_m + 1e-3
    for part in np.array_split(near, len(near) // LINES_AT_ONCE + 1):
        first = _distance_to_box(points_a[i[part]], *(side[j[part]] for side in boxes_b))
        second = _distance_to_box(points_b[j[part]], *(side[i[part]] for side in boxes_a))
        part[(first + second) / 2 > limit] = -1
    return near[near >= 0]


def _distance_to_box(points: Floats32, low: Floats32, high: Floats32) -> Floats32:
    """The mean distance [m] of points (K, P, 2) to the box of their row, (K,)."""
    x = np.maximum(low[:, :1] - points[..., 0], points[..., 0] - high[:, :1]).clip(min=0.0)
    y = np.maximum(low[:, 1:] - points[..., 1], points[..., 1] - high[:, 1:]).clip(min=0.0)
    mean: Floats32 = np.sqrt(x * x + y * y).mean(axis=1)
    return mean


def chamfer(a: Points, b: Points, i: Indices, j: Indices) -> Points:
    """The mean of the two directed Chamfer distances [m] of the pairs (a[i], b[j]), (K,)."""
    distances = np.empty(len(i))
    a, b = a.transpose(0, 2, 1).copy(), b.transpose(0, 2, 1).copy()
    square, other = (np.empty((PAIRS_AT_ONCE, a.shape[2], b.shape[2])) for _ in range(2))
    for start in range(0, len(i), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        p, q = a[i[part]], b[j[part]]
        d, e = square[: len(p)], other[: len(p)]
        np.subtract(p[:, 0, :, np.newaxis], q[:, 0, np.newaxis], out=d)
        np.subtract(p[:, 1, :, np.newaxis], q[:, 1, np.newaxis], out=e)
        np.multiply(d, d, out=d)
        np.multiply(e, e, out=e)
        np.add(d, e, out=d)
        there, back = np.sqrt(d.min(axis=2)).mean(axis=1), np.sqrt(d.min(axis=1)).mean(axis=1)
        distances[part] = (back + there) / 2
    return distances


def _surely_meet(a: Points, b: Points, i: Indices, j: Indices) -> NDArray[np.bool_]:
    """Which pairs (a[i], b[j]) have buffers that intersect beyond doubt, so that the costly buffers can be spared.

    A buffer is where the outline of a line's widened strip winds around more than zero times. Around a point it winds
    once for every stretch of the line that comes within 2 m of it and leaves again. So a point that both lines come to
    and leave, before their ends, lies in both buffers. The points tried lie midway between a few points of one line and
    the nearest of the other. 0.1 m is left for GEOS, which simplifies lines by up to 1 % of the buffer's width.
    """
    sure = np.zeros(len(i), dtype=np.bool_)
    for tried in TRIED_POINTS:
        left = np.nonzero(~sure)[0]
        for part in np.array_split(left, len(left) // LINES_AT_ONCE + 1):
            first, second = a[i[part]], b[j[part]]
            apart = _distances(second, first[:, tried])
            nearest = apart.argmin(axis=1)
            rows = np.arange(len(part))
            middle = (first[:, tried] + second[rows, nearest]) / 2
            sure[part] = (
                (apart[rows, nearest] <= CLOSE_M)
                & _comes_and_leaves(_distances(first, middle), np.full(len(part), tried))
                & _comes_and_leaves(_distances(second, middle), nearest)
            )
    return sure


def _distances(lines: Points, points: Points) -> Points:
    """From the points (K, 2) to those of their own lines (K, P, 2), as (K, P) [m]."""
    x, y = lines[..., 0] - points[:, :1], lines[..., 1] - points[:, 1:]
    distances: Points = np.sqrt(x * x + y * y)
    return distances


def _comes_and_leaves(distances: Points, at: Indices) -> NDArray[np.bool_]:
    """Tell whether distances (K, P) exceed AWAY_M both before and after the index `at` of their row."""
    column, away = np.arange(distances.shape[1]), distances > AWAY_M
    before, after = column < at[:, np.newaxis], column > at[:, np.newaxis]
    return np.logical_and((away & before).any(axis=1), (away & after).any(axis=1))


def buffer_lines(lines: Points, *, width_m: float) -> NDArray[np.object_]:
    """Lines (L, P, 2) widened by `width_m` to each side, with flat caps and mitred joins."""
    strings = shapely.linestrings(lines) if len(lines) else np.zeros(0, dtype=np.object_)
    with np.errstate(divide="ignore", invalid="ignore"):  # GEOS computes with NaN inside for a line of almost no length
        buffered: NDArray[np.object_] = shapely.buffer(
            strings, width_m, quad_segs=16, cap_style="flat", join_style="mitre", mitre_limit=5.0
        )
    return buffered


def _buffers_meet(a: Points, b: Points, i: Indices, j: Indices) -> NDArray[np.bool_]:
    used_a, row_a = np.unique(i, return_inverse=True)
    used_b, row_b = np.unique(j, return_inverse=True)
    first, second = buffer_lines(a[used_a], width_m=BUFFER_M), buffer_lines(b[used_b], width_m=BUFFER_M)
    meet: NDArray[np.bool_] = shapely.intersects(first[row_a], second[row_b])
    return meet


def buffer_iou(predictions: Batch, truth: Batch, *, least: float) -> tuple[Indices, Points]:
    """As `nearest_lines`, by the IoU of the lines buffered by 1 m; the distance of a pair is minus its IoU.

    IoUs below `least` are left out: infinite. The smaller area over the larger one bounds the IoU from above.
    """
    pred, gt = _pairs_of_samples(predictions, truth)
    first, second = (buffer_lines(batch.lines, width_m=IOU_BUFFER_M) for batch in (predictions, truth))
    area_1, area_2 = shapely.area(first), shapely.area(second)
    small, large = np.minimum(area_1[pred], area_2[gt]), np.maximum(area_1[pred], area_2[gt])
    bounds_1, bounds_2 = shapely.bounds(first)[pred], shapely.bounds(second)[gt]
    overlap = (bounds_1[:, :2] <= bounds_2[:, 2:]).all(axis=1) & (bounds_2[:, :2] <= bounds_1[:, 2:]).all(axis=1)
    near = np.nonzero(overlap & (large > 0) & (small >= (least - 1e-9) * large))[0]
    p, q = first[pred[near]], second[gt[near]]
    iou = shapely.area(shapely.intersection(p, q)) / shapely.area(shapely.union(p, q))
    distance = np.full(len(pred), NO_PAIR)
    distance[near] = np.where(iou >= least, -iou, NO_PAIR)
    start = np.repeat(truth.first[:-1], np.diff(predictions.first))
    return best_of_each(pred, gt - start[pred], distance, size=len(predictions.lines))
