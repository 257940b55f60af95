"""nuScenes' names of things, and what others call the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from admlops.core.nuscenes_classes import ATTRIBUTES as ATTRIBUTES
from admlops.core.nuscenes_classes import CATEGORY_CLASSES

LEVELS: Mapping[str, str] = {"1": "v0-40", "2": "v40-60", "3": "v60-80", "4": "v80-100"}
UNEVALUATED = (
    "animal",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "static_object.bicycle_rack",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
)
CATEGORIES = tuple(sorted((*CATEGORY_CLASSES, *UNEVALUATED)))
"""The 23 categories of v1.0."""

_OF_OTHERS: Mapping[str, str] = {
    "car": "vehicle.car",
    "van": "vehicle.car",
    "truck": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "tram": "vehicle.bus.rigid",
    "trailer": "vehicle.trailer",
    "construction_vehicle": "vehicle.construction",
    "pedestrian": "human.pedestrian.adult",
    "person": "human.pedestrian.adult",
    "person_sitting": "human.pedestrian.adult",
    "cyclist": "vehicle.bicycle",
    "bicycle": "vehicle.bicycle",
    "bike": "vehicle.bicycle",
    "motorcycle": "vehicle.motorcycle",
    "motorbike": "vehicle.motorcycle",
    "motorcyclist": "vehicle.motorcycle",
    "traffic_cone": "movable_object.trafficcone",
    "barrier": "movable_object.barrier",
}
"""Classes of KITTI, Scalabel, T4 and of nuScenes' detection task as categories, unless stated otherwise."""


def to_nuscenes(name: str) -> str | None:
    """Return nuScenes' category for a class of others; None where there is none."""
    if name in CATEGORIES:
        return name
    return _OF_OTHERS.get(name.lower().replace(" ", "_").replace("-", "_"))


def make_token(*parts: object) -> str:
    """Return a token of nuScenes' form, 32 hexadecimal digits, made of what it stands for."""
    return hashlib.sha256("\0".join(str(part) for part in parts).encode()).hexdigest()[:32]
