"""The ground truth of a run's boxes in images: from the file that was named, else from the data set itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from admlops.core.counting import count_of
from admlops.core.errors import DataError
from admlops.datasets.annotations import ImageAnnotation
from admlops.datasets.base import ANY_CLASS, BOXES_2D, HasBoxes2D, HasPictureNames
from admlops.evaluation.context import NEEDS_BOXES
from admlops.evaluation.detection_2d.coco_truth import CocoTruth, read_coco
from admlops.evaluation.detection_2d.scores import Image, ImageTruth

if TYPE_CHECKING:
    from admlops.datasets.base import Dataset
    from admlops.evaluation.context import Context


def read_truth(context: Context) -> CocoTruth:
    """Return the ground truth of the run's pictures; read once, whichever evaluations ask.

    It comes from `--boxes-2d FILE` where that is given, else from the data set. Pictures without annotations are not in
    `images`: they are not evaluated, and `notes` says how many there are.

    Raises:
        DataError: there is none, it cannot be read, or it has none of the run's pictures.
    """
    return context.share("detection_2d.truth", lambda: _read(context))


def list_truth_notes(context: Context) -> list[str]:
    """Return a sentence about pictures that are not annotated, if there are any."""
    truth = read_truth(context)
    missing = truth.cameras - len(truth.images)
    return [f"not annotated and not evaluated: {missing} of {count_of(truth.cameras, 'picture')}"] if missing else []


def name_pictures(data: Dataset, samples: Mapping[str, Mapping[str, Any]]) -> dict[Image, str]:
    """Return the name of every picture, with the folders that the data set gives it, by sample and camera."""
    named = data if isinstance(data, HasPictureNames) else None
    return {
        (token, camera): str(entry["path"]) if named is None else named.picture_name(token, camera)
        for token, sample in samples.items()
        for camera, entry in sample["cameras"].items()
    }


def _read(context: Context) -> CocoTruth:
    if context.truth_2d is not None:
        return read_coco(context.truth_2d, name_pictures(context.data, context.samples))
    if BOXES_2D not in context.capabilities:
        raise DataError(f"{context.data.root} has no boxes in pictures", hint=NEEDS_BOXES)
    data = cast("HasBoxes2D", context.data)
    classes = data.classes_2d()
    found = {(token, camera): _to_truth(one, classes) for token, camera, one in _annotations(data, context)}
    if not found:
        raise DataError(
            f"nothing of the run's {count_of(len(context.tokens), 'picture')} in {context.data.root} is annotated",
            hint=f"admlops data check {context.data.root}   # see what its annotations are about",
        )
    return CocoTruth(
        images=found,
        places={},
        categories=dict(enumerate(classes)),
        classes=classes,
        cameras=sum(len(sample["cameras"]) for sample in context.samples.values()),
        sha256=data.truth_sha256(),
    )


def _annotations(data: HasBoxes2D, context: Context) -> Iterator[tuple[str, str, ImageAnnotation]]:
    for token in context.tokens:
        for camera, annotation in data.image_annotations(token).items():
            yield token, camera, annotation


def _to_truth(annotation: ImageAnnotation, classes: tuple[str, ...]) -> ImageTruth:
    """Return the annotation as pycocotools takes it: what is ignored for every class is a crowd of each."""
    rows = [
        (index, name)
        for index, own in enumerate(annotation.classes)
        for name in (classes if own == ANY_CLASS else (own,))
    ]
    chosen = np.array([index for index, _ in rows], dtype=np.int64)
    return ImageTruth(
        boxes=annotation.boxes[chosen].reshape(-1, 4),
        classes=tuple(name for _, name in rows),
        crowd=annotation.ignore[chosen],
        areas=annotation.areas[chosen],
    )
