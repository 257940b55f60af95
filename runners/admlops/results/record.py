"""The standard record: what every model says about one sample, in one form.

Units are seconds, megabytes (10⁶ bytes), metres, metres per second and radians. Frame: the ego vehicle at the key
frame's LiDAR time (nuScenes: the ego pose of LIDAR_TOP), x forward, y left, z up. Box centres are geometric centres.
A task that a model does not do is absent from its record, never an empty list: an empty list says "looked, found
nothing". `docs/record.schema.json` is generated from these classes.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from admlops.errors import RecordError

SCHEMA_VERSION: Literal[1] = 1

Confidence = Annotated[float, Meta(ge=0.0, le=1.0)]
Length = Annotated[float, Meta(gt=0.0)]
Seconds = Annotated[float, Meta(ge=0.0)]
Megabytes = Annotated[float, Meta(ge=0.0)]
Name = Annotated[str, Meta(min_length=1)]
Point2 = tuple[float, float]
Point3 = tuple[float, float, float]
Polyline2 = Annotated[list[Point2], Meta(min_length=2)]
Polyline3 = Annotated[list[Point3], Meta(min_length=2)]
FailureClass = Literal[
    "arch", "cuda_oom", "host_oom", "poisoned", "crash", "hang", "protocol", "data", "model", "cancelled"
]


class Box3D(Struct, frozen=True, forbid_unknown_fields=True):
    """A box: centre [m], size as width, length, height [m], unit quaternion w x y z, velocity in x and y [m/s]."""

    center: Point3
    size_wlh: tuple[Length, Length, Length]
    rotation_wxyz: tuple[float, float, float, float]
    velocity: Point2 | None = None


class Trajectory(Struct, frozen=True, forbid_unknown_fields=True):
    """A possible future of an object: positions [m] at equal steps of `interval_s`, the first one step ahead."""

    confidence: Confidence
    interval_s: Annotated[float, Meta(gt=0.0)]
    waypoints: list[Point2]


class Detection3D(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One detected object. `attribute` is a nuScenes attribute name, empty where the class has none."""

    id: Annotated[int, Meta(ge=0)]
    class_name: Name
    confidence: Confidence
    bbox_3d: Box3D
    attribute: str = ""
    trajectories: list[Trajectory] | UnsetType = UNSET


class MapElement(Struct, frozen=True, forbid_unknown_fields=True):
    """One vector map element: `divider`, `ped_crossing`, `boundary` or `centerline`, as a polyline [m]."""

    id: Annotated[int, Meta(ge=0)]
    type: Name
    points: Polyline2
    confidence: Confidence


class Lane(Struct, frozen=True, forbid_unknown_fields=True):
    """A lane's centreline in driving direction [m]."""

    id: Annotated[int, Meta(ge=0)]
    points: Polyline3
    confidence: Confidence


class TrafficElement(Struct, frozen=True, forbid_unknown_fields=True):
    """A traffic light or sign: OpenLane-V2 attribute number, box x1 y1 x2 y2 [pixels of the original front image]."""

    id: Annotated[int, Meta(ge=0)]
    attribute: Annotated[int, Meta(ge=0)]
    bbox_xyxy: tuple[float, float, float, float]
    confidence: Confidence


class LaneGraph(Struct, frozen=True, forbid_unknown_fields=True):
    """Lanes, traffic elements, and the confidence of each relation.

    `lane_to_lane` is (lanes × lanes), row precedes column; `lane_to_traffic` is (lanes × traffic elements).
    """

    lanes: list[Lane]
    traffic_elements: list[TrafficElement]
    lane_to_lane: list[list[Confidence]]
    lane_to_traffic: list[list[Confidence]]


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """The ego vehicle's planned positions [m] at equal steps of `interval_s`, the first one step ahead."""

    command: Literal["left", "right", "straight"]
    interval_s: Annotated[float, Meta(gt=0.0)]
    waypoints: list[Point2]


class Outputs(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a worker returns for one sample: one field a task, absent where the model does not do the task."""

    detections_3d: list[Detection3D] | UnsetType = UNSET
    map_elements: list[MapElement] | UnsetType = UNSET
    lane_graph: LaneGraph | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET


class Failure(Struct, frozen=True, forbid_unknown_fields=True, rename={"kind": "class"}):
    """Why a sample has no outputs: the failure class, what happened, and what to do about it."""

    kind: FailureClass
    message: str
    hint: str


class Metadata(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a record comes from and what it cost.

    `inference_time` [s] is the model call alone, `end_to_end_time` [s] includes reading and decoding the input;
    `gpu_memory_used` [MB] is the worker's peak, absent without a GPU. `fixes` names the corrections that the catalogue
    applied for this checkpoint.
    """

    model_name: Name
    variant: Name
    run: Name
    sample_token: Name
    scene: Name
    index_in_scene: Annotated[int, Meta(ge=0)]
    status: Literal["ok", "failed"]
    inference_time: Seconds | None = None
    end_to_end_time: Seconds | None = None
    gpu_memory_used: Megabytes | None = None
    fixes: list[str] = []
    failure: Failure | UnsetType = UNSET


class Record(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One sample's standard record, schema version 1."""

    schema: Literal[1]
    metadata: Metadata
    detections_3d: list[Detection3D] | UnsetType = UNSET
    map_elements: list[MapElement] | UnsetType = UNSET
    lane_graph: LaneGraph | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET


MEASURED_FIELDS = ("inference_time", "end_to_end_time", "gpu_memory_used")
"""The metadata that differs between two runs of the same model on the same samples, besides `run` itself."""

_decode = msgspec.json.Decoder(Record).decode
_decode_outputs = msgspec.json.Decoder(Outputs).decode
_encode = msgspec.json.Encoder().encode


def make_record(metadata: Metadata, outputs: Outputs) -> Record:
    """A record from what the host knows and what the worker said."""
    return Record(
        schema=SCHEMA_VERSION,
        metadata=metadata,
        detections_3d=outputs.detections_3d,
        map_elements=outputs.map_elements,
        lane_graph=outputs.lane_graph,
        plan=outputs.plan,
    )


def encode_record(record: Record) -> bytes:
    """One line of JSON without the newline; equal records give equal bytes."""
    return _encode(record)


def decode_record(line: bytes, *, where: str) -> Record:
    """The record in `line`; `where` names the file and line number for the error.

    Raises:
        RecordError: not JSON, not this schema, or a newer one.
    """
    try:
        return _decode(line)
    except msgspec.DecodeError as error:
        raise _explain(error, line, where) from error


def decode_outputs(payload: bytes) -> Outputs:
    """A worker's outputs. Raises `msgspec.DecodeError`; the caller knows which worker to blame."""
    return _decode_outputs(payload)


def _explain(error: msgspec.DecodeError, line: bytes, where: str) -> RecordError:
    version = _schema_of(line)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return RecordError(
            f"{where} was written with record schema {version}; this admlops reads up to {SCHEMA_VERSION}",
            hint="git pull && make setup   # then run the command again",
        )
    return RecordError(f"{where} is not a standard record: {error}", hint="admlops results list   # see which runs are whole")


def _schema_of(line: bytes) -> object:
    try:
        value = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return value.get("schema") if isinstance(value, dict) else None
