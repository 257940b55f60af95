"""What every form is read into and written from: scenes of frames, with their files, poses, and annotated objects.

Metres, seconds unless a name says otherwise, pixels of the stored picture. Quaternions are w, x, y, z. The ego frame
has x forward, y left, z up. Cameras look along z, x to the right, y down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from admlops.conversion.geometry import make_matrix

Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
Matrix = NDArray[np.float64]
Modality = Literal["camera", "lidar", "radar"]


@dataclass(frozen=True)
class Pose:
    """Where something is and how it is turned: from its own frame to the one that it is given in."""

    translation: Vector3
    rotation_wxyz: Quaternion

    @cached_property
    def matrix(self) -> Matrix:
        """The (4, 4) matrix."""
        return make_matrix(self.translation, self.rotation_wxyz)


IDENTITY = Pose((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))


@dataclass(frozen=True, kw_only=True)
class SensorFile:
    """One file of one sensor.

    Attributes:
        name: its path in the data set, with forward slashes.
        path: where it is.
        sensor2ego: the calibration; None where it is not known, as of single pictures.
        ego2global: the vehicle's pose when this file was taken.
        intrinsic: (3, 3) of a camera.
        distortion: OpenCV's coefficients, 4 to 14; empty for a rectified picture.
        columns: numbers of a point of a LiDAR file, float32 each: x, y, z, intensity, and perhaps the ring.
        points_pose: what takes a LiDAR file's points to the sensor's frame; None where they are in it.
        is_key: whether its frame is annotated; else it is a sweep before it.
    """

    channel: str
    modality: Modality
    name: str
    path: Path
    timestamp_us: int = 0
    sensor2ego: Pose | None = None
    ego2global: Pose | None = None
    width: int = 0
    height: int = 0
    intrinsic: tuple[Vector3, Vector3, Vector3] | None = None
    distortion: tuple[float, ...] = ()
    columns: int = 5
    points_pose: Pose | None = None
    is_key: bool = True
    token: str = ""


@dataclass(frozen=True, kw_only=True)
class Cuboid:
    """An annotated object, in the global frame; its length lies along its x axis.

    Attributes:
        track: the same of one object in every frame; empty where it is not known.
        visibility: nuScenes' level, 1 to 4; 0 where none is stated.
        lidar_points, radar_points: in the box; None where nobody counted.
        confidence: of a prediction; None of an annotation.
    """

    token: str
    category: str
    center: Vector3
    size_wlh: Vector3
    rotation_wxyz: Quaternion
    track: str = ""
    attributes: tuple[str, ...] = ()
    visibility: int = 0
    lidar_points: int | None = None
    radar_points: int | None = None
    confidence: float | None = None

    @cached_property
    def pose(self) -> Pose:
        """From its own frame to the global one."""
        return Pose(self.center, self.rotation_wxyz)


@dataclass(frozen=True, kw_only=True)
class Box2D:
    """An annotated object in a picture: x1, y1, x2, y2 [pixels, x2 and y2 exclusive].

    `area` is of its outline; `confidence` of a prediction.
    """

    xyxy: tuple[float, float, float, float]
    category: str
    ignore: bool = False
    area: float | None = None
    track: str = ""
    confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One annotated moment.

    Attributes:
        ego2global: the vehicle's pose at the LiDAR's time; None of single pictures.
        files: of every sensor; the sweeps before a key frame too.
        cuboids: None where nobody annotated objects in space.
        boxes_2d: by camera; a picture that nobody annotated is not there.
        classes: by task and camera, a class that is said of it.
    """

    token: str
    timestamp_us: int
    files: tuple[SensorFile, ...]
    ego2global: Pose | None = None
    cuboids: tuple[Cuboid, ...] | None = None
    boxes_2d: Mapping[str, tuple[Box2D, ...]] = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def cameras(self) -> dict[str, SensorFile]:
        """The key frame's pictures by channel."""
        return {one.channel: one for one in self.files if one.is_key and one.modality == "camera"}

    @cached_property
    def lidar(self) -> SensorFile | None:
        """The key frame's LiDAR file, the first where there are several."""
        return next((one for one in self.files if one.is_key and one.modality == "lidar"), None)


@dataclass(frozen=True, kw_only=True)
class Log:
    """What a scene was cut from."""

    logfile: str = ""
    vehicle: str = ""
    date: str = ""
    location: str = ""


@dataclass(frozen=True, kw_only=True)
class SceneFrames:
    """Frames in time order; `is_sequence` is false where they are unrelated."""

    name: str
    token: str
    frames: Sequence[Frame]
    description: str = ""
    log: Log = field(default_factory=Log)
    is_sequence: bool = True


@dataclass(frozen=True, kw_only=True)
class MapMask:
    """A map's picture and the places that it is of."""

    name: str
    path: Path
    category: str
    locations: tuple[str, ...]


class Recording(Protocol):
    """Data in some form, read scene by scene."""

    @property
    def root(self) -> Path:
        """Where it is: a folder or a file."""

    @property
    def form(self) -> str:
        """The id of its form."""

    @property
    def version(self) -> str:
        """The tables' folder, or the like; empty where there is none."""

    @property
    def scene_names(self) -> Sequence[str]:
        """Every scene, in order."""

    def scenes(self, names: Sequence[str]) -> Iterator[SceneFrames]:
        """Give the named scenes in that order. Raises DataError."""

    def find_categories(self) -> Sequence[str]:
        """The categories that objects may have, in the data's order; those that none has too, where it names them."""

    def find_maps(self) -> Sequence[MapMask]:
        """The maps' pictures."""

    def find_folders(self) -> Mapping[str, Path]:
        """Folders that belong to no scene, by their names in nuScenes' layout: `maps`, `can_bus`."""


class WithoutMaps:
    """Of recordings that have neither pictures of maps nor folders that belong to no scene."""

    def find_maps(self) -> Sequence[MapMask]:
        """None."""
        return []

    def find_folders(self) -> Mapping[str, Path]:
        """None."""
        return {}
