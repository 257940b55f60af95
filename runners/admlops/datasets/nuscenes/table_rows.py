"""Rows of nuScenes' tables, with the columns that are read here.

Tables of millions of rows are read for few columns at a time: a struct decodes its own and passes over the others.
"""

from __future__ import annotations

import msgspec

Number = float | int
"""Kept as it stands in the table: an index writes the very same text."""


class Named(msgspec.Struct, gc=False):
    """A category or an attribute."""

    token: str
    name: str


class Sensor(msgspec.Struct, gc=False):
    token: str
    channel: str


class Calibrated(msgspec.Struct, gc=False):
    token: str
    sensor_token: str
    translation: list[Number]
    rotation: list[Number]
    camera_intrinsic: list[list[Number]]


class Log(msgspec.Struct, gc=False):
    token: str
    location: str


class Scene(msgspec.Struct, gc=False):
    token: str
    name: str
    log_token: str
    first_sample_token: str
    description: str = ""


class Sample(msgspec.Struct, gc=False):
    token: str
    timestamp: int
    scene_token: str
    prev: str
    next: str


class SampleDataLink(msgspec.Struct, gc=False):
    """Of a row of sample_data: what it refers to."""

    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    is_key_frame: bool


class SampleData(SampleDataLink, gc=False, kw_only=True):
    """Of a row of sample_data: its file as well."""

    filename: str
    timestamp: int
    width: int | None = None
    height: int | None = None


class EgoPose(msgspec.Struct, gc=False):
    """Decoded further only where the row is wanted."""

    token: str
    translation: msgspec.Raw
    rotation: msgspec.Raw


class Instance(msgspec.Struct, gc=False):
    token: str
    category_token: str


class Annotation(msgspec.Struct, gc=False):
    token: str
    sample_token: str
    instance_token: str
    attribute_tokens: list[str]
    translation: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    prev: str
    next: str
    num_lidar_pts: int
    num_radar_pts: int
    visibility_token: str = ""
