"""The boxes of a run as arrays, in the ego frame: kept record after record in a fraction of the records' memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Any, Protocol, TypeVar

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from admlops.core.counting import count_of
from admlops.core.errors import RecordError
from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.context import Context
from admlops.evaluation.detection_3d.boxes import (
    ATTRIBUTE_INDEX,
    ATTRIBUTES,
    CLASS_INDEX,
    Boxes,
    Floats,
    GroundTruth,
    multiply,
    rotations,
    yaws,
)
from admlops.evaluation.metrics import LARGEST
from admlops.results.record import UNIT_TOLERANCE, PartialRecord

MAX_BOXES_PER_SAMPLE = 500
MOVING_M_S = 0.2
NO_ATTRIBUTE = 0

DEFAULT_ATTRIBUTES = {
    "car": "vehicle.parked",
    "truck": "vehicle.parked",
    "bus": "vehicle.moving",
    "trailer": "vehicle.parked",
    "construction_vehicle": "vehicle.parked",
    "pedestrian": "pedestrian.moving",
    "motorcycle": "cycle.without_rider",
    "bicycle": "cycle.without_rider",
    "traffic_cone": "",
    "barrier": "",
}
"""mmdet3d's attribute of each class (`NuScenesDataset.DefaultAttribute`)."""


class HasConfidence(Protocol):
    """A detection, as far as choosing the most confident goes."""

    @property
    def confidence(self) -> float: ...


Found = TypeVar("Found", bound=HasConfidence)


def choose_attribute(class_name: str, speed_m_s: float) -> str:
    """Return the attribute that mmdet3d gives a box of this class and speed (`NuScenesDataset._format_bbox`)."""
    default = DEFAULT_ATTRIBUTES[class_name]
    if speed_m_s > MOVING_M_S:
        if default.startswith("vehicle"):
            return "vehicle.moving"
        return "cycle.with_rider" if default.startswith("cycle") else default
    return {"pedestrian": "pedestrian.standing", "bus": "vehicle.stopped"}.get(class_name, default)


def most_confident(detections: Sequence[Found]) -> Sequence[Found]:
    """Return at most 500 of them in their order; of equals the earlier stay."""
    if len(detections) <= MAX_BOXES_PER_SAMPLE:
        return detections
    order = sorted(range(len(detections)), key=lambda index: -detections[index].confidence)
    return [detections[index] for index in sorted(order[:MAX_BOXES_PER_SAMPLE])]


EMPTY: Mapping[str, NDArray[Any]] = {
    "sample": np.zeros(0, np.int32),
    "label": np.zeros(0, np.int8),
    "number": np.zeros(0, np.int32),
    "geometry": np.zeros((0, 12)),
    "score": np.zeros(0),
    "attribute": np.zeros(0, np.int8),
    "given": np.zeros((0, 3)),
}
"""The columns: the record's position in the run, the class, the box's id in its record, its geometry in the ego frame
(centre, width, length and height [m], quaternion w x y z, velocity [m/s], NaN where unknown), confidence, attribute,
and of submissions the centre in the global frame that the file gave, NaN where the record has none."""


