"""How far a student finds what its teacher finds: boxes of both, matched."""

from typing import Any, Dict, Iterable, List

import numpy as np
import torch

from .boxes import Boxes, decode, overlaps_between
from .config import Config

THRESHOLD = 0.35
"""The confidence from which a box counts: `operating_threshold` of model.toml."""
SAME_IOU = 0.5


def measure_agreement(student: Any, teacher: Any, pictures: Iterable[Any], config: Config) -> Dict[str, Any]:
    """Match the boxes of both, picture by picture, those of one class and with an IoU of SAME_IOU or more.

    Args:
        student, teacher: modules as `nanodet.network.Network`; both are set to evaluation.
        pictures: inputs of them, each (1, 3, size, size).

    Returns:
        `agreement_recall`, the share of the teacher's boxes that the student has too; `agreement_precision`, the share
        of the student's that the teacher has; None without any box. And how many each has, and `pictures`.
    """
    found = seen = own = theirs = 0
    for network in (student, teacher):
        network.eval()
    for picture in pictures:
        ours, wanted = (_find(network, picture, config) for network in (student, teacher))
        found += _match(ours, wanted)
        seen, own, theirs = seen + 1, own + len(ours.classes), theirs + len(wanted.classes)
    return {
        "agreement_recall": found / theirs if theirs else None,
        "agreement_precision": found / own if own else None,
        "boxes": own,
        "teacher_boxes": theirs,
        "pictures": seen,
    }


def _find(network: Any, picture: Any, config: Config) -> Boxes:
    with torch.inference_mode():
        scores, distances = network(picture)
    levels: List[List[np.ndarray]] = [
        [torch.sigmoid(one)[0].cpu().numpy() for one in scores],
        [one[0].cpu().numpy() for one in distances],
    ]
    boxes = decode(*levels, config)
    sure = boxes.confidences >= THRESHOLD
    return Boxes(boxes.corners[sure], boxes.confidences[sure], boxes.classes[sure])


def _match(ours: Boxes, wanted: Boxes) -> int:
    """Count the teacher's boxes that have one of the student's, each of which is taken once, the surest first."""
    overlaps = overlaps_between(ours.corners, wanted.corners)
    same = (overlaps >= SAME_IOU) & (ours.classes[:, None] == wanted.classes[None])
    left = np.ones(len(wanted.classes), bool)
    for row, own in enumerate(same):
        fitting = np.flatnonzero(own & left)
        if len(fitting):
            left[fitting[np.argmax(overlaps[row, fitting])]] = False
    return int((~left).sum())
