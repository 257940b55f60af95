"""The names that nuScenes evaluates by: detection classes with their ranges, attributes, and the map's element types.

Source: nuscenes-devkit, `eval/detection/configs/detection_cvpr_2019.json` and `eval/detection/constants.py`; the map's
types are those of MapTR and MapTRv2.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CLASS_RANGE_M: Mapping[str, float] = MappingProxyType(
    {
        "car": 50.0,
        "truck": 50.0,
        "construction_vehicle": 50.0,
        "bus": 50.0,
        "trailer": 50.0,
        "barrier": 30.0,
        "motorcycle": 40.0,
        "bicycle": 40.0,
        "pedestrian": 40.0,
        "traffic_cone": 30.0,
    }
)
"""Detection class → how far from the ego vehicle it is evaluated [m]."""

DETECTION_CLASSES = tuple(CLASS_RANGE_M)
"""The ten classes of the detection task."""

ELEMENT_TYPES = ("divider", "ped_crossing", "boundary", "centerline")
"""The element types that a vector map may hold."""
