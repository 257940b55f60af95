"""Traffic elements of a world as OpenLane-V2 annotates them: signals and signs that the front camera sees.

A signal stands beside every stop line; here a post with two direction signs stands before it: straight on above, the
near turn below. A signal governs all lanes of its arm that lead to the junction and all ways from them through it; a
sign governs the ways that it points along, and the lanes that they begin at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from admlops.synthetic.mesh import Colour, Mesh, MeshBuilder
from admlops.synthetic.openlane_lanes import Centreline
from admlops.synthetic.rig import Sensor
from admlops.synthetic.scenery import SIGNAL_HEIGHT, Prop, has_green, kerbside_pose, make_post
from admlops.synthetic.stage import Stage
from admlops.synthetic.visibility import find_silhouette, list_boxes
from admlops.synthetic.world import Arm, World

Array = NDArray[np.float64]

TRAFFIC_LIGHT, ROAD_SIGN = 1, 2
RED, GREEN, GO_STRAIGHT, TURN_LEFT, TURN_RIGHT = 1, 2, 4, 5, 6
SIGN_BEFORE_STOP_M = 14.0
BOARD_M = 0.8
BOARD_AT_M = {"straight": 3.5, "near": 2.6}
"""The heights of the boards' centres."""
SMALLEST_PX = 12
"""At full size; what is narrower cannot be told apart."""
VISIBLE_SHARE = 0.6
FACING = np.cos(np.radians(65.0))
IN_FRONT_M = 0.2
"""An element is drawn over the post that it is fixed to."""


@dataclass(frozen=True)
class Element:
    """`solid` is centre x, y, z and size [m] in the frame of `pose` (x, y, heading), whose x it faces.

    `movement` is that of the ways it governs, `all` for a signal.
    """

    identifier: str
    category: int
    attribute: int
    arm: str
    movement: str
    pose: Array
    solid: Array

    def governs(self, line: Centreline, lines: list[Centreline]) -> bool:
        """Tell whether what it shows holds for the traffic on `line`; `lines` are all of the world."""
        if line.arm != self.arm or not (line.in_junction or line.successors):
            return False
        ways = [line] if line.in_junction else [lines[number] for number in line.successors]
        return self.movement == "all" or any(way.movement == self.movement for way in ways)


@dataclass(frozen=True)
class SeenElement:
    """An element and its box x1, y1, x2, y2 (4,) [pixels] in the front picture."""

    element: Element
    box: Array


def list_elements(world: World) -> list[Element]:
    """The signal of every arm, then its signs."""
    found = []
    near_turn = TURN_LEFT if world.drive_side > 0 else TURN_RIGHT
    for arm in world.arms.values():
        at_stop, before = kerbside_pose(world, arm, arm.stop_distance), sign_pose(world, arm)
        head = np.array([0.0, 0.0, SIGNAL_HEIGHT - 0.475, 0.30, 0.34, 0.95])
        colour = GREEN if has_green(arm) else RED
        found.append(Element(f"{arm.name}-signal", TRAFFIC_LIGHT, colour, arm.name, "all", at_stop, head))
        for movement, attribute in (("straight", GO_STRAIGHT), ("near", near_turn)):
            board = np.array([0.0, 0.0, BOARD_AT_M[movement], 0.06, BOARD_M, BOARD_M])
            name = f"{arm.name}-{movement}"
            found.append(Element(name, ROAD_SIGN, attribute, arm.name, movement, before, board))
    return found


def sign_pose(world: World, arm: Arm) -> Array:
    """x, y, heading (3,) of the post with an arm's signs."""
    return kerbside_pose(world, arm, arm.stop_distance + SIGN_BEFORE_STOP_M)


def place_signs(world: World) -> list[Prop]:
    """The posts with direction signs; signals are part of every world's scenery."""
    mesh = make_sign_post(turn_left=world.drive_side > 0)
    return [make_post(sign_pose(world, arm), mesh, 4.0) for arm in world.arms.values()]


