"""What is annotated in one picture: the boxes that were drawn there, else those in space as its camera sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from admlops.conversion.frames import Box2D, Cuboid, Frame, SensorFile
from admlops.conversion.geometry import Matrix, corners, invert, rotation_matrices
from admlops.conversion.projection import Rule, project


@dataclass(frozen=True, kw_only=True)
class SeenBox:
    """A box in a picture; `cuboid` is what it is the projection of, `share` the part of it within the picture."""

    box: Box2D
    cuboid: Cuboid | None = None
    share: float = 1.0


def list_seen(frame: Frame, camera: SensorFile, *, rule: Rule) -> list[SeenBox] | None:
    """Return the boxes of a picture, in the order in which they are annotated; None where nobody annotated it."""
    drawn = frame.boxes_2d.get(camera.channel)
    if drawn is not None:
        return [SeenBox(box=one) for one in drawn]
    if frame.cuboids is None or camera.intrinsic is None or camera.sensor2ego is None or camera.ego2global is None:
        return None
    found = project(
        corners_in_camera(frame.cuboids, camera),
        np.array(camera.intrinsic, np.float64),
        (camera.width, camera.height),
        rule=rule,
    )
    seen = []
    for row, bounds, share in zip(found.rows.tolist(), found.bounds.tolist(), found.share.tolist(), strict=True):
        cuboid = frame.cuboids[row]
        own = {"category": cuboid.category, "track": cuboid.track}
        box = Box2D(xyxy=tuple(bounds), confidence=cuboid.confidence, **own)
        seen.append(SeenBox(box=box, cuboid=cuboid, share=share))
    return seen


def global_to_camera(camera: SensorFile) -> Matrix:
    """The (4, 4) matrix from the global frame to that of a camera whose pose is known."""
    assert camera.ego2global is not None
    assert camera.sensor2ego is not None
    return invert(camera.ego2global.matrix @ camera.sensor2ego.matrix)


def corners_in_camera(cuboids: Sequence[Cuboid], camera: SensorFile) -> Matrix:
    """The corners (N, 8, 3) of boxes in a camera's frame."""
    centers = np.array([one.center for one in cuboids], np.float64).reshape(-1, 3)
    sizes = np.array([one.size_wlh for one in cuboids], np.float64).reshape(-1, 3)
    points = corners(centers, sizes, rotation_matrices([one.rotation_wxyz for one in cuboids]))
    to_camera = global_to_camera(camera)
    moved: Matrix = points @ to_camera[:3, :3].T + to_camera[:3, 3]
    return moved
