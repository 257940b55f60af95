"""The standard record: what every model says about one sample, in one form.

What a worker sends is held against `Outputs`, which refuses keys it does not know. Readers of records skip such keys,
so today's programs read records with future tasks. `record_json.py` reads and writes them.

Units are seconds, megabytes (10⁶ bytes), metres, metres per second and radians. Frame: the ego vehicle at the key
frame's LiDAR time (nuScenes: the ego pose of LIDAR_TOP), x forward, y left, z up. Box centres are geometric centres.
A task that a model does not do is absent from its record, never an empty list: an empty list says "looked, found
nothing". `docs/record.schema.json` is generated from these classes by
`admlops results schema --out docs/record.schema.json`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from msgspec import UNSET, Meta, Struct, UnsetType

from admlops.results.derived_structs import forbid_unknown
from admlops.results.relations import Confidence, Relation, find_fault

SCHEMA_VERSION: Literal[1] = 1

WorkerConfidence = Annotated[float, Meta(ge=0.0, le=1.0, description="Confidence, 0 to 1.")]
Length = Annotated[float, Meta(description="A model's is above 0.")]
WorkerLength = Annotated[float, Meta(gt=0.0)]
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
    "arch", "cuda_oom", "host_oom", "poisoned", "lost", "crash", "hang", "protocol", "data", "model", "cancelled"
]


UNIT_TOLERANCE = 1e-3
"""How far a quaternion's squared norm may be from 1: float32 arithmetic and rounding to six digits stay within."""


class Box3D(Struct, frozen=True):
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


class Trajectory(Struct, frozen=True):
    """A possible future of an object: positions at equal steps."""

    confidence: Confidence
    interval_s: Interval
    waypoints: Waypoints


class Detection3D(Struct, frozen=True, omit_defaults=True):
    """One detected object."""

    id: Id
    class_name: Annotated[Name, Meta(description="nuScenes detection class, such as car.")]
    confidence: Confidence
    bbox_3d: Box3D
    attribute: Annotated[str, Meta(description="nuScenes attribute, such as vehicle.moving; empty if none.")] = ""
    global_center: (
        Annotated[
            Point3,
            Meta(description="The centre in a submission [m], global frame; moving it to the ego frame rounds."),
        ]
        | UnsetType
    ) = UNSET
    trajectories: Annotated[list[Trajectory], Meta(description="Possible futures.")] | UnsetType = UNSET


class Detection2D(Struct, frozen=True):
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


class CarPresence(Struct, frozen=True):
    """What a classifier says of one camera's image: is there a car in it."""

    camera: Annotated[Name, Meta(description="The camera's channel, such as CAM_FRONT.")]
    score: Annotated[
        float, Meta(ge=0.0, le=1.0, description="The share of the classifier's probability on its car classes.")
    ]


class ExtrinsicError(Struct, frozen=True):
    """How far a camera's extrinsics were put wrong on purpose."""

    angle_deg: Annotated[float, Meta(ge=0.0, description="How far the camera is turned [degrees].")]
    shift_m: Annotated[float, Meta(ge=0.0, description="How far it is moved [m].")]


class CalibrationStatus(Struct, frozen=True):
    """What a classifier says of one camera's extrinsics: do they agree with the LiDAR's."""

    camera: Annotated[Name, Meta(description="The camera's channel, such as CAM_FRONT.")]
    form: Annotated[
        Literal["given", "perturbed"], Meta(description="given: as the data set has them; perturbed: with `error`.")
    ]
    score: Annotated[float, Meta(ge=0.0, le=1.0, description="The probability that they are right.")]
    error: Annotated[ExtrinsicError, Meta(description="Absent where the form is given.")] | UnsetType = UNSET


class MapElement(Struct, frozen=True):
    """One vector map element, as a polyline. A crossing's or a boundary's outline may be closed: first point = last."""

    id: Id
    type: Annotated[Name, Meta(description="divider, ped_crossing, boundary or centerline.")]
    points: Polyline2
    confidence: Confidence


class Lane(Struct, frozen=True):
    """A lane's centreline in driving direction."""

    id: Id
    points: Polyline3
    confidence: Confidence


class TrafficElement(Struct, frozen=True):
    """A traffic light or sign in the front image."""

    id: Id
    attribute: Annotated[int, Meta(ge=0, description="OpenLane-V2 attribute number.")]
    bbox_xyxy: Annotated[
        tuple[float, float, float, float],
        Meta(description="x1, y1, x2, y2 [pixels of the original front image]."),
    ]
    confidence: Confidence


class LaneGraph(Struct, frozen=True):
    """Lanes, traffic elements, and the confidence of each relation: as a matrix, or its likely entries alone."""

    lanes: list[Lane]
    traffic_elements: list[TrafficElement]
    lane_to_lane: Annotated[Relation, Meta(description="lanes × lanes: the row's lane runs into the column's.")]
    lane_to_traffic: Annotated[
        Relation, Meta(description="lanes × traffic elements: the column's element governs the row's lane.")
    ]

    def __post_init__(self) -> None:
        rows = len(self.lanes)
        columns = {"lane_to_lane": len(self.lanes), "lane_to_traffic": len(self.traffic_elements)}
        for name, width in columns.items():
            fault = find_fault(getattr(self, name), rows, width)
            if fault is not None:
                raise ValueError(f"{name} {fault}")


