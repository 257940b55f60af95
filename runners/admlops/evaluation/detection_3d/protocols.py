"""The nuScenes detection protocol and VAD's variant of it: which boxes count, at what distances, and what they give.

Sources: nuscenes-devkit 1.2.0, `nuscenes/eval/detection/configs/detection_cvpr_2019.json`; VAD, in
`projects/mmdet3d_plugin/datasets/`: `vad_nusc_detection_cvpr_2019.json` and `vad_custom_nuscenes_eval.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from admlops.core.nuscenes_classes import CLASS_RANGES_M
from admlops.evaluation.base import Column, MetricSpec
from admlops.results.derived_structs import Selection, Take

ERROR_NAMES = {
    "trans_err": "mATE",
    "scale_err": "mASE",
    "orient_err": "mAOE",
    "vel_err": "mAVE",
    "attr_err": "mAAE",
}
"""The devkit's name of an error → the name that papers use."""

METRICS = (
    MetricSpec("mAP"),
    MetricSpec("NDS"),
    MetricSpec("mATE", unit="m", higher_is_better=False),
    MetricSpec("mASE", higher_is_better=False),
    MetricSpec("mAOE", unit="rad", higher_is_better=False),
    MetricSpec("mAVE", unit="m/s", higher_is_better=False),
    MetricSpec("mAAE", higher_is_better=False),
)
COLUMNS = (
    Column("mAP"),
    Column("NDS"),
    *(Column(paper, path=("errors", devkit)) for devkit, paper in ERROR_NAMES.items()),
)
BOX_KEYS: Mapping[str, Selection] = {
    "detections_3d": {
        **dict.fromkeys(("id", "class_name", "confidence", "attribute", "global_center"), Take.WHOLE),
        "bbox_3d": dict.fromkeys(("center", "size_wlh", "rotation_wxyz", "velocity"), Take.WHOLE),
    }
}
"""What is decoded of each box: all but its possible futures."""


@dataclass(frozen=True, kw_only=True)
class DetectionProtocol:
    """Which boxes count.

    Either `class_range_m` (radius around the ego vehicle, by class) or `window_m` is set. VAD's window is |Δx| < 30 m
    and |Δy| < 15 m along the axes of the *global* frame, whatever the vehicle's heading: its evaluator compares the
    devkit's `ego_translation`, a difference of global positions, and calls its parts x and y of the ego vehicle. Before
    that, as it writes a submission, VAD drops predictions below `min_score`, and those with |x| > 30 m or |y| > 15 m
    along the vehicle's own axes.
    """

    name: str
    class_range_m: Mapping[str, float] | None = None
    window_m: tuple[float, float] | None = None
    min_score: float = 0.0


NUSCENES = DetectionProtocol(name="nuscenes.detection_cvpr_2019", class_range_m=CLASS_RANGES_M)
VAD = DetectionProtocol(name="vad.detection-30x15", window_m=(30.0, 15.0), min_score=0.2)
