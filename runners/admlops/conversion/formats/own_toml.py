"""The TOML that says where own data lie: what it may hold. docs/data-convert.md shows one of each form."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from admlops.conversion.frames import Pose, Quaternion, Vector3
from admlops.core.errors import DataError

Positive = Annotated[float, Meta(gt=0)]
UNITS_US = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}


class Mount(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a sensor sits in the vehicle's frame [m], and how it is turned: a quaternion w, x, y, z."""

    translation: Vector3 = (0.0, 0.0, 0.0)
    rotation_wxyz: Quaternion = (1.0, 0.0, 0.0, 0.0)

    def to_pose(self) -> Pose:
        """Return it as a pose."""
        return Pose(self.translation, self.rotation_wxyz)


class CameraSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A camera: its files below a scene's folder, and its calibration, here or in a JSON file with the same keys."""

    files: str = ""
    calibration: str = ""
    intrinsic: tuple[Vector3, Vector3, Vector3] | None = None
    distortion: tuple[float, ...] = ()
    translation: Vector3 = (0.0, 0.0, 0.0)
    rotation_wxyz: Quaternion = (1.0, 0.0, 0.0, 0.0)

    def to_pose(self) -> Pose:
        """Return its mount as a pose."""
        return Pose(self.translation, self.rotation_wxyz)


class LidarSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The LiDAR: float32 files, and where the frame of its points lies in the vehicle's."""

    files: str
    columns: Annotated[int, Meta(ge=3, le=16)] = 4
    translation: Vector3 = (0.0, 0.0, 0.0)
    rotation_wxyz: Quaternion = (1.0, 0.0, 0.0, 0.0)

    def to_pose(self) -> Pose:
        """Return the frame of its points as a pose."""
        return Pose(self.translation, self.rotation_wxyz)


class TimesSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When files were taken: the number in their names, or their order at a rate."""

    by: Literal["name", "order"] = "name"
    unit: Literal["s", "ms", "us", "ns"] = "us"
    rate_hz: Positive = 2.0
    max_gap_s: Positive = 0.1


class PosesSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The vehicle's poses of a scene: a CSV with times, or KITTI odometry's matrices, one a frame."""

    file: str
    form: Literal["csv", "kitti"] = "csv"


class BoxesSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The annotated boxes of a scene: a CSV, in one of three frames."""

    file: str
    frame: Literal["ego", "global", "lidar"] = "ego"


class OwnData(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole TOML. `root` is relative to the file."""

    form: Literal["folders", "kitti", "t4", "openlabel", "scalabel"]
    root: str = "."
    scenes: str = "*"
    location: str = ""
    labels: str = ""
    camera: str = "CAM_FRONT"
    cameras: dict[str, CameraSection] = {}
    lidar: LidarSection | None = None
    times: TimesSection = TimesSection()
    poses: PosesSection | None = None
    boxes: BoxesSection | None = None
    channels: dict[str, str] = {}
    categories: dict[str, str] = {}


def read_own_toml(path: Path) -> tuple[OwnData, Path]:
    """Return the file's content, and the folder that it names.

    Raises:
        DataError: it is no TOML, has a key that is unknown or wrong, or names a folder that is not there.
    """
    try:
        own = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), OwnData)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as TOML: {error}", hint="docs/data-convert.md has one to begin with"
        ) from error
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: {error}", hint="docs/data-convert.md lists the keys of each form") from error
    root = (path.parent / own.root).resolve()
    if not root.is_dir():
        raise DataError(f"{path}: root is {own.root!r}, and {root} is no folder", hint=f"ls {root.parent}")
    return own, root
