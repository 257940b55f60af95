"""The protocols of boxes in images: COCO's average precision, counting, and the detection and counting of cars."""

from __future__ import annotations

from dataclasses import dataclass

COCO_PROTOCOL = "coco.bbox"
COUNTING_PROTOCOL = "counting.iou0.5-confidence0.5"
SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""The twelve numbers in the order in which pycocotools gives them."""

COUNTS = ("count_score", "count_error", "precision", "recall", "F1")

CAR_IOU = 0.5
"""The least IoU at which a box is right."""

AT_THRESHOLD = ("F1", "precision", "recall", "count_score", "count_error")
"""The numbers at the model's operating threshold."""


@dataclass(frozen=True, kw_only=True)
class ClassSet:
    """The classes that count as cars.

    Attributes:
        names: classes of the ground truth and of the model.
        nms_iou: of two boxes of different or equal classes that overlap by more than this, the surer one stays; None
            where the set has one class, whose boxes the model itself has suppressed.
    """

    names: tuple[str, ...]
    nms_iou: float | None = None

    @property
    def title(self) -> str:
        """The names with + between: `car+truck+bus`."""
        return "+".join(self.names)

    @property
    def protocol(self) -> str:
        """The id of the protocol: `car_detection.car-iou0.5`."""
        merged = "" if self.nms_iou is None else f"-nms{self.nms_iou:g}"
        return f"car_detection.{self.title}-iou{CAR_IOU:g}{merged}"


CAR = ClassSet(names=("car",))
VEHICLES = ClassSet(names=("car", "truck", "bus"), nms_iou=0.6)
"""Detectors trained on COCO call jeeps and vans truck or bus, also both at once."""

COUNT_PROTOCOL = "car_count.car"
"""Against a number of cars for each picture, and no boxes."""
COUNT_METRICS = ("count_score", "count_error", "F1_bound")
