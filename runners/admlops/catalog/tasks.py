"""What a model can be asked to do: a task, the key of the record that answers it, and the names it speaks of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from admlops.core.nuscenes_classes import CENTERLINE, CLASSES, MAP_CLASSES


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of the catalogue.

    Attributes:
        id: as in `tasks` of a model.toml.
        output: the key of the standard record that holds the answer.
        title: what a person calls it, in the plural where it has one.
        in_space: the answer lies in the vehicle's space, so the model states the `frame` of its network's output.
        has_boxes_3d: the answer holds 3D boxes, so the model states its `box_convention`.
        class_names: the names that its answers may use; None where each model has names of its own.
        lists_classes: a model with this task lists its classes, label 0 first, under `classes.<id>`.
        output_type: the type that msgspec decodes the answer into, for a task whose key `results.record` does not
            define; None for those that it does.
        names_in: the class names that an answer uses, which are held against the model's list when a record is written.
    """

    id: str
    output: str
    title: str
    in_space: bool = False
    has_boxes_3d: bool = False
    class_names: tuple[str, ...] | None = None
    lists_classes: bool = False
    output_type: Any = None
    names_in: Callable[[Any], Iterable[str]] | None = None


DETECTION_3D = Task(
    id="detection_3d",
    output="detections_3d",
    title="3D boxes",
    in_space=True,
    has_boxes_3d=True,
    class_names=CLASSES,
    lists_classes=True,
    names_in=lambda detections: (detection.class_name for detection in detections),
)
VECTOR_MAP = Task(
    id="vector_map",
    output="map_elements",
    title="map elements",
    in_space=True,
    class_names=(*MAP_CLASSES, CENTERLINE),
    lists_classes=True,
    names_in=lambda elements: (element.type for element in elements),
)
LANE_GRAPH = Task(id="lane_graph", output="lane_graph", title="lane graphs", in_space=True)
PLANNING = Task(id="planning", output="plan", title="plans", in_space=True)
MOTION = Task(id="motion", output="detections_3d", title="predicted trajectories", in_space=True)
DETECTION_2D = Task(
    id="detection_2d",
    output="detections_2d",
    title="boxes in images",
    lists_classes=True,
    names_in=lambda detections: (detection.class_name for detection in detections),
)
CALIBRATION_STATUS = Task(
    id="calibration_status",
    output="calibration_status",
    title="whether camera and LiDAR calibration agree",
    class_names=("miscalibrated", "calibrated"),
    lists_classes=True,
)
CAR_PRESENCE = Task(id="car_presence", output="car_presence", title="whether a picture shows a car")
