"""The evaluations of this task: what each needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.evaluation.base import Accumulator, Declared, MetricSpec, Needs
from admlops.evaluation.detection_2d.protocols import COCO_PROTOCOL, COUNTING_PROTOCOL, COUNTS, SUMMARY
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    from admlops.evaluation.context import Context
    from admlops.evaluation.detection_2d.evaluation import ImageResult, ImageTable


@dataclass(frozen=True, kw_only=True)
class ImageEvaluation(Declared):
    """Boxes in images under one of `protocols`."""

    def begin(self, context: Context) -> ImageTable:
        """Return the table of the run's boxes, which both protocols share."""
        from admlops.evaluation.detection_2d.evaluation import ImageTable

        return context.share("detection_2d.boxes", ImageTable)

    def finish(self, accumulator: Accumulator, context: Context) -> ImageResult:
        """Compare the boxes with those of the COCO file."""
        from admlops.evaluation.detection_2d.evaluation import evaluate_table

        return evaluate_table(cast("ImageTable", accumulator), context, self.protocol)


def _declare(
    identifier: str, protocol: str, metrics: tuple[MetricSpec, ...], headlines: Mapping[str, str], official: str
) -> ImageEvaluation:
    return ImageEvaluation(
        id=identifier,
        task="detection_2d",
        protocol=protocol,
        needs=Needs(key="detections_2d", record={"detections_2d": Take.WHOLE}, truth_2d=True),
        metrics=metrics,
        headlines=headlines,
        official=official,
    )


BOXES_2D = _declare(
    "boxes_2d",
    COCO_PROTOCOL,
    (*(MetricSpec(name) for name in SUMMARY), MetricSpec("AP_{class}")),
    {"AP": "image AP"},
    "pycocotools, which is official, has computed it already",
)
COUNTING = _declare(
    "counting",
    COUNTING_PROTOCOL,
    tuple(MetricSpec(f"{name}_{{class}}", higher_is_better=name != "count_error") for name in COUNTS),
    {"F1_car": "car F1"},
    "it is our own",
)
