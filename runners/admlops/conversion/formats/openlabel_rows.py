"""ASAM OpenLABEL 1.0 as data: what of a file is read, and the poses in it as matrices.

Source: ASAM OpenLABEL 1.0.0, its JSON schema. A cuboid's `val` is x, y, z, qx, qy, qz, qw, sx, sy, sz, or with three
angles in place of the quaternion; sx lies along the box's own x axis. A 2D box's is cx, cy, width, height [pixels].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from scipy.spatial.transform import Rotation

from admlops.conversion.frames import Pose
from admlops.conversion.geometry import Matrix, invert, make_matrix, split_matrix

GLOBAL, EGO = "global", "ego"
QUATERNION_VALUES, ANGLE_VALUES = 10, 9


class Attribute(msgspec.Struct, gc=False):
    """A named value."""

    name: str
    val: Any


class Attributes(msgspec.Struct, gc=False):
    """What is said of a cuboid or a box besides."""

    text: list[Attribute] = []
    num: list[Attribute] = []
    boolean: list[Attribute] = []

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the texts with a name."""
        return tuple(str(one.val) for one in self.text if one.name == name)

    def number(self, name: str) -> int | None:
        """Return the whole number with a name; None where there is none."""
        return next((int(one.val) for one in self.num if one.name == name), None)


class Shape(msgspec.Struct, gc=False):
    """A cuboid or a 2D box."""

    val: list[float]
    name: str = ""
    coordinate_system: str = ""
    attributes: Attributes | None = None


class ObjectData(msgspec.Struct, gc=False):
    """The shapes of one object in one frame."""

    cuboid: list[Shape] = []
    bbox: list[Shape] = []


class FrameObject(msgspec.Struct, gc=False):
    """One object in one frame."""

    object_data: ObjectData = msgspec.field(default_factory=ObjectData)


class Object(msgspec.Struct, gc=False):
    """One object."""

    type: str
    name: str = ""


class PoseValue(msgspec.Struct, gc=False):
    """A pose in one of its three forms."""

    matrix4x4: list[float] | None = None
    quaternion: tuple[float, float, float, float] | None = None
    translation: tuple[float, float, float] | None = None
    euler_angles: tuple[float, float, float] | None = None
    sequence: str = "zyx"

    def to_matrix(self) -> Matrix:
        """Return the (4, 4) matrix; quaternions are x, y, z, w here, angles intrinsic. Raises ValueError."""
        if self.matrix4x4 is not None:
            return np.array(self.matrix4x4, np.float64).reshape(4, 4)
        matrix = np.eye(4)
        matrix[:3, 3] = self.translation or (0.0, 0.0, 0.0)
        if self.quaternion is not None:
            matrix[:3, :3] = Rotation.from_quat(self.quaternion).as_matrix()
        elif self.euler_angles is not None:
            matrix[:3, :3] = Rotation.from_euler(self.sequence.upper(), self.euler_angles).as_matrix()
        return matrix


class Transform(msgspec.Struct, gc=False):
    """Where one coordinate system lies in another."""

    src: str
    dst: str
    transform_src_to_dst: PoseValue


class Sync(msgspec.Struct, gc=False):
    """When a stream's file was taken."""

    timestamp: int | float | str | None = None


class Pinhole(msgspec.Struct, gc=False):
    """A camera's intrinsics; the matrix has three rows of four, or of three, one after the other."""

    width_px: int
    height_px: int
    camera_matrix_3x4: list[float] | None = None
    camera_matrix: list[float] | None = None
    distortion_coeffs_1xN: list[float] = []  # noqa: N815  the file's own key


class StreamProperties(msgspec.Struct, gc=False):
    """What is known of a stream."""

    intrinsics_pinhole: Pinhole | None = None
    sync: Sync | None = None
    sample_data_token: str = ""
    point_values: int = 5


class Stream(msgspec.Struct, gc=False):
    """A sensor, or its file in one frame."""

    type: str = ""
    uri: str = ""
    stream_properties: StreamProperties = msgspec.field(default_factory=StreamProperties)


class FrameProperties(msgspec.Struct, gc=False):
    """Of one frame its time, files and poses."""

    timestamp: int | float | str | None = None
    streams: dict[str, Stream] = {}
    transforms: dict[str, Transform] = {}
    sample_token: str = ""