class BoxTable:
    """The boxes of a run, one row a box, in the order of the records.

    Attributes:
        verbatim: whether the boxes are a submission's, which are taken as they are: an unknown velocity stays unknown,
            no attribute is made up, no box is dropped.
        records: how many records it has seen.
        dropped: boxes left out because a sample had more than 500; the most confident stay.
    """

    def __init__(self, *, verbatim: bool = False) -> None:
        self.verbatim = verbatim
        self.records = 0
        self.dropped = 0
        self._parts: list[tuple[NDArray[Any], ...]] = []

    def add(self, record: PartialRecord) -> None:
        """Take the next record.

        Raises:
            RecordError: a class or attribute that nuScenes does not have, a number too large to be measured, or an
                invalid rotation.
        """
        found = record.detections_3d
        if found is not UNSET and found:
            kept = found if self.verbatim else most_confident(found)
            self.dropped += len(found) - len(kept)
            columns = _to_arrays(record, kept, self.records)
            if not self.verbatim:
                _check_bounds(record, kept, geometry=columns[3], score=columns[4])
            self._parts.append((*columns, _given_centers(kept) if self.verbatim else EMPTY["given"]))
        self.records += 1

    def notes(self, context: Context) -> list[str]:
        """Say how many boxes were left out."""
        return (
            [f"left out: {count_of(self.dropped, 'box')} over {MAX_BOXES_PER_SAMPLE} a sample"] if self.dropped else []
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all rows, for `extend` of a table in another process."""
        counts = np.array([self.records, self.dropped])
        return {**{name: getattr(self, name) for name in EMPTY}, "counts": counts}

    def extend(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append the rows of a table that holds the records after these."""
        columns = [arrays[name] + np.int32(self.records) if name == "sample" else arrays[name] for name in EMPTY]
        self._parts.append(tuple(columns))
        records, dropped = arrays["counts"].tolist()
        self.records, self.dropped = self.records + records, self.dropped + dropped

    @cached_property
    def _columns(self) -> dict[str, NDArray[Any]]:
        parts, self._parts = self._parts, []
        columns: dict[str, NDArray[Any]] = {}
        for index, (name, empty) in enumerate(EMPTY.items()):
            columns[name] = np.concatenate([part[index] for part in parts]) if parts else empty
        return columns

    @property
    def sample(self) -> NDArray[np.int32]:
        return self._columns["sample"]

    @property
    def label(self) -> NDArray[np.int8]:
        return self._columns["label"]

    @property
    def number(self) -> NDArray[np.int32]:
        return self._columns["number"]

    @property
    def geometry(self) -> Floats:
        return self._columns["geometry"]

    @property
    def score(self) -> Floats:
        return self._columns["score"]

    @property
    def attribute(self) -> NDArray[np.int8]:
        return self._columns["attribute"]

    @property
    def given(self) -> Floats:
        return self._columns["given"]

    def velocities(self) -> Floats:
        """Return (N, 2) [m/s], ego frame. Unknown ones are zero for a model and NaN for a submission."""
        velocity = self.geometry[:, 10:]
        return velocity if self.verbatim else np.nan_to_num(velocity, nan=0.0)

    def filled_attributes(self) -> NDArray[np.int8]:
        """Return the attributes; where a model's box has none, the one that its class and speed suggest."""
        if self.verbatim:
            return self.attribute
        velocity = np.nan_to_num(self.geometry[:, 10:], nan=0.0)
        chosen = np.array(
            [[ATTRIBUTE_INDEX[choose_attribute(name, limit)] for limit in (0.0, 2 * MOVING_M_S)] for name in CLASSES],
            dtype=np.int8,
        )
        speed = np.hypot(velocity[:, 0], velocity[:, 1])
        suggested = chosen[self.label, (speed > MOVING_M_S).astype(int)]
        return np.where(self.attribute == NO_ATTRIBUTE, suggested, self.attribute)

    def in_global_frame(self, truth: GroundTruth) -> Boxes:
        """Move the boxes by the ego pose of their sample; `truth.samples` are the run's samples in their order.

        An unknown velocity is zero, and a box without an attribute gets one, as in a submission
        (`nuscenes_submission`); of a submission both stay as they are.
        """
        center, size, quaternion, _ = np.split(self.geometry, [3, 6, 10], axis=1)
        velocity = self.velocities()
        rotation = rotations(truth.rotation)
        unit = truth.rotation / np.linalg.norm(truth.rotation, axis=1, keepdims=True)
        moved, drift = np.empty_like(center), np.empty_like(velocity)
        for index, start, end in groups(self.sample):
            moved[start:end] = center[start:end] @ rotation[index].T + truth.ego[index]
            drift[start:end] = velocity[start:end] @ rotation[index, :2, :2].T
        if self.verbatim:
            moved = np.where(np.isnan(self.given), moved, self.given)
        return Boxes(
            sample=self.sample,
            label=self.label,
            center=moved,
            size=size,
            yaw=yaws(multiply(unit[self.sample], quaternion)),
            velocity=drift,
            attribute=self.filled_attributes(),
            score=self.score,
            number=self.number,
        )


def groups(sample: NDArray[np.int32]) -> Iterator[tuple[int, int, int]]:
    """Yield each sample with boxes: its index, and where its rows begin and end."""
    present, start = np.unique(sample, return_index=True)
    end = [*start.tolist(), len(sample)][1:]
    yield from zip(present.tolist(), start.tolist(), end, strict=True)


_flat = chain.from_iterable
_pose = attrgetter("center", "size_wlh", "rotation_wxyz")
_box, _velocity = attrgetter("bbox_3d"), attrgetter("velocity")
_name, _attribute = attrgetter("class_name"), attrgetter("attribute")
_id, _confidence = attrgetter("id"), attrgetter("confidence")
_global_center = attrgetter("global_center")
_UNKNOWN = (np.nan, np.nan)
_NO_CENTER = (np.nan, np.nan, np.nan)


def _to_arrays(record: PartialRecord, kept: Sequence[Any], index: int) -> tuple[NDArray[Any], ...]:
    n = len(kept)
    boxes = list(map(_box, kept))
    try:
        label = np.fromiter(map(CLASS_INDEX.__getitem__, map(_name, kept)), np.int8, n)
        attribute = np.fromiter(map(ATTRIBUTE_INDEX.__getitem__, map(_attribute, kept)), np.int8, n)
    except KeyError:
        raise _unknown_name(record, kept) from None
    geometry = np.empty((n, 12))
    geometry[:, :10] = np.fromiter(_flat(_flat(map(_pose, boxes))), np.float64, 10 * n).reshape(n, 10)
    velocities = [velocity or _UNKNOWN for velocity in map(_velocity, boxes)]
    geometry[:, 10:] = np.fromiter(_flat(velocities), np.float64, 2 * n).reshape(n, 2)
    _check_geometry(record, kept, geometry)
    number = np.fromiter(map(_id, kept), np.int32, n)
    score = np.fromiter(map(_confidence, kept), np.float64, n)
    return np.full(n, index, np.int32), label, number, geometry, score, attribute


def _check_bounds(record: PartialRecord, kept: Sequence[Any], *, geometry: Floats, score: Floats) -> None:
    """Refuse numbers that only a submission may have."""
    wrong = np.flatnonzero(~((score >= 0) & (score <= 1)))
    if len(wrong):
        raise _complain(record, kept[int(wrong[0])], f"confidence {score[wrong[0]]} is not 0 to 1")
    wrong = np.flatnonzero((geometry[:, 3:6] <= 0).any(axis=1))
    if len(wrong):
        raise _complain(record, kept[int(wrong[0])], f"size_wlh {geometry[wrong[0], 3:6].tolist()} is not above 0")


def _given_centers(kept: Sequence[Any]) -> Floats:
    centers = [_NO_CENTER if own is UNSET else own for own in map(_global_center, kept)]
    return np.fromiter(_flat(centers), np.float64, 3 * len(kept)).reshape(-1, 3)


def _check_geometry(record: PartialRecord, kept: Sequence[Any], geometry: Floats) -> None:
    quaternions = geometry[:, 6:10]
    wrong = np.flatnonzero((np.abs(geometry) > LARGEST).any(axis=1))
    if len(wrong):
        raise _complain(record, kept[int(wrong[0])], f"a number of bbox_3d is larger than {LARGEST:,.0f}")
    wrong = np.flatnonzero(np.abs((quaternions**2).sum(axis=1) - 1.0) > UNIT_TOLERANCE)
    if len(wrong):
        detection = kept[int(wrong[0])]
        raise _complain(record, detection, f"rotation_wxyz {detection.bbox_3d.rotation_wxyz} is not a unit quaternion")


def _unknown_name(record: PartialRecord, kept: Sequence[Any]) -> RecordError:
    for detection in kept:
        if detection.class_name not in CLASS_INDEX:
            known = ", ".join(CLASSES)
            return _complain(record, detection, f"nuScenes has no class {detection.class_name!r}; it has {known}")
        if detection.attribute not in ATTRIBUTE_INDEX:
            known = ", ".join(ATTRIBUTES[1:])
            return _complain(record, detection, f"nuScenes has no attribute {detection.attribute!r}; it has {known}")
    raise AssertionError("every name is known")


def _complain(record: PartialRecord, detection: Any, what: str) -> RecordError:
    meta = record.metadata
    return RecordError(
        f"sample {meta.sample_token} ({meta.scene}), detection {detection.id}: {what}",
        hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
    )
