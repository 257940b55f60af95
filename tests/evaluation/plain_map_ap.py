"""MapTR's average precision the plain way: one line, one pair, one prediction at a time, as the definition reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

Points = NDArray[np.float64]


def plain_map_ap(
    predictions: Sequence[Sequence[tuple[str, Points, float]]],
    truth: Sequence[Sequence[tuple[str, Points]]],
    classes: Sequence[str],
    thresholds: Sequence[float],
    *,
    iou: bool,
) -> dict[tuple[str, float], float]:
    """AP by class and threshold."""
    result = {}
    for name in classes:
        scored = [_scores(found, there, name, iou=iou) for found, there in zip(predictions, truth, strict=True)]
        count = sum(kind == name for there in truth for kind, _ in there)
        for threshold in thresholds:
            limit = threshold if iou else -threshold
            hits = [hit for sample in scored for hit in _hits(sample, limit)]
            hits.sort(key=lambda hit: -hit[0])
            result[name, threshold] = _area([hit for _, hit in hits], count)
    return result


def _scores(
    found: Sequence[tuple[str, Points, float]], there: Sequence[tuple[str, Points]], name: str, *, iou: bool
) -> list[tuple[float, list[float]]]:
    """For each prediction of the class its confidence and its score with every ground truth of the class."""
    wide = 1.0 if iou else 2.0
    own = [(_hundred(points), confidence) for kind, points, confidence in found if kind == name]
    elements = [_hundred(points) for kind, points in there if kind == name]
    strips = [_strip(points, wide) for points in elements]
    result = []
    for points, confidence in own:
        strip = _strip(points, wide)
        scores = []
        for element, other in zip(elements, strips, strict=True):
            if not strip.intersects(other):
                scores.append(0.0 if iou else -100.0)
            elif iou:
                scores.append(strip.intersection(other).area / strip.union(other).area)
            else:
                scores.append(-_chamfer(points, element))
        result.append((confidence, scores))
    return result


def _hundred(points: Points) -> Points:
    line = shapely.LineString(points)
    hundred: Points = shapely.get_coordinates(line.interpolate(np.linspace(0, line.length, 100)))
    return hundred


def _strip(points: Points, wide: float) -> shapely.Geometry:
    return shapely.LineString(points).buffer(wide, quad_segs=16, cap_style="flat", join_style="mitre")


def _chamfer(a: Points, b: Points) -> float:
    apart = np.sqrt(((a[:, np.newaxis] - b) ** 2).sum(axis=2))
    return float((apart.min(axis=0).mean() + apart.min(axis=1).mean()) / 2)


def _hits(sample: list[tuple[float, list[float]]], limit: float) -> list[tuple[float, bool]]:
    """(confidence, right or not) by prediction; the most confident takes its best element, the first of equals."""
    taken: set[int] = set()
    hits = [(confidence, False) for confidence, _ in sample]
    for index in sorted(range(len(sample)), key=lambda index: -sample[index][0]):
        confidence, scores = sample[index]
        best = scores.index(max(scores)) if scores else -1
        if scores and scores[best] >= limit and best not in taken:
            taken.add(best)
            hits[index] = (confidence, True)
    return hits


def _area(hits: Sequence[bool], count: int) -> float:
    """The area under the precision envelope; every hit raises recall by 1 / count."""
    best, area, tp = 0.0, 0.0, sum(hits)
    for index in range(len(hits) - 1, -1, -1):
        best = max(best, tp / (index + 1))
        if hits[index]:
            area += best / count
            tp -= 1
    return area
