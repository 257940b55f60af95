"""Which predicted lane or traffic element takes which ground truth, for many frames at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.lane_graph.lanes import Floats, LanePrediction, LaneTruth
from admlops.evaluation.statistics.ordering import order_descending

ATTRIBUTES = tuple(range(13))
"""OpenLane-V2's: unknown, red, green, yellow, then ten signs."""

LEVELS = 10
"""Devkit 1.0 takes the topology at this many confidences: at 10 %, 20 %, … of the recalls of a frame's predictions."""

FAR = 1024.0
"""The devkit's distance of a pair that cannot match."""

Indices = NDArray[np.intp]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class FrameMatch:
    """Which prediction took which ground truth in one frame: equally long indices `truth` and `prediction`.

    `least` are the confidences at which the topology is taken and `confidence` those of the predictions; only devkit
    1.0 needs them. `ambiguous`: with other orders of equal confidences, other predictions would have taken them.
    """

    truth: Indices
    prediction: Indices
    confidence: Floats
    least: Floats
    ambiguous: bool


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Predictions of some frames, one after another, each with its nearest ground truth and how far that is.

    `first` and `truth_first` are where each frame's predictions and ground truths begin, with the total at the end;
    `nearest` counts within the frame. `hits` are the true positives at each threshold. Attributes are those of traffic
    elements, or zeros.
    """

    confidences: Floats
    nearest: Indices
    first: Indices
    truth_first: Indices
    hits: tuple[Bools, ...]
    ambiguous: tuple[Bools, ...]
    attributes: Indices
    truth_attributes: Indices

    def select(self, index: int, attribute: int | None) -> tuple[Floats, Bools, int]:
        """Confidences, hits at threshold `index` and the number of ground truths, of one attribute or of all."""
        if attribute is None:
            return self.confidences, self.hits[index], int(self.truth_first[-1])
        own = self.attributes == attribute
        return self.confidences[own], self.hits[index][own], int((self.truth_attributes == attribute).sum())

    def frames_of(self, attribute: int | None) -> tuple[Indices, Indices]:
        """The frame, from 0, of each prediction and of each ground truth, of one attribute or of all."""
        found, truth = (np.repeat(np.arange(len(ends) - 1), np.diff(ends)) for ends in (self.first, self.truth_first))
        if attribute is None:
            return found, truth
        return found[self.attributes == attribute], truth[self.truth_attributes == attribute]

    def by_frame(self, index: int, *, averaged: bool) -> list[FrameMatch]:
        """The match of each frame at threshold `index`; `averaged` for devkit 1.0."""
        frames = []
        for frame in range(len(self.first) - 1):
            own = slice(self.first[frame], self.first[frame + 1])
            hits, confidence = self.hits[index][own], self.confidences[own]
            taken = np.nonzero(hits)[0]
            truth = int(self.truth_first[frame + 1] - self.truth_first[frame])
            frames.append(
                FrameMatch(
                    truth=self.nearest[own][taken],
                    prediction=taken,
                    confidence=confidence,
                    least=_levels(hits, confidence, truth) if averaged else confidence[:0],
                    ambiguous=bool(self.ambiguous[index][frame])
                    or (averaged and len(np.unique(confidence)) < len(confidence)),
                )
            )
        return frames


def join_matches(parts: Sequence[Matches]) -> Matches:
    """The frames of several matches, one after another; at least one."""
    plain: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("confidences", "nearest", "attributes", "truth_attributes")
    }
    return Matches(
        **plain,
        first=_join_ends([part.first for part in parts]),
        truth_first=_join_ends([part.truth_first for part in parts]),
        hits=tuple(map(np.concatenate, zip(*(part.hits for part in parts), strict=True))),
        ambiguous=tuple(map(np.concatenate, zip(*(part.ambiguous for part in parts), strict=True))),
    )


def _join_ends(ends: Sequence[Indices]) -> Indices:
    """Where each frame begins, of parts that each begin at 0 and end with their total."""
    return np.concatenate([np.zeros(1, np.intp), np.cumsum(np.concatenate([np.diff(own) for own in ends]))])


def matches_to_arrays(matches: Matches) -> dict[str, NDArray[Any]]:
    """What travels between processes, for `matches_from_arrays`."""
    return {name: np.stack(value) if isinstance(value, tuple) else value for name, value in vars(matches).items()}


def matches_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Matches:
    """The matches that `matches_to_arrays` gave."""
    fields: dict[str, Any] = {name: tuple(value) if value.ndim == 2 else value for name, value in arrays.items()}
    return Matches(**fields)


def match_lanes(
    truths: Sequence[LaneTruth], predictions: Sequence[LanePrediction], thresholds_m: Sequence[float]
) -> Matches:
    """Match lanes by relaxed discrete Fréchet distance below each threshold [m]."""
    pairs = [_near_lanes(t, p, max(thresholds_m)) for t, p in zip(truths, predictions, strict=True)]
    gt_lanes = [truth.lanes[i] for truth, (own, _, _) in zip(truths, pairs, strict=True) for i in own]
    pred_lanes = [prediction.lanes[j] for prediction, (_, own, _) in zip(predictions, pairs, strict=True) for j in own]
    distance = frechet(gt_lanes, pred_lanes)
    distances, start = [], 0
    for truth, prediction, (i, j, relaxation) in zip(truths, predictions, pairs, strict=True):
        matrix = np.full((len(truth.lanes), len(prediction.lanes)), FAR)
        matrix[i, j] = distance[start : start + len(i)] * relaxation[i]
        start += len(i)
        distances.append(matrix)
    return _match(distances, [p.lane_confidences for p in predictions], thresholds_m)


def _near_lanes(truth: LaneTruth, prediction: LanePrediction, limit_m: float) -> tuple[Indices, Indices, Floats]:
    """The pairs (ground truth, prediction) that may be below the limit, and the relaxation of every ground truth.

    The Fréchet distance is at least that of the two first points, and at least that of the two last ones.
    """
    if not len(truth.lanes) or not len(prediction.lanes):
        return np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(len(truth.lanes))
    gt_ends, pred_ends = _ends(truth.lanes), _ends(prediction.lanes)
    closest = np.array([np.sqrt((lane.astype(float) ** 2).sum(axis=1).min()) for lane in truth.lanes])
    relaxation = np.maximum(0.5, 1 - 5e-3 * closest)
    reach = limit_m / relaxation
    step = gt_ends[:, np.newaxis].astype(float) - pred_ends
    i, j = np.nonzero((np.sqrt((step**2).sum(axis=3)) < reach[:, np.newaxis, np.newaxis]).all(axis=2))
    return i, j, relaxation


def _ends(lanes: Sequence[Floats] | Floats) -> Floats:
    """The first and the last point of each lane, (L, 2, 3)."""
    if isinstance(lanes, np.ndarray):
        ends: Floats = lanes[:, [0, -1]]
        return ends
    return np.array([(lane[0], lane[-1]) for lane in lanes])


def frechet(first: Sequence[Floats], second: Sequence[Floats]) -> NDArray[np.float64]:
    """Discrete Fréchet distances [m] of the pairs (first[k], second[k]), lines of (N, 3) and (M, 3), as (K,).

    One step of the recurrence (T. Eiter and H. Mannila, 1994) is done for all pairs at once. Shorter lines are brought
    to the length of the longest by repeating their last point, which leaves the distance as it is.
    """
    if not first:
        return np.zeros(0)
    a, b = _stack(first), _stack(second)
    reached: list[NDArray[np.float64]] = []
    for i in range(a.shape[0]):
        previous, reached = reached, []
        for j in range(b.shape[0]):
            step = a[i] - b[j]
            square = step[0] * step[0] + step[1] * step[1] + step[2] * step[2]
            ways = [*previous[j : j + 1], *(previous[j - 1 : j] if j else []), *reached[j - 1 : j or 0]]
            for way in ways[1:]:
                ways[0] = np.minimum(ways[0], way)
            reached.append(np.maximum(ways[0], square) if ways else square)
    return np.sqrt(reached[-1])


def _stack(lines: Sequence[Floats]) -> NDArray[np.float64]:
    """(N, 3, K) from K lines, N the most points of any."""
    counts = np.array([len(line) for line in lines])
    if (counts == counts[0]).all():
        return np.ascontiguousarray(np.array(lines, dtype=np.float64).transpose(1, 2, 0))
    points = np.concatenate(lines).astype(np.float64)
    column = np.minimum(np.arange(counts.max())[:, np.newaxis], counts - 1)
    return np.ascontiguousarray(points[np.cumsum(counts) - counts + column].transpose(0, 2, 1))


def match_elements(
    truths: Sequence[LaneTruth],
    predictions: Sequence[LanePrediction],
    threshold: float,
    *,
    same_attribute: bool,
) -> Matches:
    """Match traffic elements by 1 - IoU below the threshold, only those of the same attribute or all."""
    distances = []
    for truth, prediction in zip(truths, predictions, strict=True):
        distance = _iou_distance(truth.elements, prediction.elements)
        if same_attribute:
            distance = np.where(truth.attributes[:, np.newaxis] == prediction.attributes, distance, FAR)
        distances.append(distance)
    matches = _match(distances, [p.element_confidences for p in predictions], [threshold])
    return Matches(
        **{
            **vars(matches),
            "attributes": np.concatenate([p.attributes for p in predictions]),
            "truth_attributes": np.concatenate([t.attributes for t in truths]),
        }
    )


def _iou_distance(a: Floats, b: Floats) -> NDArray[np.float64]:
    """1 - IoU of boxes (G, 4) and (P, 4), as (G, P); not a number where neither box has an area."""
    low, high = np.maximum(a[:, np.newaxis, :2], b[:, :2]), np.minimum(a[:, np.newaxis, 2:], b[:, 2:])
    inner = np.maximum(high - low, 0)
    inter = inner[..., 0] * inner[..., 1]
    area_a, area_b = ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]) for box in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        distance: NDArray[np.float64] = 1 - inter / (area_b + area_a[:, np.newaxis] - inter)
    return distance.astype(np.float64)


def _match(
    distances: Sequence[NDArray[np.float64]], confidences: Sequence[Floats], thresholds: Sequence[float]
) -> Matches:
    """Take ground truths, in order of confidence, from distance matrices (G, P) of each frame."""
    nearest = [d.argmin(axis=0) if len(d) else np.zeros(d.shape[1], np.intp) for d in distances]
    apart = [d.min(axis=0) if len(d) else np.full(d.shape[1], np.inf) for d in distances]
    first = np.concatenate([[0], np.cumsum([d.shape[1] for d in distances])]).astype(np.intp)
    truth_first = np.concatenate([[0], np.cumsum([len(d) for d in distances])]).astype(np.intp)
    confidence, index, distance = np.concatenate(confidences), np.concatenate(nearest), np.concatenate(apart)
    frame = np.repeat(np.arange(len(distances)), np.diff(first))
    taken = [
        _take(confidence, index + truth_first[frame], frame, distance < threshold, len(distances))
        for threshold in thresholds
    ]
    return Matches(
        confidences=confidence,
        nearest=index,
        first=first,
        truth_first=truth_first,
        hits=tuple(hits for hits, _ in taken),
        ambiguous=tuple(ambiguous for _, ambiguous in taken),
        attributes=np.zeros(len(confidence), np.intp),
        truth_attributes=np.zeros(truth_first[-1], np.intp),
    )


def _take(confidence: Floats, element: Indices, frame: Indices, near: Bools, frames: int) -> tuple[Bools, Bools]:
    """The true positives, and in which frames another order of equal confidences would give others."""
    order = order_descending(confidence)
    order = order[near[order]]
    _, start = np.unique(element[order], return_index=True)
    hits = np.zeros(len(confidence), dtype=np.bool_)
    hits[order[start]] = True
    best = np.full(int(element.max(initial=0)) + 1, -np.inf)
    best[element[order[start]]] = confidence[order[start]]
    rivals = near & ~hits & (confidence == best[element])
    ambiguous = np.zeros(frames, dtype=np.bool_)
    ambiguous[frame[rivals]] = True
    return hits, ambiguous


def _levels(hits: Bools, confidence: Floats, truth: int) -> Floats:
    """The confidences at which a frame reaches 10 %, 20 %, … 100 % of its recalls, as devkit 1.0 counts them.

    The recalls after each prediction, in order of confidence, are taken at those percentiles by NumPy 1's method
    `closest_observation`; the confidence is that of the last prediction with such a recall.
    """
    if not len(hits):
        return confidence[:0]
    order = order_descending(confidence)
    recall = np.cumsum(hits[order].astype(np.float32)) / np.maximum(np.float32(truth), np.finfo(np.float32).eps)
    position = len(hits) * (np.arange(10, 101, 10) / 100) - 1 - 0.5
    below = np.floor(position)
    observation = np.where((position == below) & (below % 2 == 0), below, below + 1).astype(np.intp).clip(min=0)
    last = np.searchsorted(recall, recall[observation], side="right") - 1
    levels: Floats = confidence[order][last]
    return levels
