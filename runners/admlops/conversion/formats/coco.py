"""COCO's JSON, with the pictures beside it: `bbox` is x, y, width, height [pixels].

Its readers pass over keys that they do not know. So what COCO has no place for stands in keys of ours, and comes back:
of an image its scene, frame, calibration and pose; of an annotation the box in space, in the camera's frame, that the
box in the picture is the projection of; and, beside `images`, the lists `scenes` and `frames`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from admlops.conversion.base import DataFormat, ReadOptions, Target
from admlops.conversion.frames import (
    Box2D,
    Cuboid,
    Frame,
    Log,
    Pose,
    Recording,
    SceneFrames,
    SensorFile,
    Vector3,
    WithoutMaps,
)
from admlops.conversion.geometry import split_matrix
from admlops.conversion.records import CuboidRow, PoseRow, cuboid_row, pose_row
from admlops.conversion.seen import SeenBox, global_to_camera, list_seen
from admlops.core.errors import DataError
from admlops.datasets.base import check_scene_names

FILE = "instances.json"
LISTS = ("info", "scenes", "frames", "images", "annotations")


class CocoWriter:
    """Writes pictures, and the lists of the file as they come: those of a large data set fill no memory twice."""

    def __init__(self, target: Target, recording: Recording) -> None:
        self._target = target
        self._lists: dict[str, list[bytes]] = {name: [] for name in LISTS[1:]}
        self._categories: dict[str, int] = {}
        for name in recording.find_categories():
            self._number(name)
        target.losses.clear()  # a category that no box has is no loss

    def add(self, scene: SceneFrames) -> None:
        """Take every picture of a scene."""
        log = scene.log
        told = {"name": scene.name, "token": scene.token, "description": scene.description}
        told |= {"logfile": log.logfile, "vehicle": log.vehicle, "date": log.date, "location": log.location}
        self._append("scenes", {**told, "is_sequence": scene.is_sequence})
        for frame in scene.frames:
            row: dict[str, Any] = {"token": frame.token, "scene": scene.name, "timestamp_us": frame.timestamp_us}
            self._append("frames", {**row, "ego2global": pose_row(frame.ego2global)})
            in_picture: set[str] = set()
            for camera in frame.cameras.values():
                in_picture.update(self._add_picture(scene, frame, camera))
            hidden = sum(one.token not in in_picture for one in frame.cuboids or ())
            self._target.lose("cuboids", "the box is seen in no picture, or has no class", hidden)

    def finish(self) -> None:
        """Write the file."""
        categories = [{"id": number, "name": name} for name, number in self._categories.items()]
        info = {"description": "written by admlops data convert", "rule": self._target.options.rule}
        parts = [f'"{name}":['.encode() + b",\n".join(self._lists[name]) + b"]" for name in LISTS[1:]]
        head = [b'"info":' + msgspec.json.encode(info), b'"categories":' + msgspec.json.encode(categories)]
        self._target.write(FILE, b"{" + b",\n".join([*head, *parts]) + b"}\n")

    def _add_picture(self, scene: SceneFrames, frame: Frame, camera: SensorFile) -> Iterator[str]:
        """Take a picture and what is seen in it; gives the tokens of boxes in space that are."""
        self._target.placer.place(camera.path, camera.name)
        number = len(self._lists["images"]) + 1
        self._append("images", {"id": number, "file_name": camera.name, **_picture_row(scene, frame, camera)})
        seen = list_seen(frame, camera, rule=self._target.options.rule)
        if seen is None:
            self._target.lose("unannotated", "others take a picture that nobody annotated for one that holds nothing")
        to_camera = global_to_camera(camera) if any(one.cuboid for one in seen or ()) else None
        for one in seen or ():
            category = self._number(one.box.category)
            if category is None:
                continue
            row = {"id": len(self._lists["annotations"]) + 1, "image_id": number, "category_id": category}
            self._append("annotations", {**row, **_box_row(one, to_camera)})
            if one.cuboid is not None:
                yield one.cuboid.token

    def _number(self, category: str) -> int | None:
        name = self._target.class_of(category)
        return None if name is None else self._categories.setdefault(name, len(self._categories) + 1)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        self._lists[name].append(msgspec.json.encode(row))


def _picture_row(scene: SceneFrames, frame: Frame, camera: SensorFile) -> dict[str, Any]:
    row: dict[str, Any] = {
        "width": camera.width,
        "height": camera.height,
        "scene": scene.name,
        "sample_token": frame.token,
        "sample_data_token": camera.token,
        "camera": camera.channel,
        "timestamp_us": camera.timestamp_us,
        "is_annotated": camera.channel in frame.boxes_2d or frame.cuboids is not None,
    }
    known: dict[str, Any] = {"intrinsic": camera.intrinsic, "distortion": camera.distortion or None}
    known |= {"sensor2ego": pose_row(camera.sensor2ego), "ego2global": pose_row(camera.ego2global)}
    return row | {key: value for key, value in known.items() if value is not None}


def _box_row(one: SeenBox, to_camera: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = one.box.xyxy
    area = one.box.area if one.box.area is not None else (x2 - x1) * (y2 - y1)
    row: dict[str, Any] = {"bbox": (x1, y1, x2 - x1, y2 - y1), "area": area, "iscrowd": int(one.box.ignore)}
    if one.cuboid is not None:
        row["cuboid"] = cuboid_row(one.cuboid, Pose(*split_matrix(to_camera @ one.cuboid.pose.matrix)))
    elif one.box.track:
        row["track"] = one.box.track
    return row


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    width: int
    height: int
    sample_token: str
    camera: str
    timestamp_us: int
    is_annotated: bool = True
    sample_data_token: str = ""
    intrinsic: tuple[Vector3, Vector3, Vector3] | None = None
    distortion: tuple[float, ...] = ()
    sensor2ego: PoseRow | None = None
    ego2global: PoseRow | None = None


class _Annotation(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0
    area: float | None = None
    cuboid: CuboidRow | None = None
    track: str = ""


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _Scene(msgspec.Struct, gc=False):
    name: str
    token: str
    description: str
    logfile: str
    vehicle: str
    date: str
    location: str
    is_sequence: bool


class _Frame(msgspec.Struct, gc=False):
    token: str
    scene: str
    timestamp_us: int
    ego2global: PoseRow | None


class _File(msgspec.Struct):
    categories: list[_Category]
    scenes: list[_Scene]
    frames: list[_Frame]
    images: list[_Image]
    annotations: list[_Annotation]


@dataclass(frozen=True)
class CocoRecording(WithoutMaps):
    """A folder that `CocoWriter` wrote. COCO files of others are read as pictures."""

    root: Path
    form: str = "coco"
    version: str = FILE

    @cached_property
    def _file(self) -> _File:
        path = self.root / FILE
        try:
            return msgspec.json.decode(path.read_bytes(), type=_File)
        except (OSError, msgspec.MsgspecError) as error:
            raise DataError(
                f"{path} is not what data convert --to coco writes: {error}", hint=f"admlops data check {self.root}"
            ) from error

    @property
    def scene_names(self) -> Sequence[str]:
        """Every scene, in the file's order."""
        return [row.name for row in self._file.scenes]

    def find_categories(self) -> Sequence[str]:
        """The file's categories."""
        return [row.name for row in self._file.categories]

    def scenes(self, names: Sequence[str]) -> Iterator[SceneFrames]:
        """Give the named scenes."""
        check_scene_names(names, self.scene_names, self.root)
        known = {row.name: row for row in self._file.scenes}
        images: dict[str, list[_Image]] = {}
        for image in self._file.images:
            images.setdefault(image.sample_token, []).append(image)
        rows: dict[int, list[_Annotation]] = {}
        for one in self._file.annotations:
            rows.setdefault(one.image_id, []).append(one)
        for name in names:
            row = known[name]
            frames = [
                self._frame(frame, images.get(frame.token, []), rows)
                for frame in self._file.frames
                if frame.scene == name
            ]
            log = Log(logfile=row.logfile, vehicle=row.vehicle, date=row.date, location=row.location)
            yield SceneFrames(
                name=name,
                token=row.token,
                frames=frames,
                description=row.description,
                log=log,
                is_sequence=row.is_sequence,
            )

    @cached_property
    def _names(self) -> dict[int, str]:
        return {row.id: row.name for row in self._file.categories}

    def _frame(self, row: _Frame, images: Sequence[_Image], rows: Mapping[int, Sequence[_Annotation]]) -> Frame:
        files = [self._picture(image) for image in images]
        cuboids: dict[str, Cuboid] = {}
        boxes: dict[str, tuple[Box2D, ...]] = {}
        for image, file in zip(images, files, strict=True):
            own = rows.get(image.id, ())
            for one in own:
                if one.cuboid is not None and one.cuboid.token not in cuboids:
                    cuboids[one.cuboid.token] = self._cuboid(one, one.cuboid, file)
            drawn = tuple(self._box(one) for one in own if one.cuboid is None)
            if drawn or (image.is_annotated and row.ego2global is None):
                boxes[file.channel] = drawn
        return Frame(
            token=row.token,
            timestamp_us=row.timestamp_us,
            ego2global=None if row.ego2global is None else row.ego2global.to_pose(),
            files=tuple(files),
            cuboids=None if row.ego2global is None else tuple(cuboids.values()),
            boxes_2d=boxes,
        )

    def _picture(self, image: _Image) -> SensorFile:
        return SensorFile(
            channel=image.camera,
            modality="camera",
            name=image.file_name,
            path=self.root / image.file_name,
            timestamp_us=image.timestamp_us,
            sensor2ego=None if image.sensor2ego is None else image.sensor2ego.to_pose(),
            ego2global=None if image.ego2global is None else image.ego2global.to_pose(),
            width=image.width,
            height=image.height,
            intrinsic=image.intrinsic,
            distortion=image.distortion,
            token=image.sample_data_token,
        )

    def _cuboid(self, one: _Annotation, cuboid: CuboidRow, camera: SensorFile) -> Cuboid:
        assert camera.ego2global is not None
        assert camera.sensor2ego is not None
        own = Pose(cuboid.center, cuboid.rotation_wxyz).matrix
        pose = Pose(*split_matrix(camera.ego2global.matrix @ camera.sensor2ego.matrix @ own))
        return cuboid.to_cuboid(self._names[one.category_id], pose)

    def _box(self, one: _Annotation) -> Box2D:
        x, y, width, height = one.bbox
        return Box2D(
            xyxy=(x, y, x + width, y + height),
            category=self._names[one.category_id],
            ignore=bool(one.iscrowd),
            area=one.area,
            track=one.track,
        )


def _recognise(root: Path) -> bool:
    try:
        with (root / FILE).open("rb") as file:
            return b'"description":"written by admlops data convert"' in file.read(200)
    except OSError:
        return False


def _read(root: Path, options: ReadOptions) -> CocoRecording:
    return CocoRecording(root)


FORMAT = DataFormat(
    id="coco",
    title="COCO",
    holds=frozenset(
        {"pictures", "calibrations", "distortion", "ego_poses", "timestamps", "scenes", "descriptions", "locations"}
        | {"cuboids", "tilt", "tracks", "attributes", "visibility", "points", "boxes_2d", "ignored"}
    ),
    recognise=_recognise,
    read=_read,
    write=CocoWriter,
)
