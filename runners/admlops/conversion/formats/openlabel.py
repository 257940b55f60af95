"""ASAM OpenLABEL 1.0: a JSON file for each scene, with cuboids in the global frame, sensors, times and poses.

A sensor's own moment is kept as the transform `<channel>_to_global` of its frame. Attributes of a cuboid hold what the
form has no word for: `attribute`, `token` (text), `visibility`, `lidar_points`, `radar_points` (num).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import msgspec

from admlops.conversion.base import DataFormat, ReadOptions
from admlops.conversion.formats.nuscenes_names import make_token
from admlops.conversion.formats.openlabel_rows import (
    EGO,
    Attributes,
    FrameRow,
    OpenLabel,
    OpenLabelFile,
    Places,
    Shape,
    Stream,
    read_cuboid,
    to_pose,
)
from admlops.conversion.formats.openlabel_writer import OpenLabelWriter
from admlops.conversion.frames import Box2D, Cuboid, Frame, Log, Modality, SceneFrames, SensorFile, Vector3, WithoutMaps
from admlops.conversion.geometry import split_matrix
from admlops.core.errors import DataError
from admlops.datasets.base import check_scene_names

HEAD = re.compile(r'^\s*\{\s*"openlabel"\s*:')
HEAD_BYTES = 200
SECONDS_BELOW = 1e11
"""A time below this is in seconds, else in microseconds."""


@dataclass(frozen=True, kw_only=True)
class OpenLabelRecording(WithoutMaps):
    """A folder of OpenLABEL files, or one file; files that they name lie beside them.

    Args:
        categories: other names for types.
        channels: other names for streams.
    """

    root: Path
    categories: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    form: str = "openlabel"
    version: str = ""

    @cached_property
    def _files(self) -> dict[str, Path]:
        """By scene; a file's name is the scene's where the file says none."""
        return {path.name.removesuffix(".json").removesuffix(".openlabel"): path for path in _find(self.root)}

    @property
    def scene_names(self) -> Sequence[str]:
        """A scene for each file."""
        return list(self._files)

    def find_categories(self) -> Sequence[str]:
        """None but those of objects."""
        return []

    def scenes(self, names: Sequence[str]) -> Iterator[SceneFrames]:
        """Give the named scenes. Raises DataError: a file is not OpenLABEL."""
        check_scene_names(names, self._files, self.root)
        for name in names:
            path = self._files[name]
            try:
                content = msgspec.json.decode(path.read_bytes(), type=OpenLabelFile).openlabel
                yield self._scene(name, content, path)
            except (OSError, msgspec.MsgspecError, ValueError) as error:
                raise DataError(f"{path} is not OpenLABEL 1.0: {error}", hint=f"head -c 400 {path}") from error

    def _scene(self, name: str, content: OpenLabel, path: Path) -> SceneFrames:
        rows = sorted(content.frames.items(), key=lambda pair: int(pair[0]))
        log = content.metadata.log
        return SceneFrames(
            name=name,
            token=content.metadata.scene_token or make_token("scene", name),
            description=content.metadata.comment,
            log=Log(**{key: log[key] for key in ("logfile", "vehicle", "date", "location") if key in log}),
            frames=[self._frame(name, int(number), row, content, path.parent) for number, row in rows],
        )

    def _frame(self, scene: str, number: int, row: FrameRow, content: OpenLabel, folder: Path) -> Frame:
        properties = row.frame_properties
        places = Places(content.coordinate_systems, properties.transforms)
        time = _microseconds(properties.timestamp, number)
        token = properties.sample_token or make_token("sample", scene, number)
        files = [
            self._file(name, stream, content, places, folder, time)
            for name, stream in properties.streams.items()
            if stream.uri
        ]
        boxes: dict[str, list[Box2D]] = {}
        cuboids: list[Cuboid] = []
        for uid, one in row.objects.items():
            known = content.objects.get(uid)
            if known is None:
                raise ValueError(f"frame {number} has the object {uid}, which `objects` lacks")
            kind = self.categories.get(known.type, known.type)
            track = known.name or uid.replace("-", "")
            for index, shape in enumerate(one.object_data.cuboid):
                own = make_token("annotation", token, uid, index)
                cuboids.append(_read_shape(shape, kind, track, places, own))
            for shape in one.object_data.bbox:
                boxes.setdefault(self._channel(shape.coordinate_system), []).append(_read_box(shape, kind, track))
        return Frame(
            token=token,
            timestamp_us=time,
            ego2global=to_pose(places.to_root(EGO)),
            files=tuple(files),
            cuboids=tuple(cuboids),
            boxes_2d={channel: tuple(own) for channel, own in boxes.items()},
        )

    def _channel(self, name: str) -> str:
        return self.channels.get(name, name)

    def _file(
        self, name: str, stream: Stream, content: OpenLabel, places: Places, folder: Path, frame_us: int
    ) -> SensorFile:
        known = content.streams.get(name, Stream())
        kind = stream.type or known.type
        properties = stream.stream_properties
        pinhole = properties.intrinsics_pinhole or known.stream_properties.intrinsics_pinhole
        matrix = [] if pinhole is None else pinhole.camera_matrix_3x4 or pinhole.camera_matrix or []
        width = len(matrix) // 3
        rows = tuple((matrix[width * i], matrix[width * i + 1], matrix[width * i + 2]) for i in range(3) if matrix)
        stamp = None if properties.sync is None else properties.sync.timestamp
        return SensorFile(
            channel=self._channel(name),
            modality=cast("Modality", kind if kind in ("camera", "lidar", "radar") else "camera"),
            name=stream.uri,
            path=folder / stream.uri,
            timestamp_us=frame_us if stamp is None else _microseconds(stamp, 0),
            sensor2ego=to_pose(places.mount(name)),
            ego2global=to_pose(places.ego(name)),
            width=0 if pinhole is None else pinhole.width_px,
            height=0 if pinhole is None else pinhole.height_px,
            intrinsic=cast("tuple[Vector3, Vector3, Vector3]", rows) if rows else None,
            distortion=() if pinhole is None else tuple(pinhole.distortion_coeffs_1xN),
            columns=properties.point_values,
            token=properties.sample_data_token,
        )


def _read_shape(shape: Shape, kind: str, track: str, places: Places, own: str) -> Cuboid:
    matrix, size = read_cuboid(shape.val)
    center, rotation = split_matrix(places.to_root(shape.coordinate_system) @ matrix)
    known = shape.attributes or Attributes()
    return Cuboid(
        token=next(iter(known.texts("token")), own),
        category=kind,
        center=center,
        size_wlh=size,
        rotation_wxyz=rotation,
        track=track,
        attributes=known.texts("attribute"),
        visibility=known.number("visibility") or 0,
        lidar_points=known.number("lidar_points"),
        radar_points=known.number("radar_points"),
    )


def _read_box(shape: Shape, kind: str, track: str) -> Box2D:
    if len(shape.val) != 4:
        raise ValueError(f"a 2D box has {len(shape.val)} numbers, not cx, cy, width, height")
    x, y, width, height = shape.val
    known = shape.attributes or Attributes()
    ignore = any(one.name == "ignore" and one.val is True for one in known.boolean)
    area = next((float(one.val) for one in known.num if one.name == "area"), None)
    corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Box2D(xyxy=corners, category=kind, ignore=ignore, area=area, track=track)


def _microseconds(value: float | str | None, number: int) -> int:
    """A time as whole microseconds; frames without any are half a second apart."""
    if value is None:
        return 1_000_000 + 500_000 * number
    if isinstance(value, int) and abs(value) >= SECONDS_BELOW:
        return value
    seconds = float(value)
    return round(seconds) if abs(seconds) >= SECONDS_BELOW else round(seconds * 1e6)


def _find(root: Path) -> list[Path]:
    candidates = sorted(root.glob("*.json")) if root.is_dir() else [root] if root.suffix == ".json" else []
    return [path for path in candidates if _is_openlabel(path)]


def _is_openlabel(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return HEAD.match(file.read(HEAD_BYTES).decode("utf-8", "replace").lstrip("\ufeff")) is not None
    except OSError:
        return False


def _recognise(root: Path) -> bool:
    return bool(_find(root))


def _read(root: Path, options: ReadOptions) -> OpenLabelRecording:
    return OpenLabelRecording(root=root)


FORMAT = DataFormat(
    id="openlabel",
    title="OpenLABEL",
    holds=frozenset(
        {"pictures", "lidar", "radar", "calibrations", "distortion", "ego_poses", "timestamps", "scenes"}
        | {"descriptions", "locations", "cuboids", "tilt", "tracks", "attributes", "visibility", "points"}
        | {"boxes_2d", "ignored"}
    ),
    recognise=_recognise,
    read=_read,
    write=OpenLabelWriter,
)
