"""The evaluations of this task: what each needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.evaluation.base import BY_SCENE, Accumulator, Declared, ErrorSpec, Needs, OfficialCode
from admlops.evaluation.detection_3d.protocols import BOX_KEYS, COLUMNS, METRICS, NUSCENES, VAD, DetectionProtocol

if TYPE_CHECKING:
    from admlops.evaluation.context import Context
    from admlops.evaluation.detection_3d.box_table import BoxTable
    from admlops.evaluation.detection_3d.evaluation import DetectionResult


@dataclass(frozen=True, kw_only=True)
class DetectionEvaluation(Declared):
    """Boxes in space under one of `protocols`."""

    boxes: DetectionProtocol

    def begin(self, context: Context) -> BoxTable:
        """Return the table of the run's boxes, which all protocols share."""
        from admlops.evaluation.detection_3d.box_table import BoxTable

        return context.share("detection_3d.boxes", lambda: BoxTable(verbatim=context.run.header.is_submission))

    def finish(self, accumulator: Accumulator, context: Context) -> DetectionResult:
        """Match the boxes with nuScenes' annotations."""
        from admlops.evaluation.detection_3d.evaluation import evaluate_table

        return evaluate_table(cast("BoxTable", accumulator), context, self.boxes)


def _declare(
    identifier: str, boxes: DetectionProtocol, official: OfficialCode, *, errors: ErrorSpec | None, on_request: bool
) -> DetectionEvaluation:
    return DetectionEvaluation(
        id=identifier,
        task="detection_3d",
        protocol=boxes.name,
        needs=Needs(key="detections_3d", record=BOX_KEYS, data=("boxes_3d",), joins=True),
        metrics=METRICS,
        columns=COLUMNS,
        headlines={"mAP": "VAD's mAP", "NDS": "VAD's NDS"} if on_request else {"mAP": "box mAP", "NDS": "NDS"},
        slices=(BY_SCENE[0], "distance", "visibility", *BY_SCENE[1:]),
        official=official,
        errors=errors,
        on_request=on_request,
        boxes=boxes,
    )


_RUNNERS = "admlops.evaluation.detection_3d.official"
DETECTION = _declare(
    "detection",
    NUSCENES,
    OfficialCode(package="nuscenes-devkit", runner=f"{_RUNNERS}:run_devkit"),
    errors=ErrorSpec(section="detection", prefix=""),
    on_request=False,
)
VAD_DETECTION = _declare(
    "vad_detection",
    VAD,
    OfficialCode(package="VAD", runner=f"{_RUNNERS}:run_vad", checkout="VAD"),
    errors=None,
    on_request=True,
)
