"""The standard record: what every model says about one sample, in one form.

Units are seconds, megabytes (10⁶ bytes), metres, metres per second and radians. Frame: the ego vehicle at the key
frame's LiDAR time (nuScenes: the ego pose of LIDAR_TOP), x forward, y left, z up. Box centres are geometric centres.
A task that a model does not do is absent from its record, never an empty list: an empty list says "looked, found
nothing". `docs/record.schema.json` is generated from these classes by
`admlops results schema --out docs/record.schema.json`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from admlops.core.errors import RecordError

SCHEMA_VERSION: Literal[1] = 1

Confidence = Annotated[float, Meta(ge=0.0, le=1.0, description="Confidence, 0 to 1.")]
Length = Annotated[float, Meta(gt=0.0)]
Interval = Annotated[float, Meta(gt=0.0, description="Time between two waypoints [s].")]
Seconds = Annotated[float, Meta(ge=0.0)]
Megabytes = Annotated[float, Meta(ge=0.0)]
Name = Annotated[str, Meta(min_length=1)]
Id = Annotated[int, Meta(ge=0, description="Number of this item within its record.")]
Point2 = tuple[float, float]
Point3 = tuple[float, float, float]
Polyline2 = Annotated[list[Point2], Meta(min_length=2, description="Two or more points x, y [m], ego frame.")]
Polyline3 = Annotated[list[Point3], Meta(min_length=2, description="Two or more points x, y, z [m], ego frame.")]
Waypoints = Annotated[list[Point2], Meta(description="Positions x, y [m], ego frame, the first one step ahead.")]
FailureClass = Literal[
    "arch", "cuda_oom", "host_oom", "poisoned", "crash", "hang", "protocol", "data", "model", "cancelled"
]


UNIT_TOLERANCE = 1e-3
"""How far a quaternion's squared norm may be from 1: float32 arithmetic and rounding to six digits stay within."""


class Box3D(Struct, frozen=True, forbid_unknown_fields=True):
    """A box in the ego frame."""

    center: Annotated[Point3, Meta(description="The geometric centre x, y, z [m], ego frame.")]
    size_wlh: Annotated[tuple[Length, Length, Length], Meta(description="Width, length, height [m].")]
    rotation_wxyz: Annotated[
        tuple[float, float, float, float],
        Meta(description="Unit quaternion w, x, y, z; the identity points the length along the ego's x."),
    ]
    velocity: Annotated[
        Point2 | None, Meta(description="Velocity x, y over ground [m/s], ego frame axes; null if not estimated.")
    ] = None

    def __post_init__(self) -> None:
        w, x, y, z = self.rotation_wxyz
        if abs(w * w + x * x + y * y + z * z - 1.0) > UNIT_TOLERANCE:
            raise ValueError(f"rotation_wxyz {self.rotation_wxyz} is not a unit quaternion")


class Trajectory(Struct, frozen=True, forbid_unknown_fields=True):
    """A possible future of an object: positions at equal steps."""

    confidence: Confidence
    interval_s: Interval
    waypoints: Waypoints


