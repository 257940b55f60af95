"""What was found, and its form in the standard record."""

import math
from typing import Any, Dict, NamedTuple, Tuple

import numpy as np


class Object3D(NamedTuple):
    """A box in the key frame's ego frame: geometric centre [m], (width, length, height) [m], yaw [rad],
    velocity in x and y [m/s]."""

    class_name: str
    confidence: float
    center: Tuple[float, float, float]
    size_wlh: Tuple[float, float, float]
    yaw: float
    velocity: Tuple[float, float] = (0.0, 0.0)


class Element(NamedTuple):
    """A map element: `divider`, `ped_crossing` or `boundary`, and its points (n, 2) [m]."""

    type: str
    points: np.ndarray
    confidence: float


class Box2D(NamedTuple):
    """A box in one camera's image: x1, y1, x2, y2 [pixels of the original image], inside it."""

    camera: str
    class_name: str
    confidence: float
    corners: Tuple[float, float, float, float]


MOVING_M_S = 0.6  # slower is taken to stand still: matches between frames are no better than this
VEHICLES = ("car", "truck", "bus", "trailer", "construction_vehicle")
CYCLES = ("bicycle", "motorcycle")


def detection_record(index: int, item: Object3D) -> Dict[str, Any]:
    """One entry of `detections_3d`."""
    return {
        "id": index,
        "class_name": item.class_name,
        "confidence": _confidence(item.confidence),
        "attribute": _attribute(item),
        "bbox_3d": {
            "center": [round(float(value), 4) for value in item.center],
            "size_wlh": [round(float(value), 4) for value in item.size_wlh],
            "rotation_wxyz": [round(math.cos(item.yaw / 2), 9), 0.0, 0.0, round(math.sin(item.yaw / 2), 9)],
            "velocity": [round(float(value), 4) for value in item.velocity],
        },
    }


def box_record(index: int, item: Box2D) -> Dict[str, Any]:
    """One entry of `detections_2d`."""
    return {
        "id": index,
        "camera": item.camera,
        "class_name": item.class_name,
        "bbox_xyxy": [round(float(value), 2) for value in item.corners],
        "confidence": _confidence(item.confidence),
    }


def element_record(index: int, item: Element) -> Dict[str, Any]:
    """One entry of `map_elements`."""
    points = [[round(float(x), 4), round(float(y), 4)] for x, y in item.points]
    return {"id": index, "type": item.type, "points": points, "confidence": _confidence(item.confidence)}


def _attribute(item: Object3D) -> str:
    """The nuScenes attribute that the speed suggests; empty for classes that have none."""
    moving = math.hypot(*item.velocity) > MOVING_M_S
    if item.class_name in VEHICLES:
        return "vehicle.moving" if moving else "vehicle.parked"
    if item.class_name in CYCLES:
        return "cycle.with_rider" if moving else "cycle.without_rider"
    if item.class_name == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    return ""


def _confidence(value: float) -> float:
    return round(min(1.0, max(0.0, float(value))), 6)
