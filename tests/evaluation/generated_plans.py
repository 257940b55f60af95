"""Seeded planning and motion samples in the shape of VAD's annotations and outputs: some 21 others each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.trajectories.arrays import STEPS, MotionPrediction, MotionTruth, PlanTruth, Traffic, positions

Array = NDArray[np.float32]

SIZES_WLH = np.array(
    [[1.9, 4.6, 1.7], [2.5, 7, 2.8], [2.9, 6.4, 3.2], [2.9, 11, 3.5], [2.9, 12.3, 3.9], [2.5, 0.5, 1], [0.8, 2.1, 1.5],
     [0.6, 1.7, 1.3], [0.7, 0.7, 1.8], [0.4, 0.4, 1.1]]
)  # fmt: skip
CATEGORIES = np.array([17, 23, 18, 16, 22, 9, 21, 14, 4, 12])
"""VAD's category number of each of the ten detection classes."""

CHANCES = np.array([0.4, 0.07, 0.02, 0.03, 0.03, 0.12, 0.02, 0.02, 0.2, 0.09])


VAD_PEOPLE = range(2, 9)
VAD_VEHICLES = range(14, 24)
"""VAD's numbers of nuScenes categories; the rest, such as barriers, is not in the way."""


def traffic_of_vad(boxes: Array, features: Array) -> Traffic:
    """The traffic in VAD's annotations: `gt_bboxes_3d` (A, 7 or 9) and `gt_attr_labels` (A, 34), in single precision.

    Boxes are x, y, z, width, length, height, yaw of mmdet3d 0.17; features are six steps x, y, six masks, a goal, nine
    numbers of state with the category last, and six turns.
    """
    boxes, features = boxes.astype(np.float32), features.astype(np.float32)
    yaw = np.float32(-1) * (boxes[:, 6:7] + np.float32(np.pi / 2))
    category = features[:, 3 * STEPS + 9].astype(int)
    return Traffic(
        positions=np.cumsum(features[:, : 2 * STEPS].reshape(-1, STEPS, 2), axis=1) + boxes[:, np.newaxis, :2],
        yaws=np.cumsum(features[:, 3 * STEPS + 10 : 4 * STEPS + 10], axis=1) + yaw,
        sizes_lw=boxes[:, [4, 3]],
        present=features[:, 2 * STEPS : 3 * STEPS] == 1,
        vehicle=np.isin(category, VAD_VEHICLES),
        person=np.isin(category, VAD_PEOPLE),
    )


@dataclass(frozen=True)
class Sample:
    """One sample as VAD has it. `plan` and `path` are steps (6, 2); `modes` (N, 6, 6, 2) steps of predicted futures."""

    boxes: Array
    features: Array
    labels: NDArray[np.int64]
    plan: Array
    path: Array
    known: NDArray[np.bool_]
    found_boxes: Array
    found_labels: NDArray[np.int64]
    found_scores: Array
    modes: Array

    def for_planning(self) -> tuple[Array, PlanTruth]:
        truth = PlanTruth(
            path=positions(self.path),
            known=self.known,
            traffic=traffic_of_vad(self.boxes, self.features),
        )
        return positions(self.plan), truth

    def for_motion(self) -> tuple[MotionTruth, MotionPrediction]:
        truth = MotionTruth(
            centers=self.boxes[:, :2],
            labels=self.labels,
            steps=self.features[:, :12].reshape(-1, 6, 2),
            known=self.features[:, 12:18] == 1,
        )
        found = MotionPrediction(
            centers=self.found_boxes[:, :2], labels=self.found_labels, scores=self.found_scores, steps=self.modes
        )
        return truth, found


def generate_plans(count: int, *, seed: int = 0) -> list[Sample]:
    """Samples with some collisions; a few end outside of the grid and a few futures are cut short."""
    return [_sample(np.random.default_rng((seed, index))) for index in range(count)]


def _sample(rng: np.random.Generator) -> Sample:
    count = int(rng.poisson(21))
    labels = rng.choice(10, count, p=CHANCES / CHANCES.sum())
    boxes = np.zeros((count, 9))
    boxes[:, :2] = rng.uniform(-52, 52, (count, 2)) * rng.choice([0.25, 1.0], (count, 1))
    boxes[:, 3:6] = SIZES_WLH[labels] * rng.normal(1, 0.08, (count, 3))
    boxes[:, 6] = rng.choice([0, np.pi / 2, np.pi, -np.pi / 2], count) + rng.normal(0, 0.2, count)
    features = np.zeros((count, 34))
    speed = rng.gamma(1.0, 2.0, count) * (rng.uniform(size=count) < 0.5)
    heading = -boxes[:, 6] - np.pi / 2
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1)[:, np.newaxis] * (speed / 2)[:, np.newaxis, np.newaxis]
    features[:, :12] = (steps + rng.normal(0, 0.05, (count, 6, 2))).reshape(count, 12)
    length = np.where(rng.uniform(size=count) < 0.7, 6, rng.integers(0, 6, count))
    features[:, 12:18] = np.arange(6) < length[:, np.newaxis]
    features[:, 27] = CATEGORIES[labels]
    features[:, 28:] = rng.normal(0, 0.03, (count, 6))
    path = _path(rng)
    plan = path + rng.normal(0, 0.12, (6, 2)) + rng.normal(0, 0.1, 2)
    whole = rng.uniform() < 0.9
    found = rng.permutation(count)[: max(0, count - int(rng.integers(0, 4)))]
    false = int(rng.poisson(8))
    found_boxes = np.zeros((len(found) + false, 9))
    found_boxes[: len(found)] = boxes[found] + rng.normal(0, 0.5, (len(found), 9))
    found_boxes[len(found) :, :2] = rng.uniform(-30, 30, (false, 2))
    modes = rng.normal(0, 0.4, (len(found_boxes), 6, 6, 2))
    modes[: len(found)] += features[found, :12].reshape(-1, 1, 6, 2)
    found_labels = np.concatenate([labels[found], rng.integers(0, 10, false)])
    mixed = rng.uniform(size=len(found_labels)) < 0.05
    found_labels[mixed] = rng.integers(0, 10, int(mixed.sum()))
    scores = np.concatenate([rng.beta(6, 2, len(found)), rng.beta(2, 4, false)])
    return Sample(
        boxes=boxes.astype(np.float32),
        features=features.astype(np.float32),
        labels=labels.astype(np.int64),
        plan=plan.astype(np.float32),
        path=path.astype(np.float32),
        known=np.ones(6, bool) if whole else np.arange(6) < rng.integers(0, 6),
        found_boxes=found_boxes.astype(np.float32),
        found_labels=found_labels.astype(np.int64),
        found_scores=scores.astype(np.float32),
        modes=modes.astype(np.float32),
    )


def _path(rng: np.random.Generator) -> NDArray[np.float64]:
    """Six steps, mostly straight ahead, sometimes turning or backwards; one in twenty leaves the grid."""
    speed = rng.gamma(2.0, 2.0) * (25 if rng.uniform() < 0.05 else 1) * (-1 if rng.uniform() < 0.05 else 1)
    heading = rng.normal(0, 0.08) * np.arange(6) + np.pi / 2
    return np.stack([np.cos(heading), np.sin(heading)], axis=1) * speed / 2
