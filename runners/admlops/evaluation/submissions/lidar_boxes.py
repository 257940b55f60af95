"""Boxes of mmdet3d in the LiDAR frame, as the authors' code moves them to the global frame before it writes a file.

Source: VAD 1688c4b, `nuscenes_vad_dataset.py` (`output_to_nusc_box`, `lidar_nusc_box_to_global`, `_format_bbox`);
UniAD dd161b2, `datasets/data_utils/data_utils.py` (the same, without the change of yaw).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.nuscenes_classes import MMDET3D_CLASSES
from admlops.datasets.nuscenes.tables import rotation_matrix
from admlops.evaluation.detection_3d.box_table import choose_attribute
from admlops.evaluation.detection_3d.boxes import multiply
from admlops.evaluation.submissions.base import Sample
from admlops.evaluation.submissions.nuscenes import Box

BOX_NUMBERS = 9
"""x, y, z of the floor's middle, three sizes, yaw, velocity x, y."""

Array = NDArray[Any]


def to_global_boxes(
    boxes: Array, scores: Array, labels: Array, sample: Sample, token: str, *, yaw_from_y: bool
) -> list[Box]:
    """Return boxes as the authors' code writes them: in the global frame, with the attribute of class and speed.

    Args:
        boxes: (N, 9), see BOX_NUMBERS; single precision, as the network gives them.
        labels: (N,) of mmdet3d's ten classes.
        yaw_from_y: whether yaw counts clockwise from the -y axis, as in mmdet3d before 1.0.

    Raises:
        ValueError: the arrays are not of these shapes, or a label is of no class.
    """
    if boxes.ndim != 2 or boxes.shape[1] != BOX_NUMBERS or not len(boxes) == len(scores) == len(labels):
        raise ValueError(f"boxes, scores and labels are {boxes.shape}, {scores.shape} and {labels.shape}")
    if not ((labels >= 0) & (labels < len(MMDET3D_CLASSES))).all():
        raise ValueError(f"a label is {labels[(labels < 0) | (labels >= len(MMDET3D_CLASSES))][0]}")
    center = boxes[:, :3].copy()
    center[:, 2] += boxes[:, 5] * boxes.dtype.type(0.5)
    yaw = -boxes[:, 6] - boxes.dtype.type(np.pi / 2) if yaw_from_y else boxes[:, 6]
    lidar, ego = sample["lidar"]["sensor2ego"], sample["ego2global"]
    place, turned = center.astype(np.float64), _about_z(yaw.astype(np.float64))
    drift = np.concatenate([boxes[:, 7:9], np.zeros((len(boxes), 1))], axis=1).astype(np.float64)
    for pose in (lidar, ego):
        rotation = rotation_matrix(pose["rotation_wxyz"])
        unit = np.asarray([pose["rotation_wxyz"]], dtype=np.float64)
        place = place @ rotation.T + pose["translation"]
        turned = multiply(np.broadcast_to(unit / np.linalg.norm(unit), turned.shape), turned)
        drift = drift @ rotation.T
    speed = np.sqrt(drift[:, 0] ** 2 + drift[:, 1] ** 2)
    names = [MMDET3D_CLASSES[label] for label in labels.tolist()]
    columns = (place, boxes[:, 3:6].astype(np.float64), turned, drift[:, :2], speed, scores)
    return [
        Box(
            sample_token=token,
            translation=tuple(translation),
            size=tuple(size),
            rotation=tuple(rotation),
            velocity=tuple(velocity),
            detection_name=name,
            detection_score=float(score),
            attribute_name=choose_attribute(name, own),
        )
        for name, translation, size, rotation, velocity, own, score in zip(
            names, *(column.tolist() for column in columns), strict=True
        )
    ]


def arrays_of(decoded: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Array]:
    """Return arrays of a network's decoded output, mmdet3d's boxes as their tensor. Raises KeyError: one is missing."""
    return {name: np.asarray(getattr(decoded[key], "tensor", decoded[key])) for name, key in keys.items()}


def _about_z(yaw: Array) -> Array:
    zero = np.zeros(len(yaw))
    return np.stack([np.cos(yaw / 2), zero, zero, np.sin(yaw / 2)], axis=1)
