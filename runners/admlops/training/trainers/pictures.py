"""The trainer of detectors in single pictures: pictures and boxes for a program in the model's folder.

Classes are the model's own. Boxes of others, and regions that hold no object of their own, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from admlops.catalog import Model
from admlops.core.errors import DataError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.datasets.annotations import ImageAnnotation
from admlops.datasets.base import HasBoxes2D, Scene
from admlops.training.trainer import Place, own_program


class PicturesTrainer:
    """Gives the program `classes`, and `samples` and `held_out`: each {path, width, height, boxes}.

    A box is [x1, y1, x2, y2, label] in pixels of the original picture; `label` is the class's number in `classes`.
    """

    id = "pictures"
    takes_processes = False

    def program(self, layout: Layout, model: Model) -> Path:
        return own_program(model)

    def prepare(self, place: Place, *, say: Say) -> dict[str, Any]:
        """List the annotated pictures of both splits. Raises DataError: there are no boxes to learn from."""
        if not isinstance(place.data, HasBoxes2D):
            raise DataError(
                f"{place.data.root} has no boxes in pictures, which {place.name} learns from",
                hint="admlops data synthesize cars --format images   # makes pictures with boxes",
            )
        classes = place.model.classes["detection_2d"]
        training = _list_pictures(place, place.scenes, place.data, classes)
        held_out = _list_pictures(place, place.held_out, place.data, classes)
        boxes = sum(len(one["boxes"]) for one in training)
        if not boxes:
            raise DataError(
                f"{place.data.root}: no picture of {place.split} has a box of a class of {place.name}",
                hint=f"admlops models show {place.name}   # lists its classes",
            )
        say(f"{boxes} boxes in {len(training)} pictures")
        return {"samples": training, "held_out": held_out, "classes": list(classes)}


def _list_pictures(
    place: Place, scenes: Sequence[Scene], truth: HasBoxes2D, classes: Sequence[str]
) -> list[dict[str, Any]]:
    labels = {name: number for number, name in enumerate(classes)}
    found = []
    for token in (token for scene in scenes for token in scene.samples):
        cameras = place.data.sample(token)["cameras"]
        annotations = truth.image_annotations(token)
        found += [_describe(cameras[name], own, labels) for name, own in annotations.items() if name in cameras]
    return found


def _describe(camera: Mapping[str, Any], own: ImageAnnotation, labels: Mapping[str, int]) -> dict[str, Any]:
    rows = zip(own.boxes.tolist(), own.classes, own.ignore.tolist(), strict=True)
    boxes = [[*box, labels[name]] for box, name, ignored in rows if name in labels and not ignored]
    return {**{key: camera[key] for key in ("path", "width", "height")}, "boxes": boxes}


TRAINER = PicturesTrainer()
