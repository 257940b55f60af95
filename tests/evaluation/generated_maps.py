"""Seeded vector maps with realistic statistics: what a head with 50 queries says of some eleven elements a sample."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from admlops.datasets.nuscenes.vector_map import MapVector
from admlops.evaluation.vector_map.element_table import Predictions

CLASSES = ("divider", "ped_crossing", "boundary")
MEAN_COUNTS = (5.0, 1.8, 4.0)
PREDICTIONS = 50
PREDICTED_POINTS = 20

Points = NDArray[np.float64]
Element = tuple[str, Points]
Prediction = tuple[str, Points, float]


def generate_maps(samples: int, *, seed: int = 0) -> tuple[list[list[Prediction]], list[list[Element]]]:
    """Predictions (in an unsorted order, confidences in single precision without ties) and ground truth by sample."""
    rng = np.random.default_rng(seed)
    confidences = iter(_distinct(rng, samples * PREDICTIONS))
    predictions, truth = [], []
    for _ in range(samples):
        there = [
            (name, _element(name, rng))
            for name, mean in zip(CLASSES, MEAN_COUNTS, strict=True)
            for _ in range(rng.poisson(mean))
        ]
        found = [_predicted(name, line, rng) for name, line in there for _ in range(int(rng.integers(0, 4)))]
        while len(found) < PREDICTIONS:
            name = CLASSES[int(rng.choice(3, p=(0.45, 0.15, 0.4)))]
            found.append(_predicted(name, _element(name, rng), rng))
        order = rng.permutation(len(found))[:PREDICTIONS]
        predictions.append([(*found[index], float(next(confidences))) for index in order])
        truth.append(there)
    return predictions, truth


def _distinct(rng: np.random.Generator, count: int) -> Points:
    """Confidences, most of them low, no two of them equal even in single precision."""
    values = np.unique(rng.beta(0.6, 3.0, 3 * count).astype(np.float32))
    return rng.permutation(values)[:count].astype(np.float64)


def _element(name: str, rng: np.random.Generator) -> Points:
    centre = rng.uniform((-14, -29), (14, 29))
    if name == "ped_crossing":
        length, width = rng.uniform(6, 16), rng.uniform(2.5, 5)
        box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * (length / 2, width / 2)
        return _turn(box, rng.normal(0, 0.15) + rng.choice([0, math.pi / 2])) + centre
    count = int(rng.integers(4, 60))
    length = min(rng.gamma(3.0, 8.0) + 2, 60.0)
    along = np.linspace(-length / 2, length / 2, count)
    bend = rng.normal(0, 0.01) * along**2
    line = _turn(np.stack([along, bend], axis=1), math.pi / 2 + rng.normal(0, 0.25))
    return np.clip(line + centre, (-15, -30), (15, 30))


def _turn(points: Points, angle: float) -> Points:
    cosine, sine = math.cos(angle), math.sin(angle)
    turned: Points = points @ np.array([[cosine, sine], [-sine, cosine]])
    return turned


def _predicted(name: str, line: Points, rng: np.random.Generator) -> Element:
    """The line at 20 points, moved as a whole and a little at every point; some run the other way."""
    share = np.linspace(0, len(line) - 1, PREDICTED_POINTS)
    low = np.minimum(share.astype(int), len(line) - 2)
    moved = line[low] + (share - low)[:, np.newaxis] * (line[low + 1] - line[low])
    moved = moved + rng.normal(0, 0.1, moved.shape) + rng.normal(0, 0.6, 2)
    return name, (moved[::-1] if rng.uniform() < 0.2 else moved).astype(np.float32).astype(np.float64)


def found_of(predictions: Sequence[Sequence[Prediction]], classes: Sequence[str]) -> dict[str, dict[str, Predictions]]:
    """Predictions as the evaluation takes them, by the number of their sample and by class."""
    return {str(index): {name: _of_class(own, name) for name in classes} for index, own in enumerate(predictions)}


def _of_class(found: Sequence[Prediction], name: str) -> Predictions:
    own = [(points, confidence) for kind, points, confidence in found if kind == name]
    return Predictions(
        lines=tuple(points for points, _ in own),
        confidences=np.array([confidence for _, confidence in own], dtype=float),
        ids=tuple(range(len(own))),
    )


def truth_of(truth: Sequence[Sequence[Element]]) -> dict[str, list[MapVector]]:
    """Ground truth as the evaluation takes it, by the number of its sample."""
    return {str(i): [MapVector(type=kind, points=points) for kind, points in own] for i, own in enumerate(truth)}
