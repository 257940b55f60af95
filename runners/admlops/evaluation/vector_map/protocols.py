"""MapTR's protocols of vector map elements: Chamfer AP, its IoU variant, and MapTRv2's with centrelines.

Source: MapTR, projects/mmdet3d_plugin/datasets/map_utils/{mean_ap,tpfp,tpfp_chamfer}.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from admlops.core.nuscenes_classes import CENTERLINE, MAP_CLASSES

THRESHOLDS_M = (0.5, 1.0, 1.5)
IOU_THRESHOLDS = (*(0.5 + index * ((0.95 - 0.5) / 9) for index in range(9)), 0.95)
"""Ten IoUs at equal steps, as `numpy.linspace(0.5, 0.95, 10)` gives them."""


@dataclass(frozen=True, kw_only=True)
class MapProtocol:
    """What is evaluated. `limits` are the largest distances that match; an IoU counts as a distance of minus itself."""

    name: str
    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    limits: tuple[float, ...]
    distance: Literal["chamfer", "iou"]


CHAMFER = MapProtocol(
    name="maptr.chamfer-60x30-0.5_1.0_1.5",
    classes=MAP_CLASSES,
    thresholds=THRESHOLDS_M,
    limits=THRESHOLDS_M,
    distance="chamfer",
)
IOU = MapProtocol(
    name="maptr.iou-60x30-0.5_0.05_0.95",
    classes=MAP_CLASSES,
    thresholds=IOU_THRESHOLDS,
    limits=tuple(-value for value in IOU_THRESHOLDS),
    distance="iou",
)
CHAMFER_WITH_CENTERLINES = MapProtocol(
    name="maptrv2.chamfer-60x30-0.5_1.0_1.5-centerline",
    classes=(*MAP_CLASSES, CENTERLINE),
    thresholds=THRESHOLDS_M,
    limits=THRESHOLDS_M,
    distance="chamfer",
)
PROTOCOLS = (CHAMFER, IOU, CHAMFER_WITH_CENTERLINES)
