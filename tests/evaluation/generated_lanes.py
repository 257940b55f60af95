"""Seeded lane graphs with OpenLane-V2's statistics: some 26 lanes and 6 traffic elements, 300 and 100 predicted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.lane_graph.lanes import LanePrediction, LaneTruth

POINTS = 11
Points = NDArray[np.float32]


def generate_lanes(
    frames: int, *, seed: int = 0, lanes: int = 300, elements: int = 100, decimals: int | None = None
) -> Iterator[tuple[LaneTruth, LanePrediction]]:
    """Frames one after another. Confidences have no ties, or are rounded to `decimals` and then have many."""
    for frame in range(frames):
        rng = np.random.default_rng((seed, frame))
        truth = _truth(rng)
        yield truth, _prediction(truth, rng, lanes, elements, decimals)


def _lines(count: int, rng: np.random.Generator) -> Points:
    """Slightly bent lines (count, 11, 3) of 5 to 50 m within 50 m ahead and behind, 25 m to the sides."""
    start = np.stack([rng.uniform(-50, 50, count), rng.uniform(-25, 25, count), rng.normal(0, 0.3, count)], axis=1)
    heading = rng.choice([0.0, np.pi, np.pi / 2, -np.pi / 2], count) + rng.normal(0, 0.2, count)
    share = np.linspace(0, 1, POINTS)
    turned = heading[:, np.newaxis] + rng.normal(0, 0.3, count)[:, np.newaxis] * share
    along = rng.uniform(5, 50, count)[:, np.newaxis] / (POINTS - 1)
    steps = np.stack([np.cos(turned), np.sin(turned), np.zeros_like(turned)], axis=2) * along[..., np.newaxis]
    steps[:, 0] = 0
    return (start[:, np.newaxis] + np.cumsum(steps, axis=1)).astype(np.float32)


def _boxes(count: int, rng: np.random.Generator) -> Points:
    corner, size = rng.uniform((0, 0), (1400, 900), (count, 2)), rng.uniform(15, 90, (count, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def _truth(rng: np.random.Generator) -> LaneTruth:
    lanes, elements = int(rng.poisson(26)), int(rng.poisson(6))
    return LaneTruth(
        lanes=_lines(lanes, rng),
        elements=_boxes(elements, rng),
        attributes=rng.choice(13, elements, p=(0.1, 0.25, 0.3, *[0.035] * 10)),
        lane_to_lane=(rng.uniform(size=(lanes, lanes)) < 1.2 / max(lanes, 1)).astype(np.int8),
        lane_to_traffic=(rng.uniform(size=(lanes, elements)) < 0.15).astype(np.int8),
    )


def _prediction(
    truth: LaneTruth, rng: np.random.Generator, lanes: int, elements: int, decimals: int | None
) -> LanePrediction:
    lane_of, lane_confidences = _origins(len(truth.lanes), lanes, rng, decimals)
    element_of, element_confidences = _origins(len(truth.elements), elements, rng, decimals)
    lines, boxes = _lines(lanes, rng), _boxes(elements, rng)
    known, seen = lane_of >= 0, element_of >= 0
    moved = np.asarray(truth.lanes)[lane_of[known]] + rng.normal(0, 0.7, (int(known.sum()), 1, 3))
    lines[known] = moved + rng.normal(0, 0.15, moved.shape)
    boxes[seen] = truth.elements[element_of[seen]] + rng.normal(0, 3, (int(seen.sum()), 4))
    attributes = rng.integers(0, 13, elements)
    attributes[seen] = np.where(
        rng.uniform(size=seen.sum()) < 0.8, truth.attributes[element_of[seen]], attributes[seen]
    )
    return LanePrediction(
        lanes=lines,
        elements=boxes,
        attributes=attributes,
        lane_to_lane=_edges(np.asarray(truth.lane_to_lane), lane_of, lane_of, rng, decimals),
        lane_to_traffic=_edges(np.asarray(truth.lane_to_traffic), lane_of, element_of, rng, decimals),
        lane_confidences=lane_confidences,
        element_confidences=element_confidences,
    )


def _origins(
    truth: int, predictions: int, rng: np.random.Generator, decimals: int | None
) -> tuple[NDArray[np.intp], Points]:
    """Which ground truth each prediction sees, -1 for none, and how sure it is."""
    copies = np.repeat(np.arange(truth), rng.integers(0, 4, truth))
    origin = np.full(predictions, -1)
    places = rng.permutation(predictions)[: len(copies)]
    origin[places] = copies[: len(places)]
    confidence = np.where(origin >= 0, rng.beta(3, 2, predictions), rng.beta(0.7, 8, predictions))
    return origin, confidence.astype(np.float32) if decimals is None else confidence.round(decimals).astype(np.float32)


def _edges(
    truth: NDArray[np.int8],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    rng: np.random.Generator,
    decimals: int | None,
) -> Points:
    confidence = rng.random((len(rows), len(columns)), dtype=np.float32) ** 8
    i, j = np.nonzero(rows >= 0)[0], np.nonzero(columns >= 0)[0]
    if truth.size:
        sure = truth[np.ix_(rows[i], columns[j])].astype(bool)
        confidence[np.ix_(i, j)] = np.where(sure, rng.beta(4, 2, sure.shape), rng.beta(1, 6, sure.shape))
    return confidence if decimals is None else confidence.round(decimals)
