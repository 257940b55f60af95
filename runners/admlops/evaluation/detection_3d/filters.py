"""Decide which boxes count under a detection protocol.

Sources: nuscenes-devkit 1.2.0, `nuscenes/eval/detection/configs/detection_cvpr_2019.json` and
`nuscenes/eval/common/loaders.py` (`filter_eval_boxes`); VAD, in `projects/mmdet3d_plugin/datasets/`:
`vad_nusc_detection_cvpr_2019.json`, `vad_custom_nuscenes_eval.py` (`filter_eval_boxes`) and `nuscenes_vad_dataset.py`
(`_format_bbox`, `lidar_nusc_box_to_global`).
"""

from __future__ import annotations

import numpy as np

from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.detection_3d.boxes import CLASS_INDEX, Boxes, Floats, GroundTruth, Mask, Racks
from admlops.evaluation.detection_3d.protocols import DetectionProtocol

DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
"""Thresholds of the centre distance, below which a prediction matches; the same in both protocols."""

ERROR_DISTANCE_M = 2.0
"""True-positive errors are those of the matches at this threshold."""

MIN_RECALL = 0.1
MIN_PRECISION = 0.1
MEAN_AP_WEIGHT = 5

CYCLES = (CLASS_INDEX["bicycle"], CLASS_INDEX["motorcycle"])


def ranges_m(protocol: DetectionProtocol) -> Floats:
    """Return the radius of each of CLASSES [m]; infinite where a window decides."""
    limits = protocol.class_range_m or {}
    return np.array([limits.get(name, np.inf) for name in CLASSES])


def submitted(center: Floats, score: Floats, protocol: DetectionProtocol) -> Mask:
    """Which predictions are handed in at all: with VAD, what `_format_bbox` writes.

    Args:
        center: (N, 3) centres [m] in the *ego* frame, x forward, y left.
        score: (N,) confidences.
    """
    sure = score >= protocol.min_score
    if protocol.window_m is None:
        return sure
    return np.asarray(sure & (np.abs(center[:, :2]) <= protocol.window_m).all(axis=1))


def filter_predictions(boxes: Boxes, truth: GroundTruth, protocol: DetectionProtocol) -> Boxes:
    """The predictions that count: in range, and cycles outside of bicycle racks."""
    boxes = boxes.take(in_range(boxes, truth.ego, protocol))
    return boxes.take(~in_racks(boxes, truth.racks))


def filter_truth(truth: GroundTruth, protocol: DetectionProtocol) -> GroundTruth:
    """The ground truth that counts: as for predictions, and only boxes with a LiDAR or radar point."""
    truth = truth.take(in_range(truth.boxes, truth.ego, protocol) & (truth.points != 0))
    return truth.take(~in_racks(truth.boxes, truth.racks))


def in_range(boxes: Boxes, ego: Floats, protocol: DetectionProtocol) -> Mask:
    """Which boxes are near enough; `ego` is the vehicle's position in each sample, (S, 3) [m], global frame."""
    across = boxes.center[:, :2] - ego[boxes.sample, :2]
    if protocol.window_m is not None:
        return np.asarray((np.abs(across) < protocol.window_m).all(axis=1))
    with np.errstate(over="ignore"):  # of a box that is out of every range
        near: Mask = np.sqrt((across**2).sum(axis=1)) < ranges_m(protocol)[boxes.label]
    return near


def in_racks(boxes: Boxes, racks: Racks) -> Mask:
    """Which boxes are cycles with their centre in a bicycle rack of their sample, borders included."""
    inside = np.zeros(len(boxes), dtype=np.bool_)
    if not len(racks.sample):
        return inside
    cycles = np.flatnonzero(np.isin(boxes.label, CYCLES))
    first = np.searchsorted(boxes.sample[cycles], racks.sample, side="left")
    last = np.searchsorted(boxes.sample[cycles], racks.sample, side="right")
    for rack, (start, end) in enumerate(zip(first, last, strict=True)):
        rows = cycles[start:end]
        inside[rows] |= _contains(racks, rack, boxes.center[rows])
    return inside


def _contains(racks: Racks, rack: int, points: Floats) -> Mask:
    """Tell whether the points lie in the rack, measured from one corner along its edges, as the devkit does."""
    width, length, height = racks.size[rack]
    edges = np.diag([-length, -width, -height]) @ racks.rotation[rack].T
    corner = racks.center[rack] + racks.rotation[rack] @ np.array([length, width, height]) / 2
    along = (points - corner) @ edges.T
    inside = (along >= 0) & (along <= (edges**2).sum(axis=1))
    return np.asarray(inside.all(axis=1))