def make_sign_post(*, turn_left: bool) -> Mesh:
    """A post with two blue boards that face +x: an arrow straight on, and below it one to the side."""
    build = MeshBuilder()
    build.column((-0.06, 0.0), (0.05, 0.05), (0.0, 4.0), (120.0, 122.0, 124.0), layer=0)
    for movement, height in BOARD_AT_M.items():
        half = BOARD_M / 2
        low, high = (-0.03, -half, height - half), (0.03, half, height + half)
        front = build.block(low, high, (34.0, 74.0, 168.0))[0]
        _paint_arrow(build, front, "straight" if movement == "straight" else "left" if turn_left else "right")
    return build.build()


def _paint_arrow(build: MeshBuilder, quad: Array, towards: str) -> None:
    white: Colour = (238.0, 240.0, 242.0)
    if towards == "straight":
        build.decal(quad, (0.43, 0.57), (0.12, 0.62), white)
        corners = [(0.26, 0.58), (0.74, 0.58), (0.50, 0.90)]
    else:
        build.decal(quad, _across(0.52, 0.66, towards), (0.14, 0.68), white)
        build.decal(quad, _across(0.34, 0.66, towards), (0.54, 0.68), white)
        corners = [(0.10, 0.61), (0.38, 0.37), (0.38, 0.85)]
        if towards == "right":
            corners = [(1 - u, v) for u, v in corners[::-1]]
    build.face([quad[0] + (quad[1] - quad[0]) * u + (quad[3] - quad[0]) * v for u, v in corners], white)


def _across(low: float, high: float, towards: str) -> tuple[float, float]:
    return (low, high) if towards == "left" else (1 - high, 1 - low)


def see_elements(
    stage: Stage, elements: list[Element], camera: Sensor, ego_pose: Array, time: float, *, scale: float
) -> list[SeenElement]:
    """The elements that face the camera, are large enough in its picture, and mostly not behind something.

    Args:
        ego_pose: the pose (4, 4) of the frame in which `camera` is placed.
        scale: of the picture, 1 at full size.
    """
    to_world = ego_pose @ camera.to_ego
    outlines: dict[int, tuple[Array, float]] = {}
    boxes: dict[int, Array] = {}
    for index, element in enumerate(elements):
        found = (
            find_silhouette(element.solid, element.pose, camera, to_world, 1.0) if _faces(element, to_world) else None
        )
        box = None if found is None else _box(found[0], camera)
        if found is not None and box is not None and min(box[2:] - box[:2]) >= SMALLEST_PX * scale:
            outlines[index], boxes[index] = found, box
    shares = _visible_shares(stage, camera, to_world, time, outlines, elements)
    return [SeenElement(elements[index], box) for index, box in boxes.items() if shares[index] >= VISIBLE_SHARE]


def _faces(element: Element, to_world: Array) -> bool:
    towards = to_world[:2, 3] - element.pose[:2]
    ahead = np.array([np.cos(element.pose[2]), np.sin(element.pose[2])])
    return bool(towards @ ahead >= FACING * np.linalg.norm(towards))


def _box(outline: Array, camera: Sensor) -> Array | None:
    """The outline's box, if all of it lies in the picture."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    if low.min() < 0 or high[0] > camera.width or high[1] > camera.height:
        return None
    return np.concatenate([low, high])


def _visible_shares(
    stage: Stage,
    camera: Sensor,
    to_world: Array,
    time: float,
    silhouettes: dict[int, tuple[Array, float]],
    elements: list[Element],
) -> dict[int, float]:
    """The share of each silhouette that nothing nearer covers, by painting everything from far to near."""
    if not silhouettes:
        return {}
    raster = Image.new("I", (camera.width, camera.height), 0)
    draw = ImageDraw.Draw(raster)
    painted: list[tuple[float, int, Array]] = []
    for distance, _, solid, pose in list_boxes(stage, time, to_world):
        found = find_silhouette(solid, pose, camera, to_world, 1.0)
        if found is not None:
            painted.append((distance, 0, found[0]))
    for index, (outline, _) in silhouettes.items():
        distance = float(np.hypot(*(elements[index].pose[:2] - to_world[:2, 3]))) - IN_FRONT_M
        painted.append((distance, index + 1, outline))
    for _, index, outline in sorted(painted, key=lambda item: -item[0]):
        draw.polygon((outline - 0.5).ravel().tolist(), fill=index)
    seen = np.bincount(np.asarray(raster).ravel(), minlength=len(elements) + 1)[1:]
    return {index: float(seen[index]) / max(area, 1.0) for index, (_, area) in silhouettes.items()}
