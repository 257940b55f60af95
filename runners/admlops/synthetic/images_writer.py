"""Writing synthetic scenes as single pictures with boxes round what is seen: a folder a scene, and COCO's JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from admlops import __version__
from admlops.core.nuscenes_classes import CLASSES
from admlops.core.types import Watch
from admlops.synthetic.options import CameraOptions, SceneSpec, list_scenes
from admlops.synthetic.randomness import make_generator
from admlops.synthetic.renderer import render_camera
from admlops.synthetic.rig import Sensor
from admlops.synthetic.stage import KEYFRAME_S, Stage, set_stage
from admlops.synthetic.visible_boxes import VisibleBox, find_visible
from admlops.synthetic.writer import map_scenes, place_data_set, write_json

ANNOTATIONS = "annotations.json"
RECIPE = 2
"""Incremented whenever the same options come to give other pictures."""
JPEG_QUALITY = 90
MIN_PIXELS = 64.0
"""An object of which less is seen is a region to ignore: nobody can say what it is."""


@dataclass(frozen=True, kw_only=True)
class ImageOptions(CameraOptions):
    """`scenes` of `samples` moments, each seen by six cameras; `scale` times 1600x900 pixels."""

    samples: int = 2
    scale: float = 0.5


def synthesize_images(
    target: Path,
    options: ImageOptions,
    *,
    on_progress: Watch | None = None,
    force: bool = False,
    workers: int | None = None,
    dry_run: bool = False,
) -> bool:
    """Write pictures to `target`, `<scene>/<camera>-<moment>.jpg`, and `annotations.json` in COCO's form.

    Worlds, drives and traffic are those that `writer.synthesize` records for the same seed. A box frames the pixels
    that are seen of an object of nuScenes' detection classes; below MIN_PIXELS it is a crowd. The same options give the
    same bytes. Returns False, and does nothing, if `target` already holds exactly this data set; with `dry_run` it
    writes nothing and returns the same answer.

    Raises:
        UsageError: an option is out of range, or `target` holds another synthetic data set and `force` is not
            given, or something that is not one.
        StorageError: `target` cannot be written; nothing of the data set is left behind.
    """
    options.check()
    marker = {
        "synthetic": True,
        "admlops": __version__,
        "recipe": RECIPE,
        "version": ANNOTATIONS,
        "options": {"format": "images", **options.as_dict()},
    }

    def write(folder: Path) -> None:
        record = partial(record_pictures, options=options, folder=folder)
        specs = list_scenes(options.of_world())
        scenes = map_scenes(record, specs, options.samples, on_progress=on_progress, workers=workers)
        write_json(folder / ANNOTATIONS, _to_coco([picture for own in scenes for picture in own]))

    return place_data_set(target, marker, write, force=force, dry_run=dry_run)


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """A picture that was written, the camera that took it, and what is seen in it."""

    file_name: str
    width: int
    height: int
    camera: Sensor
    boxes: list[VisibleBox]


def record_pictures(
    spec: SceneSpec, progress: Callable[[], None], *, options: ImageOptions, folder: Path
) -> list[Annotated]:
    """Record a scene's pictures into `folder`; `progress` is called after each moment."""
    stage = set_stage(spec, options.of_world())
    (folder / spec.name).mkdir()
    found = []
    for sample in range(options.samples):
        found += [_record(stage, camera, sample, options, folder) for camera in stage.cameras]
        progress()
    return found


def _record(stage: Stage, camera: Sensor, sample: int, options: ImageOptions, folder: Path) -> Annotated:
    time = sample * KEYFRAME_S
    name = f"{stage.spec.name}/{camera.channel}-{sample:02d}.jpg"
    random = make_generator("picture", options.seed, stage.spec.name, camera.channel, sample)
    things, casters = stage.place(time)
    image = render_camera(stage.backdrop, camera, stage.ego_pose(time), things, casters, random)
    image.save(folder / name, quality=JPEG_QUALITY)
    boxes = find_visible(stage, camera, time)
    return Annotated(file_name=name, width=image.width, height=image.height, camera=camera, boxes=boxes)


def _to_coco(pictures: list[Annotated]) -> dict[str, Any]:
    numbers = {name: index + 1 for index, name in enumerate(CLASSES)}
    annotations = [
        {
            "image_id": image,
            "category_id": numbers[box.class_name],
            "bbox": [box.xyxy[0], box.xyxy[1], box.xyxy[2] - box.xyxy[0], box.xyxy[3] - box.xyxy[1]],
            "area": box.area,
            "iscrowd": int(box.area < MIN_PIXELS),
        }
        for image, picture in enumerate(pictures, 1)
        for box in picture.boxes
    ]
    return {
        "info": {"description": "Synthetic pictures of admlops; a box frames what is seen of an object"},
        "images": [_to_coco_image(number, one) for number, one in enumerate(pictures, 1)],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
        "annotations": [{"id": number, **one} for number, one in enumerate(annotations, 1)],
    }


def _to_coco_image(number: int, picture: Annotated) -> dict[str, Any]:
    """With the camera's calibration, which COCO's form does not have: models that need it find it there."""
    return {
        "id": number,
        "file_name": picture.file_name,
        "width": picture.width,
        "height": picture.height,
        "intrinsic": [list(row) for row in picture.camera.intrinsic],
        "sensor2ego": {
            "translation": list(picture.camera.translation),
            "rotation_wxyz": list(picture.camera.rotation),
        },
    }