class Plan(Struct, frozen=True):
    """The ego vehicle's planned positions at equal steps."""

    command: Annotated[Literal["left", "right", "straight"], Meta(description="The command the plan follows.")]
    interval_s: Interval
    waypoints: Waypoints


Detections = Annotated[list[Detection3D], Meta(description="Objects; empty: looked, found none; absent: no such task.")]
Detections2D = Annotated[
    list[Detection2D], Meta(description="Objects in images; empty: looked, found none; absent: no such task.")
]
CarPresences = Annotated[
    list[CarPresence], Meta(description="One entry a camera that was looked at; absent: no such task.")
]
CalibrationStatuses = Annotated[
    list[CalibrationStatus], Meta(description="One entry a camera and form that was judged; absent: no such task.")
]
MapElements = Annotated[list[MapElement], Meta(description="Map elements; empty: found none; absent: no such task.")]


class Outputs(Struct, frozen=True, omit_defaults=True):
    """What a worker returns for one sample: one field a task, absent where the model does not do the task."""

    detections_3d: Detections | UnsetType = UNSET
    detections_2d: Detections2D | UnsetType = UNSET
    car_presence: CarPresences | UnsetType = UNSET
    calibration_status: CalibrationStatuses | UnsetType = UNSET
    map_elements: MapElements | UnsetType = UNSET
    lane_graph: LaneGraph | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET


if not TYPE_CHECKING:
    Outputs = forbid_unknown(Outputs, narrower={Confidence: WorkerConfidence, Length: WorkerLength})


class Failure(Struct, frozen=True, rename={"kind": "class"}):
    """Why a sample has no outputs."""

    kind: Annotated[FailureClass, Meta(description="The failure class, which decided whether it was tried again.")]
    message: Annotated[str, Meta(description="What happened.")]
    hint: Annotated[str, Meta(description="What to do about it.")]


class Precision(Struct, frozen=True):
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


PartState = Literal["replayed", "recorded", "eager"]
"""How a part of the network ran in a run with graphs: as a CUDA graph; without, and its graph was recorded then;
without."""


class BatchShare(Struct, frozen=True):
    """A sample's part in a batch. It says how fast the run was, and nothing of how long a sample takes by itself."""

    size: Annotated[int, Meta(ge=1, description="Samples that went through the network together, this one included.")]
    inference_share: Annotated[Seconds, Meta(description="The time of the batch's model call by its size [s].")]
    end_to_end_share: Annotated[
        Seconds, Meta(description="This with the sample's own reading, decoding and converting [s].")
    ]


class Metadata(Struct, frozen=True, omit_defaults=True):
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
    batch: (
        Annotated[BatchShare, Meta(description="In place of the times, where the run took several samples at once.")]
        | UnsetType
    ) = UNSET
    graphs: (
        Annotated[
            dict[str, PartState],
            Meta(description="Part of the network → how it ran, in a run with CUDA graphs; absent in others."),
        ]
        | UnsetType
    ) = UNSET
    shrink: Annotated[
        int,
        Meta(
            ge=0,
            description="How often the scene ran out of GPU memory; the model lowered what it could, such as its "
            "input's size.",
        ),
    ] = 0
    failure: Failure | UnsetType = UNSET


class Record(Struct, frozen=True, omit_defaults=True):
    """One sample's standard record, schema version 1.

    Units are seconds, megabytes (10⁶ bytes), metres and metres per second. Ego frame: the ego vehicle at the key
    frame's LiDAR time (nuScenes: the ego pose of LIDAR_TOP), x forward, y left, z up.
    """

    schema: Annotated[Literal[1], Meta(description="Version of this schema.")]
    metadata: Metadata
    detections_3d: Detections | UnsetType = UNSET
    detections_2d: Detections2D | UnsetType = UNSET
    car_presence: CarPresences | UnsetType = UNSET
    calibration_status: CalibrationStatuses | UnsetType = UNSET
    map_elements: MapElements | UnsetType = UNSET
    lane_graph: LaneGraph | UnsetType = UNSET
    plan: Plan | UnsetType = UNSET


class PartialRecord(Protocol):
    """A record of which chosen keys are decoded; a task's key that is absent is UNSET."""

    @property
    def metadata(self) -> Metadata: ...
    def __getattr__(self, key: str) -> Any: ...


REPORTED_FIELDS = ("inference_time", "end_to_end_time", "gpu_memory_used", "precision", "batch", "graphs")
"""The metadata that does not count in the digest of records, besides `run`: what was measured, and what the header's
settings decide: the arithmetic that the worker says is in force, how many samples it took at once, and which parts it
replayed as graphs."""
