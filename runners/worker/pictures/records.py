"""The standard record's keys for pictures, from what networks give."""

from typing import Any, Dict, Iterable, List, Tuple

from ..samples.errors import DataError
from .coco import CLASSES

Box = Tuple[Tuple[float, float, float, float], float, str]
"""x1, y1, x2, y2 [pixels of the original picture], confidence, class."""


def detection_records(found: Dict[str, Iterable[Box]]) -> List[Dict[str, Any]]:
    """Return `detections_2d` for the boxes of each camera, numbered through, as a network orders them: best first."""
    records: List[Dict[str, Any]] = []
    for camera, boxes in found.items():
        for corners, confidence, name in boxes:
            records.append(
                {
                    "id": len(records),
                    "camera": camera,
                    "class_name": name,
                    "bbox_xyxy": [float(one) for one in corners],
                    "confidence": float(confidence),
                }
            )
    return records


def records_of_rows(found: Dict[str, Any]) -> List[Dict[str, Any]]:
    """Return `detections_2d` for each camera's tensor (n, 6): x1, y1, x2, y2, confidence, COCO's label from 0."""
    return detection_records(
        {name: [(row[:4], row[4], CLASSES[int(row[5])]) for row in rows.tolist()] for name, rows in found.items()}
    )


def presence_records(scores: Dict[str, float]) -> List[Dict[str, Any]]:
    """Return `car_presence` for each camera's score; a sum of probabilities may exceed 1 by rounding alone."""
    return [{"camera": camera, "score": min(1.0, float(score))} for camera, score in scores.items()]


def require_cameras(sample: Dict[str, Any]) -> None:
    """Raise DataError for a sample without a picture."""
    if not sample["cameras"]:
        raise DataError("sample {} has no camera".format(sample["sample_token"]))
