"""Which class is taken for which: a confusion matrix of boxes by distance of centres.

The right boxes are the evaluation's own: a prediction at or above its class's operating point within 2 m of a free box
of its class, the most confident first. What is left over on both sides is matched once more, the same way and over all
classes: such a pair is one object under a wrong name. What is left then is a false alarm or missed. So the diagonal,
the missed and the false alarms add up to the counts of `classify_run`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.detection_3d.boxes import Boxes, Integers
from admlops.evaluation.detection_3d.matching import NO_PARTNER, find_pairs, match


@dataclass(frozen=True, kw_only=True)
class ConfusionMatrix:
    """Counts of boxes, (C + 1, C + 1): rows are the truth's classes, columns the predicted ones, in CLASSES' order.

    The last column counts the missed, the last row the false alarms; the last entry of both is 0.
    """

    counts: Integers
    distance_m: float

    def to_json(self) -> dict[str, Any]:
        """Return the form in metrics.json; `missed` and `false_alarms` stand beside the square of classes."""
        return {
            "classes": list(CLASSES),
            "match_distance_m": self.distance_m,
            "matrix": self.counts[:-1, :-1].tolist(),
            "missed": self.counts[:-1, -1].tolist(),
            "false_alarms": self.counts[-1, :-1].tolist(),
        }


def confuse(*, right: Boxes, wrong: Boxes, missed: Boxes, distance_m: float) -> ConfusionMatrix:
    """Count which class was taken for which.

    Args:
        right: the predictions that found ground truth of their class.
        wrong: the other predictions, ranked by confidence.
        missed: the ground truth that no prediction of its class found.
        distance_m: how far apart the centres of one object may be on the ground plane.
    """
    # Without their classes the boxes are matched over all of them, by the rule of the detection protocol.
    left, there = _without_class(wrong), _without_class(missed)
    pairs = find_pairs(left, there, limit_m=distance_m)
    rank = np.arange(len(left), dtype=np.int64)
    partners = match(pairs, rank, predictions=len(left), truth=len(there), threshold_m=distance_m)
    named = np.flatnonzero(partners != NO_PARTNER)
    is_missed = np.ones(len(there), np.bool_)
    is_missed[partners[named]] = False
    size = len(CLASSES)
    counts = np.zeros((size + 1, size + 1), np.int64)
    np.add.at(counts, (right.label, right.label), 1)
    np.add.at(counts, (missed.label[partners[named]], wrong.label[named]), 1)
    counts[:-1, -1] = np.bincount(missed.label[is_missed], minlength=size)
    counts[-1, :-1] = np.bincount(wrong.label[partners == NO_PARTNER], minlength=size)
    return ConfusionMatrix(counts=counts, distance_m=distance_m)


def _without_class(boxes: Boxes) -> Boxes:
    return replace(boxes, label=np.zeros_like(boxes.label))
