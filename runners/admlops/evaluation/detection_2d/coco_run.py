"""pycocotools' evaluation of lists of annotations in memory, without what it prints."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import Any


def make_evaluation(
    truths: Sequence[dict[str, Any]],
    predictions: Sequence[dict[str, Any]],
    *,
    image_ids: Iterable[int],
    classes: Sequence[str],
) -> Any:
    """Return a COCOeval of boxes, not run yet. The id of a class is its place in `classes`, from 1."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = [{"id": number} for number in image_ids]
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(classes)]
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (truths, predictions):
            side = COCO()
            side.dataset = {"images": images, "categories": categories, "annotations": annotations}
            side.createIndex()
            sides.append(side)
        return COCOeval(*sides, iouType="bbox")


def run_evaluation(evaluation: Any, *, summarize: bool = False) -> None:
    """Match and accumulate, and compute COCO's twelve numbers where they are wanted."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        if summarize:
            evaluation.summarize()
