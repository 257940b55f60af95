"""Planning and motion metrics the plain way: every other is drawn cell by cell, every error summed on its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tests.evaluation.generated_plans import Sample

from admlops.evaluation.trajectories.arrays import PlanTruth

Cell = tuple[int, int]
SIZE = 200


def plain_planning(plans: Sequence[tuple[Any, PlanTruth]], *, uniad: bool) -> dict[str, float]:
    """The nine numbers of a protocol."""
    rows = [_sample(plan, truth, uniad) for plan, truth in plans if uniad or truth.known.all()]
    values = {}
    for index, name in enumerate(("L2", "obj_col", "obj_box_col")):
        for second in (1, 2, 3):
            if uniad:
                parts = [row[index][2 * second - 1] for row in rows]
            else:
                parts = [sum(row[index][: 2 * second]) / (2 * second) for row in rows]
            values[f"{name}_{second}s"] = sum(parts) / len(parts)
    return values


def _sample(plan: Any, truth: PlanTruth, uniad: bool) -> tuple[list[float], list[float], list[float]]:
    distances, points, boxes = [], [], []
    for step in range(6):
        taken = _occupied(truth, step, uniad)
        free = not _ego(truth.path[step], uniad) & taken
        (x, y), (u, v) = plan[step], truth.path[step]
        distances.append(math.hypot(x - u, y - v) if truth.known[step] or not uniad else 0.0)
        points.append(float(free and _point(x, y, uniad) in taken))
        boxes.append(float(free and bool(_ego(plan[step], uniad) & taken)))
    return distances, points, boxes


def _ego(position: Any, uniad: bool) -> set[Cell]:
    """The 8 × 4 cells of the ego vehicle, moved into the grid where they are beyond it."""
    cells = set()
    for row, column in itertools.product(range(97, 105), range(98, 102)):
        ahead = float(position[1]) / 0.5 + row
        r, c = int(ahead if uniad else SIZE - ahead), int(float(position[0]) / 0.5 + column)
        cells.add((min(max(r, 0), SIZE - 1), min(max(c, 0), SIZE - 1)))
    return cells


def _point(x: float, y: float, uniad: bool) -> Cell:
    """UniAD's cell of a point; VAD's is that of half the offset."""
    if uniad:
        return int((y + 49.75) / 0.5), int((x + 49.75) / 0.5)
    return int((24.875 - y) / 0.5), int((24.875 + x) / 0.5)


def _occupied(truth: PlanTruth, step: int, uniad: bool) -> set[Cell]:
    traffic, cells = truth.traffic, set()
    for index in range(len(traffic.positions)):
        counts = traffic.vehicle[index] or (traffic.person[index] and not uniad)
        if traffic.present[index][step] and counts:
            x, y = (float(value) for value in traffic.positions[index][step])
            yaw = float(traffic.yaws[index][step])
            length, width = (float(value) / 2 for value in traffic.sizes_lw[index])
            corners = []
            for along, across in ((length, width), (-length, width), (-length, -width), (length, -width)):
                u = x + along * math.cos(yaw) - across * math.sin(yaw)
                v = y + along * math.sin(yaw) + across * math.cos(yaw)
                corners.append((round((u + 50) / 0.5), round(((v if uniad else -v) + 50) / 0.5)))
            cells |= fill(corners)
    return {(row, column) for row, column in cells if 0 <= row < SIZE and 0 <= column < SIZE}


def fill(corners: Sequence[tuple[int, int]]) -> set[Cell]:
    """The cells (row, column) of a polygon within the grid: its outline, and in each row what lies between."""
    cells: set[Cell] = set()
    crossings: dict[int, list[float]] = {}
    for (x0, y0), (x1, y1) in zip([corners[-1], *corners[:-1]], corners, strict=True):
        cells |= _line(x0, y0, x1, y1)
        upper, run, fall = (x0, x1 - x0, y1 - y0) if y0 < y1 else (x1, x0 - x1, y0 - y1)
        for row in range(min(y0, y1), max(y0, y1)):
            # In 1 / 65536 of a cell; the slope's remainder is cut off.
            down = row - min(y0, y1)
            crossings.setdefault(row, []).append(upper + down * int(run * 65536 / fall) / 65536)
    for row, places in crossings.items():
        cells |= {(row, column) for column in range(math.floor(min(places) + 0.5), math.floor(max(places)) + 1)}
    return cells


def _line(x0: int, y0: int, x1: int, y1: int) -> set[Cell]:
    """Bresenham from left to right: a step aside once the error is more than a half."""
    if x1 < x0:
        x0, y0, x1, y1 = x1, y1, x0, y0
    dx, dy, up = x1 - x0, abs(y1 - y0), -1 if y1 < y0 else 1
    cells, x, y, error = {(y0, x0)}, x0, y0, 0
    for _ in range(max(dx, dy)):
        error += 2 * min(dx, dy)
        aside = error > max(dx, dy)
        error -= 2 * max(dx, dy) * aside
        x += 1 if dx >= dy else aside
        y += up * (1 if dy > dx else aside)
        cells.add((y, x))
    return cells


def plain_motion(samples: Sequence[Sample]) -> dict[str, float]:
    """The eight numbers, by trying assignments one pair after another until none can be bettered."""
    tally: dict[str, dict[str, float]] = {kind: dict.fromkeys(_COUNTS, 0.0) for kind in ("car", "pedestrian")}
    for sample in samples:
        _tally(tally, sample)
    values = {}
    for kind, own in tally.items():
        values[f"minADE_{kind}"] = own["ade"] / own["matched"]
        values[f"minFDE_{kind}"] = own["fde"] / own["whole"]
        values[f"MR_{kind}"] = 1 - own["hits"] / own["whole"]
        values[f"EPA_{kind}"] = (own["hits"] - 0.5 * own["false"]) / own["truths"]
    return values


_COUNTS = ("ade", "fde", "matched", "whole", "hits", "false", "truths")
_KIND = {0: "car", 1: "car", 3: "car", 4: "car", 8: "pedestrian"}


def _tally(tally: dict[str, dict[str, float]], sample: Sample) -> None:
    sure = [index for index, score in enumerate(sample.found_scores) if score > 0.6]
    pairs = _assign(sample, sure)
    for pred in sure:
        kind = _KIND.get(int(sample.found_labels[pred]))
        if kind and pred not in pairs.values():
            tally[kind]["false"] += 1
    for truth, label in enumerate(sample.labels.tolist()):
        if label not in _KIND:
            continue
        own, known = tally[_KIND[label]], int(sample.features[truth, 12:18].sum())
        own["truths"] += known == 6
        if truth not in pairs or not known:
            continue
        pred = pairs[truth]
        path = np.cumsum(sample.features[truth, :12].reshape(6, 2).astype(float), axis=0) + sample.boxes[truth, :2]
        modes = np.cumsum(sample.modes[pred].astype(float), axis=1) + sample.found_boxes[pred, :2]
        errors = [[math.dist(a, b) for a, b in zip(path[:known], mode, strict=False)] for mode in modes]
        own["matched"] += 1
        own["ade"] += min(sum(error) / known for error in errors)
        if known == 6:
            last = min(error[-1] for error in errors)
            own["whole"] += 1
            own["fde"] += last
            own["hits"] += last <= 2.0


def _assign(sample: Sample, sure: Sequence[int]) -> dict[int, int]:
    """Ground truth → prediction of the cheapest one-to-one assignment of pairs within 2 m, a missing pair costing 1e6.

    Pairs within 2 m fall into small groups; in each group every assignment is tried.
    """
    moving = {0, 1, 3, 4, 6, 7, 8}
    near = {
        (truth, pred): math.dist(sample.boxes[truth, :2], sample.found_boxes[pred, :2])
        for truth, label in enumerate(sample.labels.tolist())
        for pred in sure
        if label in moving
        and int(sample.found_labels[pred]) in moving
        and math.dist(sample.boxes[truth, :2], sample.found_boxes[pred, :2]) <= 2.0
    }
    result: dict[int, int] = {}
    left = set(near)
    while left:
        group = {left.pop()}
        while more := {pair for pair in left if any(pair[0] == g[0] or pair[1] == g[1] for g in group)}:
            group |= more
            left -= more
        best = max(
            (chosen for size in range(len(group) + 1) for chosen in itertools.combinations(sorted(group), size)
             if len({t for t, _ in chosen}) == len({p for _, p in chosen}) == size),
            key=lambda chosen: (len(chosen), -sum(near[pair] for pair in chosen)),
        )  # fmt: skip
        result.update(best)
    return result
