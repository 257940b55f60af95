"""The evaluation protocols a published number can follow, and the metrics that each one defines.

A protocol id says everything that makes two numbers comparable: classes, ranges, thresholds, averaging and the version
of the evaluator. Rates and scores are fractions (mAP 0.5, not 50), distances are metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LATENCY = "latency.batch1"
"""Frames per second of the model call alone, one frame of all cameras at a time; means nothing without its GPU."""

_NUSCENES = ("mAP", "NDS", "mATE", "mASE", "mAOE", "mAVE", "mAAE")
_MAP = ("mAP", "AP_divider", "AP_ped_crossing", "AP_boundary")
_OPENLANE = ("OLS", "DET_l", "DET_t", "TOP_ll", "TOP_lt")
_PLANNING = ("L2_1s", "L2_2s", "L2_3s", "L2_avg", "collision_1s", "collision_2s", "collision_3s", "collision_avg")

PROTOCOLS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "nuscenes.detection_cvpr_2019": _NUSCENES,
        "vad.detection-30x15": _NUSCENES,
        "maptr.chamfer-60x30-0.5_1.0_1.5": _MAP,
        "maptr.iou-60x30-0.5_0.05_0.95": _MAP,
        "maptrv2.chamfer-60x30-0.5_1.0_1.5-centerline": (*_MAP, "AP_centerline"),
        "openlanev2.1.0": _OPENLANE,
        "openlanev2.1.1": _OPENLANE,
        "stp3.planning": _PLANNING,
        "uniad.planning": _PLANNING,
        LATENCY: ("FPS",),
    }
)
"""Protocol id → the names of its metrics."""
