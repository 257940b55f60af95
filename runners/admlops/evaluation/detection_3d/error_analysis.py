"""Classify the boxes of a run, and of a single sample, as right or wrong.

A box is a match within 2 m of the centre, on the ground plane, of a box of its class, the most confident first
(nuScenes' threshold for true-positive errors). Boxes that the detection protocol does not count are left out: those out
of range, ground truth without a LiDAR or radar point, and cycles in bicycle racks.

The boxes of a run are classified by the matching that gave its metrics (`classify_run`), a single sample by the same
rule (`match_sample`), which knows no racks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from admlops.core.nuscenes_classes import CLASSES
from admlops.datasets.nuscenes.tables import GroundTruthBox
from admlops.evaluation.detection_3d.boxes import Integers, Mask
from admlops.evaluation.detection_3d.confusion import ConfusionMatrix, confuse
from admlops.evaluation.detection_3d.scores import ERROR_COLUMN, Matching
from admlops.evaluation.error_analysis import UNMATCHED, ClassMatch, TaskErrors, best_confidence
from admlops.results.record import Detection3D

MATCH_DISTANCE_M = 2.0


@dataclass(frozen=True, kw_only=True)
class BoxErrors:
    """Every box of a run, classified at its class's confidence in `operating_points`.

    Attributes:
        counts: (S,) errors in each sample.
        wrong, right: rows of the predictions at or above the operating points, ranked by confidence.
        missed: rows of the ground truth.
    """

    matching: Matching
    operating_points: Mapping[str, float]
    counts: Integers
    wrong: Integers
    right: Integers
    missed: Integers

    def confusion(self) -> ConfusionMatrix:
        """Count which class was taken for which, over all samples."""
        boxes = self.matching.predictions
        return confuse(
            right=boxes.take(self.right),
            wrong=boxes.take(self.wrong),
            missed=self.matching.truth.boxes.take(self.missed),
            distance_m=MATCH_DISTANCE_M,
        )

    def of_sample(self, sample: int) -> TaskErrors:
        """Return the boxes of one sample, classified."""
        boxes, truth = self.matching.predictions, self.matching.truth
        own = [rows[boxes.sample[rows] == sample] for rows in (self.right, self.wrong)]
        missed = self.missed[truth.boxes.sample[self.missed] == sample]
        return TaskErrors(
            matched=tuple(boxes.number[own[0]].tolist()),
            missed=tuple(truth.tokens[number] for number in truth.boxes.number[missed].tolist()),
            false_alarms=tuple(boxes.number[own[1]].tolist()),
        )


def classify_run(matching: Matching, ran: Mask) -> BoxErrors:
    """Classify the boxes of all samples; `ran` (S,) says which samples have outputs, the others have no errors."""
    boxes, truth = matching.predictions, matching.truth.boxes
    partners = matching.partners[ERROR_COLUMN]
    judged = ran[truth.sample]
    cutoffs = {}
    for index, name in enumerate(CLASSES):
        rows = np.flatnonzero(boxes.label == index)
        there = int((judged & (truth.label == index)).sum())
        cutoffs[name] = best_confidence(boxes.score[rows], partners[rows] != UNMATCHED, truth=there)
    limits = np.array(list(cutoffs.values()))
    shown = matching.order[(boxes.score >= limits[boxes.label])[matching.order]]
    found = partners[shown] != UNMATCHED
    taken = np.zeros(len(truth), np.bool_)
    taken[partners[shown[found]]] = True
    missed = np.flatnonzero(judged & ~taken)
    wrong = shown[~found]
    return BoxErrors(
        matching=matching,
        operating_points=cutoffs,
        counts=np.bincount(boxes.sample[wrong], minlength=len(ran))
        + np.bincount(truth.sample[missed], minlength=len(ran)),
        wrong=wrong,
        right=shown[found],
        missed=missed,
    )


def match_sample(
    detections: Sequence[Detection3D], truth: Sequence[GroundTruthBox], class_range: Mapping[str, float]
) -> dict[str, ClassMatch]:
    """Match each class's boxes of one sample with its ground truth; `class_range` [m] as in the detection protocol."""
    matches = {}
    for name, limit_m in class_range.items():
        found = [box for box in detections if box.class_name == name and _reach(box.bbox_3d.center) < limit_m]
        there = [
            box
            for box in truth
            if box.class_name == name and _reach(box.center) < limit_m and box.num_lidar_pts + box.num_radar_pts > 0
        ]
        matches[name] = ClassMatch(
            confidences=np.array([box.confidence for box in found], dtype=np.float64),
            ids=tuple(box.id for box in found),
            partners=_nearest_first(found, there),
            truth=tuple(box.token for box in there),
        )
    return matches


def _nearest_first(found: Sequence[Detection3D], there: Sequence[GroundTruthBox]) -> NDArray[np.intp]:
    """Each box's partner: in order of confidence the nearest ground truth that is not taken yet, within reach."""
    partners = np.full(len(found), UNMATCHED, dtype=np.intp)
    if not found or not there:
        return partners
    centers = np.array([box.bbox_3d.center[:2] for box in found])
    free = np.linalg.norm(centers[:, np.newaxis] - np.array([box.center[:2] for box in there]), axis=-1)
    # Of equal confidences the later box first, as the detection protocol has it.
    for index in sorted(range(len(found)), key=lambda index: (-found[index].confidence, -index)):
        nearest = int(free[index].argmin())
        if free[index, nearest] < MATCH_DISTANCE_M:
            partners[index] = nearest
            free[:, nearest] = np.inf
    return partners


def _reach(center: Sequence[float]) -> float:
    return float(np.hypot(center[0], center[1]))
