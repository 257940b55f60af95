"""What is seen of each actor in a picture: the box round the pixels that it has in the rendered picture.

Solids are painted from far to near as the renderer does, each in the number of its actor. So a box frames what is seen,
and an actor behind a wall has none: a projected cuboid would frame more, and frame hidden actors too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import find_objects

from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.synthetic.renderer import SUPERSAMPLING, find_facing, project_faces, sort_visible
from admlops.synthetic.rig import Sensor
from admlops.synthetic.stage import Stage


@dataclass(frozen=True, kw_only=True)
class VisibleBox:
    """An actor in a picture: x1, y1, x2, y2 [pixels, x2 and y2 exclusive], and the area [pixels²] that is seen of it.

    `actor` is its index on the stage.
    """

    actor: int
    class_name: str
    xyxy: tuple[float, float, float, float]
    area: float


def find_visible(stage: Stage, camera: Sensor, time: float) -> list[VisibleBox]:
    """The boxes of the actors of nuScenes' detection classes that `camera` sees at `time` [s], the nearest last."""
    to_world = stage.ego_pose(time) @ camera.to_ego
    things, _ = stage.place(time)
    # `place` puts the props first and then the actors in their order.
    number = {id(thing): index + 1 for index, thing in enumerate(things[len(stage.props) :])}
    size = (camera.width * SUPERSAMPLING, camera.height * SUPERSAMPLING)
    raster = Image.new("I", size, 0)
    draw = ImageDraw.Draw(raster)
    for thing, _ in sort_visible(things, camera, to_world):
        for _, outline in project_faces(thing, find_facing(thing, to_world), camera, to_world):
            draw.polygon(outline, fill=number.get(id(thing), 0))
    labels = np.asarray(raster)
    counts = np.bincount(labels.ravel(), minlength=len(stage.actors) + 1)
    found = []
    for actor, place in zip(stage.actors, find_objects(labels, max_label=len(stage.actors)), strict=True):
        name = CATEGORY_CLASSES.get(actor.category)
        if place is not None and name is not None:
            rows, columns = place
            box = (columns.start, rows.start, columns.stop, rows.stop)
            area = float(counts[actor.index + 1]) / SUPERSAMPLING**2
            found.append(VisibleBox(actor=actor.index, class_name=name, xyxy=_reduce(box), area=area))
    return found


def _reduce(box: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (value / SUPERSAMPLING for value in box)
    return x1, y1, x2, y2
