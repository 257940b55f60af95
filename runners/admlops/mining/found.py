"""What the records of a run found in each sample, as arrays by place: in space, and in each camera's picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from admlops.core.errors import UsageError
from admlops.evaluation.detection_2d.counting import box_iou
from admlops.evaluation.run_outputs import read_records
from admlops.results.derived_structs import Take
from admlops.results.record import CalibrationStatus, Detection2D, Detection3D, PartialRecord
from admlops.results.run_folder import RunFolder

SPACE = ""
"""The place of boxes in space; a picture's is its camera."""
REACH_M = 2.0
"""Centres that are nearer on the ground are one object's: nuScenes' threshold for true-positive errors."""
SAME_IOU = 0.5
CONFIDENT = 0.3
"""The limit of a class where the run has no operating point of it, in metrics.json."""
KEYS = ("detections_3d", "detections_2d", "calibration_status")

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FoundBoxes:
    """N boxes of one sample in one place.

    Attributes:
        ids: their numbers in the record.
        classes: their names.
        confidences: (N,).
        boxes: (N, 3) centres in space [m, ego frame], or (N, 4) x1, y1, x2, y2 in the picture [pixels].
        velocities: (N, 2) [m/s, ego frame axes], NaN where not estimated; of boxes in pictures NaN.
    """

    ids: tuple[int, ...]
    classes: tuple[str, ...]
    confidences: Floats
    boxes: Floats
    velocities: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, chosen: NDArray[np.bool_]) -> FoundBoxes:
        """The chosen boxes."""
        rows = np.flatnonzero(chosen).tolist()
        return FoundBoxes(
            ids=tuple(self.ids[row] for row in rows),
            classes=tuple(self.classes[row] for row in rows),
            confidences=self.confidences[chosen],
            boxes=self.boxes[chosen],
            velocities=self.velocities[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class FoundSample:
    """What was found in one sample, by place; judgements of calibration.

    `is_flat` tells whether pictures were looked at: one without a box has no place.
    """

    token: str
    scene: str
    places: Mapping[str, FoundBoxes]
    is_flat: bool = False
    statuses: Sequence[CalibrationStatus] = ()


@dataclass(frozen=True, kw_only=True)
class FoundRun:
    """A run's samples that did not fail, in the order of its records.

    Attributes:
        limits: by place kind (space or picture) and class, the least confidence at which a box counts as meant.
        confidence: replaces all limits, where one was given.
    """

    run: RunFolder
    samples: Mapping[str, FoundSample]
    limits: Mapping[bool, Mapping[str, float]] = field(default_factory=dict)
    confidence: float | None = None

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.header.run

    def limit(self, place: str, class_name: str) -> float:
        """The least confidence at which a box of a class counts as meant."""
        if self.confidence is not None:
            return self.confidence
        return self.limits.get(place == SPACE, {}).get(class_name, CONFIDENT)

    def meant(self, place: str, found: FoundBoxes, *, share: float = 1.0) -> NDArray[np.bool_]:
        """(N,) which boxes have at least a share of their class's limit."""
        limits = np.array([share * self.limit(place, name) for name in found.classes])
        return np.asarray(found.confidences >= limits, dtype=np.bool_)


def read_found(run: RunFolder, *, confidence: float | None = None) -> FoundRun:
    """Read a run's boxes and judgements.

    Raises:
        UsageError: its records hold neither.
        RecordError: a record cannot be read.
    """
    samples = {}
    answered = False
    for record in read_records(run, dict.fromkeys(KEYS, Take.WHOLE)):
        answered |= any(getattr(record, key) is not UNSET for key in KEYS)
        if record.metadata.status == "ok":
            token = record.metadata.sample_token
            samples[token] = _read_sample(token, record)
    if not answered:
        raise UsageError(
            f"the records of run {run.header.run} hold no boxes and no judgements of calibration",
            hint=f"admlops results show {run.header.run}   # says what it answers",
        )
    return FoundRun(run=run, samples=samples, limits=_read_limits(run), confidence=confidence)


def _read_sample(token: str, record: PartialRecord) -> FoundSample:
    places: dict[str, FoundBoxes] = {}
    if record.detections_3d is not UNSET:
        places[SPACE] = _in_space(record.detections_3d)
    if record.detections_2d is not UNSET:
        cameras: dict[str, list[Detection2D]] = {}
        for box in record.detections_2d:
            cameras.setdefault(box.camera, []).append(box)
        places |= {camera: _in_picture(own) for camera, own in cameras.items()}
    statuses = () if record.calibration_status is UNSET else tuple(record.calibration_status)
    return FoundSample(
        token=token,
        scene=record.metadata.scene,
        places=places,
        is_flat=record.detections_2d is not UNSET,
        statuses=statuses,
    )


def _in_space(boxes: Sequence[Detection3D]) -> FoundBoxes:
    moving = [(np.nan, np.nan) if one.bbox_3d.velocity is None else one.bbox_3d.velocity for one in boxes]
    return FoundBoxes(
        ids=tuple(one.id for one in boxes),
        classes=tuple(one.class_name for one in boxes),
        confidences=np.array([one.confidence for one in boxes], np.float64),
        boxes=np.array([one.bbox_3d.center for one in boxes], np.float64).reshape(-1, 3),
        velocities=np.array(moving, np.float64).reshape(-1, 2),
    )


def _in_picture(boxes: Sequence[Detection2D]) -> FoundBoxes:
    return FoundBoxes(
        ids=tuple(one.id for one in boxes),
        classes=tuple(one.class_name for one in boxes),
        confidences=np.array([one.confidence for one in boxes], np.float64),
        boxes=np.array([one.bbox_xyxy for one in boxes], np.float64).reshape(-1, 4),
        velocities=np.full((len(boxes), 2), np.nan),
    )


def empty_boxes(*, in_space: bool) -> FoundBoxes:
    """No boxes."""
    return _in_space([]) if in_space else _in_picture([])


def _read_limits(run: RunFolder) -> dict[bool, dict[str, float]]:
    """The operating points that the evaluation chose; none where the run was not evaluated."""
    metrics = read_metrics(run)
    points: dict[str, dict[str, float]] = metrics.get("operating_points", {})
    return {True: points.get("detection", {}), False: points.get("cars", {})}


def read_metrics(run: RunFolder) -> dict[str, Any]:
    """A run's metrics.json; empty where there is none, or it cannot be read."""
    try:
        found: dict[str, Any] = msgspec.json.decode(run.metrics_path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return found


def is_near(a: FoundBoxes, b: FoundBoxes, *, in_space: bool) -> NDArray[np.bool_]:
    """(A, B) which boxes of one class can be one object."""
    if in_space:
        apart = np.linalg.norm(a.boxes[:, np.newaxis, :2] - b.boxes[:, :2], axis=-1)
        near = apart < REACH_M
    else:
        near = box_iou(a.boxes, b.boxes) >= SAME_IOU
    same = np.array([[first == second for second in b.classes] for first in a.classes], dtype=np.bool_)
    return np.asarray(near & same.reshape(near.shape), dtype=np.bool_)


def match_found(a: FoundBoxes, b: FoundBoxes, *, in_space: bool) -> NDArray[np.intp]:
    """(A,) the partner of each box, or -1: in order of confidence, the surest of those near that are free."""
    partners = np.full(len(a), -1, np.intp)
    if not len(a) or not len(b):
        return partners
    free = is_near(a, b, in_space=in_space)
    for row in np.argsort(-a.confidences, kind="stable").tolist():
        near = np.flatnonzero(free[row])
        if len(near):
            chosen = int(near[np.argmax(b.confidences[near])])
            partners[row] = chosen
            free[:, chosen] = False
    return partners
