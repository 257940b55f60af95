"""How far a matched prediction is from its ground truth: the five true-positive errors of nuScenes.

Source: nuscenes-devkit 1.2.0, `nuscenes/eval/common/utils.py`.
"""

from __future__ import annotations

import numpy as np

from admlops.evaluation.detection_3d.boxes import CLASS_INDEX, Boxes, Floats

ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
"""The devkit's names in the order of its means: translation [m], 1 - IoU, yaw [rad], velocity [m/s], 1 - accuracy."""

UNDEFINED = {"traffic_cone": ("attr_err", "vel_err", "orient_err"), "barrier": ("attr_err", "vel_err")}
"""Errors that mean nothing for a class; they are left out of the means over classes."""

BARRIER = CLASS_INDEX["barrier"]
"""A barrier looks the same from both sides, so its yaw is known up to half a turn only."""


def measure_errors(predictions: Boxes, truth: Boxes) -> Floats:
    """The errors of N pairs (row n of one with row n of the other), (N, 5) in the order of ERRORS.

    NaN where one is not defined: a velocity is unknown, or the ground truth states no attribute.
    """
    away = predictions.center[:, :2] - truth.center[:, :2]
    drift = predictions.velocity - truth.velocity
    right = np.where(truth.attribute == 0, np.nan, predictions.attribute == truth.attribute)
    return np.stack(
        [
            np.sqrt(away[:, 0] * away[:, 0] + away[:, 1] * away[:, 1]),
            1 - _scale_iou(predictions.size, truth.size),
            _yaw_difference(predictions, truth),
            np.sqrt(drift[:, 0] * drift[:, 0] + drift[:, 1] * drift[:, 1]),
            1 - right,
        ],
        axis=1,
    )


def _scale_iou(a: Floats, b: Floats) -> Floats:
    """The intersection over union of boxes of these sizes with the same centre and heading."""
    common = np.minimum(a, b)
    intersection = common[:, 0] * common[:, 1] * common[:, 2]
    union = a[:, 0] * a[:, 1] * a[:, 2] + b[:, 0] * b[:, 1] * b[:, 2] - intersection
    overlap: Floats = intersection / union
    return overlap


def _yaw_difference(predictions: Boxes, truth: Boxes) -> Floats:
    """The angle between the headings, in [0, π], for barriers in [0, π/2]."""
    period = np.where(truth.label == BARRIER, np.pi, 2 * np.pi)
    difference: Floats = np.abs((truth.yaw - predictions.yaw + period / 2) % period - period / 2)
    return difference
