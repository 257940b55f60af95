"""The names that nuScenes' tasks define: detection classes, attributes, ranges, and the classes of vector maps.

Source: nuscenes-devkit 1.2.0, `nuscenes/eval/detection/configs/detection_cvpr_2019.json` and
`nuscenes/eval/detection/constants.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CLASSES = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)
"""The ten detection classes in the order of the official configuration: sums run over them in this order."""

MMDET3D_CLASSES = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
"""The same classes in the order of mmdet3d's labels, which most models and VAD's files follow."""

ATTRIBUTES = (
    "pedestrian.moving",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "cycle.with_rider",
    "cycle.without_rider",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)

CLASS_RANGES_M: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("car", "truck", "bus", "trailer", "construction_vehicle"), 50.0),
        **dict.fromkeys(("pedestrian", "motorcycle", "bicycle"), 40.0),
        **dict.fromkeys(("traffic_cone", "barrier"), 30.0),
    }
)
"""The radius around the ego vehicle [m] within which a class is evaluated."""

CATEGORY_CLASSES: Mapping[str, str] = MappingProxyType(
    {
        "movable_object.barrier": "barrier",
        "vehicle.bicycle": "bicycle",
        "vehicle.bus.bendy": "bus",
        "vehicle.bus.rigid": "bus",
        "vehicle.car": "car",
        "vehicle.construction": "construction_vehicle",
        "vehicle.motorcycle": "motorcycle",
        "human.pedestrian.adult": "pedestrian",
        "human.pedestrian.child": "pedestrian",
        "human.pedestrian.construction_worker": "pedestrian",
        "human.pedestrian.police_officer": "pedestrian",
        "movable_object.trafficcone": "traffic_cone",
        "vehicle.trailer": "trailer",
        "vehicle.truck": "truck",
    }
)
"""Category of the annotation tables → detection class; other categories are not evaluated."""

MAP_CLASSES = ("divider", "ped_crossing", "boundary")
"""The classes of vector map elements that MapTR and its successors evaluate on nuScenes."""

CENTERLINE = "centerline"
"""MapTRv2's fourth class."""
