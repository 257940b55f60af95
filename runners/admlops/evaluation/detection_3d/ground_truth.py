"""Annotations in the form that the detection protocols compute with."""

from __future__ import annotations

import numpy as np

from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.datasets.annotations import Annotations
from admlops.evaluation.detection_3d.boxes import (
    ATTRIBUTE_INDEX,
    CLASS_INDEX,
    Boxes,
    GroundTruth,
    Racks,
    rotations,
    yaws,
)

RACK_CATEGORY = "static_object.bicycle_rack"
NOT_DETECTED = -1


def make_ground_truth(annotations: Annotations) -> GroundTruth:
    """The boxes of the detection classes, and the bicycle racks."""
    labels = np.array(
        [CLASS_INDEX.get(CATEGORY_CLASSES.get(name, ""), NOT_DETECTED) for name in annotations.category], dtype=np.int8
    )
    rows = np.flatnonzero(labels != NOT_DETECTED)
    racks = np.flatnonzero(np.array([name == RACK_CATEGORY for name in annotations.category], dtype=np.bool_))
    boxes = Boxes(
        sample=annotations.sample[rows],
        label=labels[rows],
        center=annotations.center[rows],
        size=annotations.size[rows],
        yaw=yaws(annotations.rotation[rows]),
        velocity=annotations.velocity[rows],
        attribute=np.array([ATTRIBUTE_INDEX[annotations.attribute[row]] for row in rows.tolist()], dtype=np.int8),
        score=np.zeros(len(rows)),
        number=rows.astype(np.int32),
    )
    return GroundTruth(
        samples=annotations.samples,
        ego=annotations.ego,
        rotation=annotations.ego_rotation,
        boxes=boxes,
        points=annotations.points[rows],
        visibility=annotations.visibility[rows],
        tokens=annotations.tokens,
        racks=Racks(
            sample=annotations.sample[racks],
            center=annotations.center[racks],
            size=annotations.size[racks],
            rotation=rotations(annotations.rotation[racks]),
        ),
    )
