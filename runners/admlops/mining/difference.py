"""What changed between two sets of labels: added, removed, moved, relabelled, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from admlops.conversion.frames import Box2D, Cuboid, Frame
from admlops.conversion.geometry import invert
from admlops.conversion.points import read_points
from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.evaluation.detection_2d.counting import box_iou
from admlops.mining.found import REACH_M, SAME_IOU

MOVED_M, MOVED_PX, TURNED = 0.01, 0.5, 0.005
"""A box counts as moved above these: a centre or a side [m], a corner [pixels], a turn (of an axis, about its sine)."""
What = Literal["added", "removed", "moved", "relabelled"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change; `place` is the camera, empty in space. A box that is moved and relabelled is two changes."""

    sample: str
    place: str
    what: What
    class_name: str
    before: str = ""
    by: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `by` is in metres, or pixels in a picture."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}


def change_cuboids(frame: Frame, new: Sequence[Cuboid]) -> tuple[tuple[Cuboid, ...], list[Change]]:
    """Return a sample's new objects, and what changed.

    An object that was there keeps its track, its category where the class is the same, and what the new labels do not
    say. Where a box is new or moved its LiDAR points are counted again.
    """
    old = frame.cuboids or ()
    partners = _match_cuboids(old, new)
    changes: list[Change] = []
    kept: list[Cuboid] = []
    for one, partner in zip(new, partners, strict=True):
        if partner is None:
            changes.append(Change(sample=frame.token, place="", what="added", class_name=one.category))
            kept.append(_count_points(frame, one))
            continue
        before = old[partner]
        moved = _distance(before, one)
        own = _adopt(before, one)
        if moved is not None:
            own = _count_points(frame, own)
            changes.append(Change(sample=frame.token, place="", what="moved", class_name=own.category, by=moved))
        if own.category != before.category:
            changes.append(_relabelled(frame.token, "", before.category, own.category))
        kept.append(own)
    taken = set(partners)
    gone = [one for index, one in enumerate(old) if index not in taken]
    changes += [Change(sample=frame.token, place="", what="removed", class_name=one.category) for one in gone]
    return tuple(kept), changes


def change_boxes(
    sample: str, place: str, old: Sequence[Box2D], new: Sequence[Box2D]
) -> tuple[tuple[Box2D, ...], list[Change]]:
    """Return a picture's new boxes, and what changed. Regions to be ignored, which tools do not have, stay."""
    drawn = [one for one in old if not one.ignore]
    partners = _match_boxes(drawn, new)
    changes: list[Change] = []
    kept: list[Box2D] = [one for one in old if one.ignore]
    for one, partner in zip(new, partners, strict=True):
        if partner is None:
            changes.append(Change(sample=sample, place=place, what="added", class_name=one.category))
            kept.append(one)
            continue
        before = drawn[partner]
        by = float(np.abs(np.subtract(before.xyxy, one.xyxy)).max())
        same = by <= MOVED_PX
        if not same:
            changes.append(Change(sample=sample, place=place, what="moved", class_name=one.category, by=by))
        if before.category != one.category:
            changes.append(_relabelled(sample, place, before.category, one.category))
        kept.append(replace(before, category=one.category) if same else replace(one, track=before.track))
    gone = [one for index, one in enumerate(drawn) if index not in set(partners)]
    changes += [Change(sample=sample, place=place, what="removed", class_name=one.category) for one in gone]
    return tuple(kept), changes


def _relabelled(sample: str, place: str, before: str, after: str) -> Change:
    return Change(sample=sample, place=place, what="relabelled", class_name=after, before=before)


def _match_cuboids(old: Sequence[Cuboid], new: Sequence[Cuboid]) -> list[int | None]:
    """The old object of each new one: that of the same token, else the nearest free one within 2 m."""
    by_token = {one.token: index for index, one in enumerate(old)}
    partners = [by_token.get(one.token) for one in new]
    free = set(range(len(old))) - {index for index in partners if index is not None}
    for number, one in enumerate(new):
        if partners[number] is None and free:
            apart = {index: float(np.hypot(*np.subtract(old[index].center, one.center)[:2])) for index in free}
            nearest = min(apart, key=lambda index: apart[index])
            if apart[nearest] < REACH_M:
                partners[number] = nearest
                free.discard(nearest)
    return partners


def _match_boxes(old: Sequence[Box2D], new: Sequence[Box2D]) -> list[int | None]:
    """The old box of each new one: in order of overlap, from an IoU of 0.5 on."""
    partners: list[int | None] = [None] * len(new)
    if not old or not new:
        return partners
    shared = box_iou(np.array([one.xyxy for one in new], float), np.array([one.xyxy for one in old], float))
    while shared.max() >= SAME_IOU:
        row, column = np.unravel_index(int(shared.argmax()), shared.shape)
        partners[int(row)] = int(column)
        shared[row, :] = shared[:, column] = -1.0
    return partners


def _distance(before: Cuboid, after: Cuboid) -> float | None:
    """How far a box was moved [m], the most of centre and sides; None where nothing is."""
    by = max(*np.abs(np.subtract(before.center, after.center)), *np.abs(np.subtract(before.size_wlh, after.size_wlh)))
    turned = np.abs(before.pose.matrix[:3, :3] - after.pose.matrix[:3, :3]).max()
    return float(by) if by > MOVED_M or turned > TURNED else None


def _adopt(before: Cuboid, after: Cuboid) -> Cuboid:
    """The new box as the old object."""
    same = _class(before.category) == _class(after.category)
    place = after if _distance(before, after) is not None else before
    return replace(
        before,
        category=before.category if same else after.category,
        center=place.center,
        size_wlh=place.size_wlh,
        rotation_wxyz=place.rotation_wxyz,
        attributes=after.attributes or before.attributes,
        visibility=after.visibility or before.visibility,
        confidence=None,
    )


def _class(category: str) -> str:
    return CATEGORY_CLASSES.get(category, category)


def _count_points(frame: Frame, one: Cuboid) -> Cuboid:
    """A box with the number of LiDAR points in it; as it is where there is no LiDAR."""
    lidar = frame.lidar
    if lidar is None or lidar.sensor2ego is None or lidar.ego2global is None:
        return replace(one, confidence=None)
    to_box = invert(one.pose.matrix) @ lidar.ego2global.matrix @ lidar.sensor2ego.matrix
    points = read_points(lidar)[:, :3].astype(np.float64) @ to_box[:3, :3].T + to_box[:3, 3]
    width, length, height = one.size_wlh
    inside = (np.abs(points) <= np.array([length, width, height]) / 2).all(axis=1)
    return replace(one, lidar_points=int(inside.sum()), radar_points=one.radar_points or 0, confidence=None)