class FrameRow(msgspec.Struct, gc=False):
    """One frame."""

    objects: dict[str, FrameObject] = {}
    frame_properties: FrameProperties = msgspec.field(default_factory=FrameProperties)


class CoordinateSystem(msgspec.Struct, gc=False):
    """A coordinate system below another one."""

    parent: str = ""
    pose_wrt_parent: PoseValue | None = None


class Metadata(msgspec.Struct, gc=False):
    """What a file is about."""

    schema_version: str
    name: str = ""
    comment: str = ""
    scene_token: str = ""
    log: dict[str, str] = {}


class OpenLabel(msgspec.Struct):
    """One recording."""

    metadata: Metadata
    objects: dict[str, Object] = {}
    frames: dict[str, FrameRow] = {}
    streams: dict[str, Stream] = {}
    coordinate_systems: dict[str, CoordinateSystem] = {}


class OpenLabelFile(msgspec.Struct):
    """The whole file."""

    openlabel: OpenLabel


def pose_value(pose: Pose) -> dict[str, Any]:
    """Return a pose as the form has it: a quaternion x, y, z, w, and a translation."""
    w, x, y, z = pose.rotation_wxyz
    return {"quaternion": (x, y, z, w), "translation": pose.translation}


def cuboid_value(pose: Pose, size_wlh: Sequence[float]) -> list[float]:
    """Return a box's ten numbers."""
    w, x, y, z = pose.rotation_wxyz
    width, length, height = size_wlh
    return [*pose.translation, x, y, z, w, length, width, height]


def read_cuboid(values: Sequence[float]) -> tuple[Matrix, tuple[float, float, float]]:
    """Return a box's pose and its width, length, height. Raises ValueError: it has not nine or ten numbers."""
    if len(values) == QUATERNION_VALUES:
        x, y, z, w = values[3:7]
        matrix = make_matrix(values[:3], (w, x, y, z))
    elif len(values) == ANGLE_VALUES:
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_euler("ZYX", [values[5], values[4], values[3]]).as_matrix()
        matrix[:3, 3] = values[:3]
    else:
        raise ValueError(f"a cuboid has {len(values)} numbers, not {QUATERNION_VALUES} or {ANGLE_VALUES}")
    length, width, height = values[-3:]
    return matrix, (width, length, height)


class Places:
    """Where coordinate systems lie in the global one in one frame."""

    def __init__(self, systems: Mapping[str, CoordinateSystem], transforms: Mapping[str, Transform]) -> None:
        self._parents: dict[str, tuple[str, Matrix]] = {}
        for name, system in systems.items():
            if system.parent and system.pose_wrt_parent is not None:
                self._parents[name] = (system.parent, system.pose_wrt_parent.to_matrix())
        self._own = {one.src: (one.dst, one.transform_src_to_dst.to_matrix()) for one in transforms.values()}
        self._mounts = {one.src: one.transform_src_to_dst.to_matrix() for one in transforms.values() if one.dst == EGO}

    def to_root(self, name: str) -> Matrix:
        """The matrix from a coordinate system to the one above all; that of an unknown one is the identity."""
        matrix, seen = np.eye(4), {""}
        while name not in seen and name != GLOBAL:
            seen.add(name)
            step = self._own.get(name) or self._parents.get(name)
            if step is None:
                break
            name, own = step
            matrix = own @ matrix
        return matrix

    def mount(self, name: str) -> Matrix | None:
        """The matrix from a sensor to the vehicle; None where the file does not say."""
        if name in self._mounts:
            return self._mounts[name]
        parent = self._parents.get(name)
        return None if parent is None or parent[0] != EGO else parent[1]

    def ego(self, name: str) -> Matrix | None:
        """The matrix from the vehicle to the global system when a sensor's file was taken."""
        mount = self.mount(name)
        if mount is None:
            return None
        if name in self._own and self._own[name][0] == GLOBAL:
            matrix: Matrix = self._own[name][1] @ invert(mount)
            return matrix
        return self.to_root(EGO)


def to_pose(matrix: Matrix | None) -> Pose | None:
    """Return a matrix as a pose."""
    return None if matrix is None else Pose(*split_matrix(matrix))
