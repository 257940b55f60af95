"""The evaluations of this task: what each needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.evaluation.base import Accumulator, Column, Declared, ErrorSpec, MetricSpec, Needs
from admlops.evaluation.detection_2d.protocols import (
    AT_THRESHOLD,
    CAR,
    COCO_PROTOCOL,
    COUNT_METRICS,
    COUNT_PROTOCOL,
    COUNTING_PROTOCOL,
    COUNTS,
    SUMMARY,
    VEHICLES,
    ClassSet,
)
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    from admlops.evaluation.context import Context
    from admlops.evaluation.detection_2d.car_results import CarResult, CountResult
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
    {"F1_car": "car F1 at 0.5"},
    "it is our own",
)


@dataclass(frozen=True, kw_only=True)
class CarEvaluation(Declared):
    """The cars of one class set."""

    classes: ClassSet

    def begin(self, context: Context) -> ImageTable:
        """Return the table of the run's boxes, which all protocols share."""
        return BOXES_2D.begin(context)

    def finish(self, accumulator: Accumulator, context: Context) -> CarResult:
        """Match the boxes with the ground truth."""
        from admlops.evaluation.detection_2d.car_results import evaluate_car_table

        return evaluate_car_table(cast("ImageTable", accumulator), context, self.classes)


@dataclass(frozen=True, kw_only=True)
class CarCountEvaluation(Declared):
    """Numbers of cars, where no boxes are annotated."""

    def begin(self, context: Context) -> ImageTable:
        """Return the table of the run's boxes, which all protocols share."""
        return BOXES_2D.begin(context)

    def finish(self, accumulator: Accumulator, context: Context) -> CountResult:
        """Compare the number of boxes with the number of cars."""
        from admlops.evaluation.detection_2d.car_results import evaluate_count_table

        return evaluate_count_table(cast("ImageTable", accumulator), context)


def _declare_cars(identifier: str, classes: ClassSet, *, errors: ErrorSpec | None) -> CarEvaluation:
    names = ("AP50", "best_F1", *AT_THRESHOLD)
    return CarEvaluation(
        id=identifier,
        task="detection_2d",
        protocol=classes.protocol,
        needs=Needs(key="detections_2d", record={"detections_2d": Take.WHOLE}, truth_2d=True),
        metrics=tuple(MetricSpec(name, higher_is_better=name != "count_error") for name in names),
        columns=tuple(Column(name) for name in names),
        headlines={"AP50": f"{classes.title} AP50"},
        official="pycocotools, which is official, has matched the boxes already",
        errors=errors,
        classes=classes,
    )


CARS = _declare_cars("cars", CAR, errors=ErrorSpec(section="cars", prefix="car_"))
CARS_MERGED = _declare_cars("cars_merged", VEHICLES, errors=None)
CAR_COUNT = CarCountEvaluation(
    id="car_count",
    task="detection_2d",
    protocol=COUNT_PROTOCOL,
    needs=Needs(
        key="detections_2d",
        record={"detections_2d": Take.WHOLE},
        truth_2d=True,
        counts_do=True,
        data=("counts",),
    ),
    metrics=tuple(MetricSpec(name, higher_is_better=name != "count_error") for name in COUNT_METRICS),
    headlines={"count_score": "car count"},
    official="it is our own",
)