class Detection3D(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One detected object."""

    id: Id
    class_name: Annotated[Name, Meta(description="nuScenes detection class, such as car.")]
    confidence: Confidence
    bbox_3d: Box3D
    attribute: Annotated[str, Meta(description="nuScenes attribute, such as vehicle.moving; empty if none.")] = ""
    trajectories: Annotated[list[Trajectory], Meta(description="Possible futures.")] | UnsetType = UNSET


class Detection2D(Struct, frozen=True, forbid_unknown_fields=True):
    """One detected object in one camera's image."""

    id: Id
    camera: Annotated[Name, Meta(description="The camera's channel, such as CAM_FRONT.")]
    class_name: Annotated[Name, Meta(description="Class, such as car.")]
    bbox_xyxy: Annotated[
        tuple[float, float, float, float],
        Meta(description="x1, y1, x2, y2 [pixels of the original image]; x to the right, y down."),
    ]
    confidence: Confidence

    def __post_init__(self) -> None:
        x1, y1, x2, y2 = self.bbox_xyxy
        if x2 < x1 or y2 < y1:
            raise ValueError(f"bbox_xyxy {self.bbox_xyxy} is not x1, y1, x2, y2 with x1 ≤ x2 and y1 ≤ y2")


class MapElement(Struct, frozen=True, forbid_unknown_fields=True):
    """One vector map element, as a polyline. A crossing's or a boundary's outline may be closed: first point = last."""

    id: Id
    type: Annotated[Name, Meta(description="divider, ped_crossing, boundary or centerline.")]
    points: Polyline2
    confidence: Confidence


class Lane(Struct, frozen=True, forbid_unknown_fields=True):
    """A lane's centreline in driving direction."""

    id: Id
    points: Polyline3
    confidence: Confidence


class TrafficElement(Struct, frozen=True, forbid_unknown_fields=True):
    """A traffic light or sign in the front image."""

    id: Id
    attribute: Annotated[int, Meta(ge=0, description="OpenLane-V2 attribute number.")]
    bbox_xyxy: Annotated[
        tuple[float, float, float, float],
        Meta(description="x1, y1, x2, y2 [pixels of the original front image]."),
    ]
    confidence: Confidence


class LaneGraph(Struct, frozen=True, forbid_unknown_fields=True):
    """Lanes, traffic elements, and the confidence of each relation."""

    lanes: list[Lane]
    traffic_elements: list[TrafficElement]
    lane_to_lane: Annotated[
        list[list[Confidence]], Meta(description="lanes × lanes: the row's lane runs into the column's.")
    ]
    lane_to_traffic: Annotated[
        list[list[Confidence]], Meta(description="lanes × traffic elements: the element governs the lane.")
    ]

    def __post_init__(self) -> None:
        rows = len(self.lanes)
        columns = {"lane_to_lane": len(self.lanes), "lane_to_traffic": len(self.traffic_elements)}
        for name, width in columns.items():
            matrix = getattr(self, name)
            if len(matrix) != rows or any(len(row) != width for row in matrix):
                raise ValueError(f"{name} is not {rows} × {width}")


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """The ego vehicle's planned positions at equal steps."""

    command: Annotated[Literal["left", "right", "straight"], Meta(description="The command the plan follows.")]
    interval_s: Interval
    waypoints: Waypoints


Detections = Annotated[list[Detection3D], Meta(description="Objects; empty: looked, found none; absent: no such task.")]
Detections2D = Annotated[
    list[Detection2D], Meta(description="Objects in images; empty: looked, found none; absent: no such task.")
]
MapElements = Annotated[list[MapElement], Meta(description="Map elements; empty: found none; absent: no such task.")]


class Outputs(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a worker returns for one sample: one field a task, absent where the model does not do the task."""

    detections_3d: Detections | UnsetType = UNSET
    detections_2d: Detections2D | UnsetType = UNSET
    map_elements: MapElements | UnsetType = UNSET
    lane_graph: LaneGraph | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET


class Failure(Struct, frozen=True, forbid_unknown_fields=True, rename={"kind": "class"}):
    """Why a sample has no outputs."""

    kind: Annotated[FailureClass, Meta(description="The failure class, which decided whether it was tried again.")]
    message: Annotated[str, Meta(description="What happened.")]
    hint: Annotated[str, Meta(description="What to do about it.")]


class Precision(Struct, frozen=True, forbid_unknown_fields=True):
    """The arithmetic that the network ran in, as its worker found it in force."""

    activations: Annotated[
        Literal["float32", "half"], Meta(description="half: the modules that the authors marked for it ran in float16.")
    ]
    tf32_convolutions: Annotated[bool, Meta(description="Convolutions round their float32 inputs to TF32.")]
    tf32_matmul: Annotated[bool, Meta(description="Matrix products round their float32 inputs to TF32.")]

    @property
    def label(self) -> str:
        """What tables and pages say, such as `float32, TF32 convolutions`."""
        tf32 = {(True, True): "TF32", (True, False): "TF32 convolutions", (False, True): "TF32 matrix products"}
        parts = (self.activations, tf32.get((self.tf32_convolutions, self.tf32_matmul)))
        return ", ".join(part for part in parts if part)


class Metadata(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a record comes from and what it cost."""

    model_name: Name
    variant: Annotated[Name, Meta(description="The model's variant: one set of pins.")]
    run: Annotated[Name, Meta(description="The run's name: its folder.")]
    sample_token: Annotated[Name, Meta(description="nuScenes sample token.")]
    scene: Annotated[Name, Meta(description="Scene name, such as scene-0103.")]
    index_in_scene: Annotated[int, Meta(ge=0, description="Position in the scene, from 0.")]
    status: Annotated[Literal["ok", "failed"], Meta(description="failed: there are no outputs; see failure.")]
    inference_time: Annotated[Seconds | None, Meta(description="The model call alone [s].")] = None
    end_to_end_time: Annotated[
        Seconds | None, Meta(description="From the sample's description to its outputs, with reading and decoding [s].")
    ] = None
    gpu_memory_used: Annotated[
        Megabytes | None, Meta(description="The worker's peak [MB, 10⁶ bytes]; null or absent without a GPU.")
    ] = None
    fixes: Annotated[list[str], Meta(description="Corrections of the catalogue that these weights needed.")] = []
    precision: (
        Annotated[Precision, Meta(description="The arithmetic in force; absent in older records.")] | UnsetType
    ) = UNSET
    failure: Failure | UnsetType = UNSET


class Record(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One sample's standard record, schema version 1.

    Units are seconds, megabytes (10⁶ bytes), metres and metres per second. Ego frame: the ego vehicle at the key
    frame's LiDAR time (nuScenes: the ego pose of LIDAR_TOP), x forward, y left, z up.
    """

    schema: Annotated[Literal[1], Meta(description="Version of this schema.")]
    metadata: Metadata
    detections_3d: Detections | UnsetType = UNSET
    detections_2d: Detections2D | UnsetType = UNSET
    map_elements: MapElements | UnsetType = UNSET
    lane_graph: LaneGraph | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET


MEASURED_FIELDS = ("inference_time", "end_to_end_time", "gpu_memory_used")
"""The metadata that differs between two runs of the same model on the same samples, besides `run` itself."""

_NOT_A_NUMBER = re.compile(rb"[\[:,]\s*-?(NaN|Infinity)\b")
_decode = msgspec.json.Decoder(Record).decode
_encode = msgspec.json.Encoder().encode


def make_record(metadata: Metadata, outputs: Outputs) -> Record:
    """A record from what the host knows and what the worker said."""
    return Record(
        schema=SCHEMA_VERSION,
        metadata=metadata,
        detections_3d=outputs.detections_3d,
        detections_2d=outputs.detections_2d,
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


def record_schema() -> dict[str, Any]:
    """The JSON Schema (Draft 2020-12) of a record, generated from the classes above.

    It and the decoder agree on every JSON document but for one thing: JSON Schema takes 1.0 as an integer, the decoder
    does not.
    """
    (reference,), definitions = msgspec.json.schema_components([Record], ref_template="#/$defs/{name}")
    for definition in definitions.values():
        definition["description"] = " ".join(definition["description"].split())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "admlops standard record",
        **reference,
        "$defs": dict(sorted(definitions.items())),
    }


def _explain(error: msgspec.DecodeError, line: bytes, where: str) -> RecordError:
    version = schema_of(line)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        return RecordError(
            f"{where} was written with record schema {version}; this admlops reads up to {SCHEMA_VERSION}",
            hint="git pull && make setup   # then run the command again",
        )
    reason = str(error)
    if _NOT_A_NUMBER.search(line):
        reason += "; NaN and infinity are not numbers of JSON"
    return RecordError(
        f"{where} is not a standard record: {reason}", hint="admlops results list   # see which runs are whole"
    )


def schema_of(line: bytes) -> object:
    """The `schema` that a JSON object states, or None: what to tell a reader who cannot decode it."""
    try:
        value = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return value.get("schema") if isinstance(value, dict) else None
