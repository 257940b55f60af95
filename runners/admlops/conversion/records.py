"""Poses, cuboids and scenes as JSON: the keys that our COCO files and sets of pictures have beside the form's own."""

from __future__ import annotations

from typing import Any

import msgspec

from admlops.conversion.frames import Cuboid, Pose, Quaternion, Vector3


class PoseRow(msgspec.Struct, gc=False):
    """A pose."""

    translation: Vector3
    rotation_wxyz: Quaternion

    def to_pose(self) -> Pose:
        """Return it as a pose."""
        return Pose(self.translation, self.rotation_wxyz)


class CuboidRow(msgspec.Struct, gc=False, omit_defaults=True):
    """A box in space, in the frame of the file that it stands in."""

    center: Vector3
    size_wlh: Vector3
    rotation_wxyz: Quaternion
    token: str = ""
    track: str = ""
    attributes: tuple[str, ...] = ()
    visibility: int = 0
    lidar_points: int | None = None
    radar_points: int | None = None

    def to_cuboid(self, category: str, pose: Pose) -> Cuboid:
        """Return it as an object of `category` whose pose is `pose`."""
        return Cuboid(
            token=self.token,
            category=category,
            center=pose.translation,
            size_wlh=self.size_wlh,
            rotation_wxyz=pose.rotation_wxyz,
            track=self.track,
            attributes=self.attributes,
            visibility=self.visibility,
            lidar_points=self.lidar_points,
            radar_points=self.radar_points,
        )


def cuboid_row(cuboid: Cuboid, pose: Pose) -> CuboidRow:
    """Return an object, whose pose in the file's frame is `pose`."""
    return CuboidRow(
        center=pose.translation,
        size_wlh=cuboid.size_wlh,
        rotation_wxyz=pose.rotation_wxyz,
        token=cuboid.token,
        track=cuboid.track,
        attributes=cuboid.attributes,
        visibility=cuboid.visibility,
        lidar_points=cuboid.lidar_points,
        radar_points=cuboid.radar_points,
    )


def pose_row(pose: Pose | None) -> dict[str, Any] | None:
    """Return a pose by its keys."""
    if pose is None:
        return None
    return {"translation": pose.translation, "rotation_wxyz": pose.rotation_wxyz}
