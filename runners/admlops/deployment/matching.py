"""Puts the outputs of two engines side by side as sets: matched within their class, never row by row.

The order of outputs flips at rounding errors, so equal networks differ by metres row by row and by millimetres matched.
Pairs are those of the cheapest assignment (Kuhn 1955, as SciPy solves it) within a class and a reach.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec import UNSET

from admlops.deployment.bounds import SCORE_TIE
from admlops.results.record import Record

REACH_M = 1.0
REACH_IOU = 0.5
SCORE_WEIGHT = 0.5
"""The cost of a score difference of 1, beside a metre or an IoU of 1: it tells apart boxes that lie on each other."""
SIZE_WEIGHT = 0.1
Item = Any
Measure = Callable[[Item, Item], Mapping[str, float]]


@dataclass(kw_only=True)
class Matched:
    """What became of the outputs of one task in two runs.

    `outputs` counts those of both; `ties` are unmatched ones beside the last kept score, and `flips` pairs whose labels
    differ. `largest` is the largest difference by quantity: `centre_m`, `size_m`, `yaw_rad`, `velocity_m_s`, `score`,
    `iou_lost`, `points_m`.
    """

    task: str
    outputs: int = 0
    matched: int = 0
    ties: int = 0
    flips: int = 0
    largest: dict[str, float] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)

    @property
    def unmatched(self) -> int:
        """The outputs without a counterpart, ties left out."""
        return self.outputs - 2 * self.matched - self.ties

    @property
    def share(self) -> float:
        """The share of outputs, ties left out, that have a counterpart; 1 where there are none."""
        counted = self.outputs - self.ties
        return 2 * self.matched / counted if counted else 1.0

    @property
    def has_labels(self) -> bool:
        """Tell whether the outputs are answers with a label."""
        return "label" in self.largest

    @property
    def agreement(self) -> float:
        """The share of equal labels; for a task without labels, the share of outputs with a counterpart."""
        if not self.has_labels:
            return self.share
        return (self.matched - self.flips) / self.matched

    def note(self, apart: Mapping[str, float], token: str) -> None:
        """Take the differences of one pair."""
        self.flips += bool(apart.get("label"))
        for name, value in apart.items():
            if value > self.largest.get(name, -1.0):
                self.largest[name], self.where[name] = value, token

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "task": self.task,
            "outputs": self.outputs,
            "matched": self.matched,
            "ties": self.ties,
            "unmatched": self.unmatched,
            "flips": self.flips,
            "share_matched": self.share,
            "largest": dict(self.largest),
            "where": dict(self.where),
        }


SAME_PIXELS = 0.05
"""Two boxes in a picture count as one up to this difference of their corners."""


def match_runs(first: Iterable[Record], second: Iterable[Record]) -> list[Matched]:
    """Match the outputs of two runs over the same samples, task by task. A failed sample has no outputs."""
    found: dict[str, Matched] = {}
    waiting: dict[str, Record] = {}
    others = iter(second)
    for own in first:
        token = own.metadata.sample_token
        # Two runs over the same samples have them in the same order: one record of each is held at a time.
        while token not in waiting and (other := next(others, None)) is not None:
            waiting[other.metadata.sample_token] = other
        counterpart = waiting.pop(token, None)
        if counterpart is not None:
            for part in _parts(own, counterpart):
                _add(found.setdefault(part.task, Matched(task=part.task)), part, token)
    return list(found.values())


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The outputs of one task in one sample: `group` says what may be matched, `cost` is None beyond the reach.

    `score` is what outputs were kept by; None where all are kept, so that there are no ties.
    """

    task: str
    first: Sequence[Item]
    second: Sequence[Item]
    group: Callable[[Item], Any]
    cost: Callable[[Item, Item], float | None]
    measure: Measure
    score: Callable[[Item], float] | None


def _add(matched: Matched, part: _Part, token: str) -> None:
    matched.outputs += len(part.first) + len(part.second)
    groups: dict[Any, tuple[list[Item], list[Item]]] = defaultdict(lambda: ([], []))
    for side, items in enumerate((part.first, part.second)):
        for one in items:
            groups[part.group(one)][side].append(one)
    for firsts, seconds in groups.values():
        pairs = list(_assign(firsts, seconds, part.cost))
        matched.matched += len(pairs)
        for i, j in pairs:
            matched.note(part.measure(firsts[i], seconds[j]), token)
        alone = [one for i, one in enumerate(firsts) if i not in {i for i, _ in pairs}]
        alone += [one for j, one in enumerate(seconds) if j not in {j for _, j in pairs}]
        matched.ties += sum(_is_tie(one, part) for one in alone)


def _is_tie(one: Item, part: _Part) -> bool:
    """Tell whether an output lies beside the last kept score; never if one side gives nothing at all."""
    if part.score is None or not part.first or not part.second:
        return False
    last = min(part.score(other) for other in (*part.first, *part.second))
    return part.score(one) - last <= SCORE_TIE


