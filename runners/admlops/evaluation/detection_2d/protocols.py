"""The protocols of boxes in images: COCO's average precision, and how well a detector counts."""

from __future__ import annotations

COCO_PROTOCOL = "coco.bbox"
COUNTING_PROTOCOL = "counting.iou0.5-confidence0.5"
SUMMARY = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""The twelve numbers in the order in which pycocotools gives them."""

COUNTS = ("count_score", "count_error", "precision", "recall", "F1")
