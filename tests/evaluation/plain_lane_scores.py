"""OpenLane-V2's scores the plain way: one pair, one vertex, one threshold at a time, as the definitions read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from admlops.evaluation.lane_graph.lanes import LanePrediction, LaneTruth

Frame = tuple[LaneTruth, LanePrediction]
Taken = dict[int, int]


def plain_lane_scores(frames: Sequence[Frame], *, old: bool) -> dict[str, float]:
    """The five numbers; `old` is devkit 1.0."""
    lanes = [_matrix(t.lanes, p.lanes, _frechet, [_relaxation(lane) for lane in t.lanes]) for t, p in frames]
    boxes = [_matrix(t.elements, p.elements, _one_minus_iou, [1.0] * len(t.elements)) for t, p in frames]
    of_lanes = {
        t: [_take(d, p.lane_confidences, t) for d, (_, p) in zip(lanes, frames, strict=True)] for t in (1, 2, 3)
    }
    of_boxes = [_take(d, p.element_confidences, 0.75) for d, (_, p) in zip(boxes, frames, strict=True)]
    scores = {
        "DET_l": sum(_lane_ap(of_lanes[t], frames) for t in (1, 2, 3)) / 3,
        "DET_t": sum(_attribute_ap(boxes, frames, attribute) for attribute in range(13)) / 13,
    }
    edges: dict[str, list[float]] = {"TOP_ll": [], "TOP_lt": []}
    for level in range(10 if old else 1):
        for threshold in (1, 2, 3):
            for (t, p), lane, box in zip(frames, of_lanes[threshold], of_boxes, strict=True):
                least = _levels(lane, p.lane_confidences, len(t.lanes))[level] if old else -math.inf
                own = {gt: pred for gt, pred in lane.items() if p.lane_confidences[pred] >= least}
                least = _levels(box, p.element_confidences, len(t.elements))[level] if old else -math.inf
                seen = {gt: pred for gt, pred in box.items() if p.element_confidences[pred] >= least}
                false = 1.0 if old else 0.5 + 2.0**-23
                edges["TOP_ll"] += _vertices(t.lane_to_lane, p.lane_to_lane, own, own, false)
                edges["TOP_lt"] += _vertices(t.lane_to_traffic, p.lane_to_traffic, own, seen, false)
    scores.update({name: sum(aps) / len(aps) if aps else 0.0 for name, aps in edges.items()})
    roots = [value if name.startswith("DET") else math.sqrt(value) for name, value in scores.items()]
    return {"OLS": sum(roots) / 4, **scores}


def _matrix(
    truth: Any, found: Any, distance: Callable[[Any, Any], float], factors: Sequence[float]
) -> list[list[float]]:
    return [[distance(a, b) * factor for b in found] for a, factor in zip(truth, factors, strict=True)]


def _relaxation(lane: Any) -> float:
    return max(0.5, 1 - 0.005 * min(math.hypot(*point) for point in lane))


def _frechet(a: Any, b: Any) -> float:
    """The discrete Fréchet distance; far away at once where the ends already are."""
    first, last = math.dist(a[0], b[0]), math.dist(a[-1], b[-1])
    if max(first, last) > 10:
        return 1024.0
    reached = [[0.0] * len(b) for _ in a]
    for i in range(len(a)):
        for j in range(len(b)):
            ways = [reached[i - 1][j]] * (i > 0) + [reached[i][j - 1]] * (j > 0)
            ways += [reached[i - 1][j - 1]] * (i > 0 and j > 0)
            reached[i][j] = max(min(ways, default=0.0), math.dist(a[i], b[j]))
    return reached[-1][-1]


def _one_minus_iou(a: Any, b: Any) -> float:
    a, b = [float(value) for value in a], [float(value) for value in b]
    inter: float = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union: float = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return 1 - inter / union


def _take(distances: list[list[float]], confidences: Any, threshold: float) -> Taken:
    """Ground truth → the prediction that takes it."""
    taken: Taken = {}
    for pred in sorted(range(len(confidences)), key=lambda pred: -confidences[pred]):
        column = [row[pred] for row in distances]
        if column and min(column) < threshold:
            taken.setdefault(column.index(min(column)), pred)
    return taken


def _lane_ap(taken: Sequence[Taken], frames: Sequence[Frame]) -> float:
    hits = []
    for own, (_, p) in zip(taken, frames, strict=True):
        right = set(own.values())
        hits += [(confidence, pred in right) for pred, confidence in enumerate(p.lane_confidences)]
    return _ap(hits, sum(len(t.lanes) for t, _ in frames))


def _attribute_ap(distances: Sequence[list[list[float]]], frames: Sequence[Frame], attribute: int) -> float:
    hits, count = [], 0
    for matrix, (t, p) in zip(distances, frames, strict=True):
        rows = [i for i, kind in enumerate(t.attributes) if kind == attribute]
        columns = [j for j, kind in enumerate(p.attributes) if kind == attribute]
        confidences = [p.element_confidences[j] for j in columns]
        right = set(_take([[matrix[i][j] for j in columns] for i in rows], confidences, 0.75).values())
        hits += [(confidence, index in right) for index, confidence in enumerate(confidences)]
        count += len(rows)
    return _ap(hits, count)


def _ap(hits: list[tuple[float, bool]], count: int) -> float:
    if not hits and not count:
        return 1.0
    points, tp = [], 0
    for rank, (_, right) in enumerate(sorted(hits, key=lambda hit: -hit[0]), start=1):
        tp += right
        points.append((tp, tp / rank))
    # Recall tp / count reaches k / 10 where 10 tp ≥ k count: no rounding.
    best = [max((precision for tp, precision in points if 10 * tp >= k * count), default=0.0) for k in range(11)]
    return sum(best) / 11


def _levels(taken: Taken, confidences: Any, count: int) -> list[float]:
    if not len(confidences):
        return [math.inf] * 10
    right, order = set(taken.values()), sorted(range(len(confidences)), key=lambda pred: -confidences[pred])
    recalls, tp = [], 0
    for pred in order:
        tp += pred in right
        recalls.append(tp)
    levels = []
    for tenth in range(1, 11):
        # Position n·q - 3/2 in a list that begins at 0, rounded up; down where it is an even whole number.
        twice = 2 * len(order) * (tenth * 10 / 100) - 3
        down = math.floor(twice / 2)
        index = max(down if twice / 2 == down and down % 2 == 0 else down + 1, 0)
        last = max(rank for rank, recall in enumerate(recalls) if recall == recalls[index])
        levels.append(float(confidences[order[last]]))
    return levels


def _vertices(truth: Any, predicted: Any, rows: Taken, columns: Taken, false: float) -> list[float]:
    height, width = len(truth), len(truth[0]) if len(truth) else 0
    if not height or not width:
        return []
    guess = [
        [
            float(predicted[rows[i]][columns[j]]) if i in rows and j in columns else (1 - int(truth[i][j])) * false
            for j in range(width)
        ]
        for i in range(height)
    ]
    forward = [_vertex(truth[i], guess[i]) for i in range(height)]
    return forward + [_vertex([row[j] for row in truth], [row[j] for row in guess]) for j in range(width)]


def _vertex(truth: Any, guess: Sequence[float]) -> float:
    chosen = sorted((j for j, confidence in enumerate(guess) if confidence > 0.5), key=lambda j: -guess[j])
    neighbours = sum(map(bool, truth))
    if not neighbours or not chosen:
        return float(not neighbours and not chosen)
    tp, total = 0, 0.0
    for rank, j in enumerate(chosen, start=1):
        if truth[j]:
            tp += 1
            total += tp / rank
    return total / neighbours
