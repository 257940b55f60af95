"""A run's boxes as a nuScenes detection submission: in the global frame, every evaluated sample in it.

What the format cannot express is settled as the models' authors settle it: a box without an attribute gets the one that
its class and speed suggest (mmdet3d, `NuScenesDataset._format_bbox`), an unknown velocity is zero, and of more than 500
boxes the most confident stay. A failed sample has no boxes. Boxes that a run took from a submission are written back
unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.detection_3d.box_table import BoxTable, groups
from admlops.evaluation.detection_3d.boxes import ATTRIBUTES, multiply, rotations
from admlops.results.record import Metadata

META = {"use_camera": True, "use_lidar": False, "use_radar": False, "use_map": False, "use_external": False}

Results = dict[str, list[dict[str, Any]]]
"""A submission's `results`: sample token → its boxes, in the order of the records."""


def make_submission(boxes: BoxTable, metadata: Sequence[Metadata], samples: Mapping[str, Mapping[str, Any]]) -> Results:
    """Return the submission's results; `samples` holds, by token, each sample in the shape of docs/architecture.md.

    Args:
        metadata: of the records that `boxes` was made from, in their order.

    Raises:
        DataError: a record's sample is not in `samples`.
    """
    for entry in metadata:
        if entry.sample_token not in samples:
            raise DataError(
                f"the record of sample {entry.sample_token} ({entry.scene}) belongs to no sample of this data set",
                hint="pass the --data and --version that the run was made with",
            )
    results: Results = {entry.sample_token: [] for entry in metadata}
    attribute = boxes.filled_attributes()
    for index, start, end in groups(boxes.sample):
        token = metadata[index].sample_token
        results[token] = _to_global(boxes, attribute, slice(start, end), token, samples[token]["ego2global"])
    return results


def _to_global(
    boxes: BoxTable, attribute: Any, rows: slice, token: str, pose: Mapping[str, Any]
) -> list[dict[str, Any]]:
    center, size, quaternion, _ = np.split(boxes.geometry[rows], [3, 6, 10], axis=1)
    unit = np.asarray([pose["rotation_wxyz"]], dtype=np.float64)
    (rotation,) = rotations(unit)
    # mmdet3d calls an unknown velocity zero; the devkit would leave such a box out of mAVE, and so flatter the model.
    drift = boxes.velocities()[rows] @ rotation[:2, :2].T
    placed = center @ rotation.T + pose["translation"]
    if boxes.verbatim:
        placed = np.where(np.isnan(boxes.given[rows]), placed, boxes.given[rows])
    moved = multiply(np.broadcast_to(unit / np.linalg.norm(unit), quaternion.shape), quaternion)
    columns = (
        placed.tolist(),
        size.tolist(),
        moved.tolist(),
        drift.tolist(),
        boxes.label[rows].tolist(),
        boxes.score[rows].tolist(),
        attribute[rows].tolist(),
    )
    return [
        {
            "sample_token": token,
            "translation": translation,
            "size": wlh,
            "rotation": wxyz,
            "velocity": speed,
            "detection_name": CLASSES[label],
            "detection_score": score,
            "attribute_name": ATTRIBUTES[number],
        }
        for translation, wlh, wxyz, speed, label, score, number in zip(*columns, strict=True)
    ]