def _assign(
    firsts: Sequence[Item], seconds: Sequence[Item], cost: Callable[[Item, Item], float | None]
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of the cheapest assignment that are within the reach."""
    if not firsts or not seconds:
        return
    beyond = 1e6
    costs = np.full((len(firsts), len(seconds)), beyond)
    for i, one in enumerate(firsts):
        for j, other in enumerate(seconds):
            own = cost(one, other)
            if own is not None:
                costs[i, j] = own
    from scipy.optimize import linear_sum_assignment  # takes 0.25 s, which commands that match nothing must not pay

    for i, j in zip(*linear_sum_assignment(costs), strict=True):
        if costs[i, j] < beyond:
            yield int(i), int(j)


def _parts(own: Record, other: Record) -> Iterator[_Part]:
    yield from _both(own, other, "detections_3d", lambda one: one.class_name, _cost_3d, _measure_3d)
    yield from _both(own, other, "detections_2d", lambda one: (one.camera, one.class_name), _cost_2d, _measure_2d)
    yield from _both(own, other, "map_elements", lambda one: one.type, _cost_points, _measure_points)
    if own.lane_graph is not UNSET and other.lane_graph is not UNSET:
        pair = own.lane_graph, other.lane_graph
        yield _part("lanes", pair[0].lanes, pair[1].lanes, lambda _: None, _cost_points, _measure_points)
        elements = pair[0].traffic_elements, pair[1].traffic_elements
        yield _part("traffic_elements", *elements, lambda one: one.attribute, _cost_2d, _measure_2d)
    if own.plan is not UNSET and other.plan is not UNSET:
        yield _part("plan", [own.plan], [other.plan], lambda one: one.command, _cost_plan, _measure_plan, score=None)
    yield from _both(
        own, other, "calibration_status", lambda one: (one.camera, one.form), _no_cost, _measure_score, score=None
    )
    yield from _both(own, other, "car_presence", lambda one: one.camera, _no_cost, _measure_score, score=None)


def _confidence(one: Item) -> float:
    return float(one.confidence)


def _part(
    task: str,
    first: Sequence[Item],
    second: Sequence[Item],
    group: Callable[[Item], Any],
    cost: Callable[[Item, Item], float | None],
    measure: Measure,
    *,
    score: Callable[[Item], float] | None = _confidence,
) -> _Part:
    return _Part(task=task, first=first, second=second, group=group, cost=cost, measure=measure, score=score)


def _both(
    own: Record,
    other: Record,
    key: str,
    group: Callable[[Item], Any],
    cost: Callable[[Item, Item], float | None],
    measure: Measure,
    *,
    score: Callable[[Item], float] | None = _confidence,
) -> Iterator[_Part]:
    first, second = getattr(own, key), getattr(other, key)
    if first is not UNSET and second is not UNSET:
        yield _part(key, first, second, group, cost, measure, score=score)


def _cost_3d(a: Item, b: Item) -> float | None:
    apart = math.dist(a.bbox_3d.center, b.bbox_3d.center)
    if apart > REACH_M:
        return None
    size = math.dist(a.bbox_3d.size_wlh, b.bbox_3d.size_wlh)
    return apart + SIZE_WEIGHT * size + SCORE_WEIGHT * abs(float(a.confidence) - float(b.confidence))


def _measure_3d(a: Item, b: Item) -> Mapping[str, float]:
    one, two = a.bbox_3d, b.bbox_3d
    turn = abs(_yaw(one.rotation_wxyz) - _yaw(two.rotation_wxyz)) % (2 * math.pi)
    apart = {
        "centre_m": math.dist(one.center, two.center),
        "size_m": max(abs(x - y) for x, y in zip(one.size_wlh, two.size_wlh, strict=True)),
        "yaw_rad": min(turn, 2 * math.pi - turn),
        "score": abs(a.confidence - b.confidence),
    }
    if one.velocity is not None and two.velocity is not None:
        apart["velocity_m_s"] = math.dist(one.velocity, two.velocity)
    return apart


def _yaw(rotation: Sequence[float]) -> float:
    w, x, y, z = rotation
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def _cost_2d(a: Item, b: Item) -> float | None:
    overlap = _iou(a.bbox_xyxy, b.bbox_xyxy)
    return None if overlap < REACH_IOU else 1 - overlap + SCORE_WEIGHT * abs(a.confidence - b.confidence)


def _measure_2d(a: Item, b: Item) -> Mapping[str, float]:
    return {"iou_lost": 1 - _iou(a.bbox_xyxy, b.bbox_xyxy), "score": abs(a.confidence - b.confidence)}


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2; 1 where no corner differs by more than SAME_PIXELS.

    Networks give boxes of a hundredth of a pixel; the overlap of these depends on rounding alone.
    """
    if max(abs(x - y) for x, y in zip(a, b, strict=True)) <= SAME_PIXELS:
        return 1.0
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0


def _points_apart(a: Item, b: Item) -> float:
    """Return the largest distance between points of the same index [m]; infinite if their numbers differ."""
    if len(a.points) != len(b.points):
        return math.inf
    return max(math.dist(one, other) for one, other in zip(a.points, b.points, strict=True))


def _cost_points(a: Item, b: Item) -> float | None:
    apart = _points_apart(a, b)
    return None if apart > REACH_M else apart + SCORE_WEIGHT * abs(a.confidence - b.confidence)


def _measure_points(a: Item, b: Item) -> Mapping[str, float]:
    return {"points_m": _points_apart(a, b), "score": abs(a.confidence - b.confidence)}


def _cost_plan(a: Item, b: Item) -> float | None:
    return 0.0 if len(a.waypoints) == len(b.waypoints) else None


def _measure_plan(a: Item, b: Item) -> Mapping[str, float]:
    return {"points_m": max((math.dist(x, y) for x, y in zip(a.waypoints, b.waypoints, strict=True)), default=0.0)}


def _no_cost(a: Item, b: Item) -> float | None:
    return 0.0


def _measure_score(a: Item, b: Item) -> Mapping[str, float]:
    return {"score": abs(a.score - b.score), "label": float((a.score >= 0.5) != (b.score >= 0.5))}
