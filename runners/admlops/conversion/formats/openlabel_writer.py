"""Writing OpenLABEL 1.0: one file for each scene, and the sensors' files beside it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Any

import msgspec

from admlops.conversion.base import Target
from admlops.conversion.formats.nuscenes_names import make_token
from admlops.conversion.formats.openlabel_rows import EGO, GLOBAL, cuboid_value, pose_value
from admlops.conversion.frames import Box2D, Cuboid, Frame, Pose, Recording, SceneFrames, SensorFile
from admlops.conversion.geometry import split_matrix

Row = dict[str, Any]
UNSAFE = re.compile(r"[^0-9A-Za-z._-]+")


class OpenLabelWriter:
    """Writes a scene as it comes."""

    def __init__(self, target: Target, recording: Recording | None = None) -> None:
        self._target = target

    def add(self, scene: SceneFrames) -> None:
        """Write a scene's files and labels."""
        for frame in scene.frames:
            for file in frame.files:
                if file.is_key:
                    self._target.placer.place(file.path, file.name)
        content = make_openlabel(scene, self._target)
        name = UNSAFE.sub("_", scene.name)
        self._target.write(f"{name}.json", msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")

    def finish(self) -> None:
        """Do nothing: nothing belongs to all scenes."""


def make_openlabel(scene: SceneFrames, target: Target) -> Row:
    """Return a scene's file as plain values."""
    streams, systems = _describe_sensors(scene.frames)
    objects: dict[str, Row] = {}
    frames = {str(number): _frame(frame, objects, systems, target) for number, frame in enumerate(scene.frames)}
    log = scene.log
    metadata = {
        "schema_version": "1.0.0",
        "name": scene.name,
        "comment": scene.description,
        "scene_token": scene.token,
        "log": {"logfile": log.logfile, "vehicle": log.vehicle, "date": log.date, "location": log.location},
    }
    return {
        "openlabel": {
            "metadata": metadata,
            "coordinate_systems": systems,
            "streams": streams,
            "objects": objects,
            "frames": frames,
            "frame_intervals": [{"frame_start": 0, "frame_end": len(scene.frames) - 1}],
        }
    }


def _describe_sensors(frames: Iterable[Frame]) -> tuple[dict[str, Row], dict[str, Row]]:
    """The streams and coordinate systems: each sensor as its first file has it."""
    streams: dict[str, Row] = {}
    systems: dict[str, Row] = {
        GLOBAL: {"type": "scene_cs", "parent": "", "children": [EGO]},
        EGO: {"type": "local_cs", "parent": GLOBAL, "children": []},
    }
    for frame in frames:
        for file in frame.files:
            if not file.is_key or file.channel in streams:
                continue
            streams[file.channel] = {"type": file.modality, "stream_properties": _intrinsics(file)}
            system: Row = {"type": "sensor_cs", "parent": EGO, "children": []}
            if file.sensor2ego is not None:
                system["pose_wrt_parent"] = pose_value(file.sensor2ego)
                systems[EGO]["children"].append(file.channel)
                systems[file.channel] = system
    return streams, systems


def _intrinsics(file: SensorFile) -> Row:
    if file.modality != "camera":
        return {}
    pinhole: Row = {"width_px": file.width, "height_px": file.height}
    if file.intrinsic is not None:
        pinhole["camera_matrix_3x4"] = [value for row in file.intrinsic for value in (*row, 0.0)]
        pinhole["distortion_coeffs_1xN"] = list(file.distortion)
    return {"intrinsics_pinhole": pinhole}


def _frame(frame: Frame, objects: dict[str, Row], systems: dict[str, Row], target: Target) -> Row:
    streams: dict[str, Row] = {}
    transforms: dict[str, Row] = {}
    if frame.ego2global is not None:
        transforms[f"{EGO}_to_{GLOBAL}"] = _transform(EGO, GLOBAL, frame.ego2global)
    for file in frame.files:
        if file.is_key:
            properties: Row = {"sync": {"timestamp": file.timestamp_us}, "sample_data_token": file.token}
            properties |= _intrinsics(file)
            if file.modality == "lidar":
                properties["point_values"] = file.columns
            streams[file.channel] = {"uri": file.name, "stream_properties": properties}
            transforms |= _place(file, systems)
    own: dict[str, Row] = {}
    for number, cuboid in enumerate(frame.cuboids or ()):
        _add_cuboid(cuboid, f"{frame.token}-{number}", own, objects, target)
    for channel, boxes in frame.boxes_2d.items():
        for number, box in enumerate(boxes):
            _add_box(box, channel, f"{frame.token}-{channel}-{number}", own, objects, target)
    properties = {"timestamp": frame.timestamp_us, "sample_token": frame.token}
    return {"objects": own, "frame_properties": {**properties, "streams": streams, "transforms": transforms}}


def _place(file: SensorFile, systems: dict[str, Row]) -> dict[str, Row]:
    """Where a sensor was when its file was taken; its mount too, where it is not that of the scene's first file."""
    if file.sensor2ego is None or file.ego2global is None:
        return {}
    matrix = file.ego2global.matrix @ file.sensor2ego.matrix
    found = {f"{file.channel}_to_{GLOBAL}": _transform(file.channel, GLOBAL, Pose(*split_matrix(matrix)))}
    if systems.get(file.channel, {}).get("pose_wrt_parent") != pose_value(file.sensor2ego):
        found[f"{file.channel}_to_{EGO}"] = _transform(file.channel, EGO, file.sensor2ego)
    return found


def _transform(source: str, target: str, pose: Pose) -> Row:
    return {"src": source, "dst": target, "transform_src_to_dst": pose_value(pose)}


def _add_cuboid(one: Cuboid, own: str, shapes: dict[str, Row], objects: dict[str, Row], target: Target) -> None:
    name = target.class_of(one.category)
    if name is None:
        return
    uid = _find_uid(one.track or own, name, objects)
    numbers = {"visibility": one.visibility or None, "lidar_points": one.lidar_points, "radar_points": one.radar_points}
    attributes: Row = {
        "text": [{"name": "token", "val": one.token}, *({"name": "attribute", "val": text} for text in one.attributes)],
        "num": [{"name": key, "val": value} for key, value in numbers.items() if value is not None],
    }
    if one.confidence is not None:
        attributes["num"].append({"name": "confidence", "val": one.confidence})
    values = cuboid_value(one.pose, one.size_wlh)
    shape = {"name": "shape3D", "val": values, "coordinate_system": GLOBAL, "attributes": attributes}
    _shapes_of(uid, shapes).setdefault("cuboid", []).append(shape)


def _add_box(
    one: Box2D, channel: str, own: str, shapes: dict[str, Row], objects: dict[str, Row], target: Target
) -> None:
    name = target.class_of(one.category)
    if name is None:
        return
    uid = _find_uid(one.track or own, name, objects)
    x1, y1, x2, y2 = one.xyxy
    attributes: Row = {"num": [{"name": "area", "val": one.area}]} if one.area is not None else {}
    if one.ignore:
        attributes["boolean"] = [{"name": "ignore", "val": True}]
    values = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    shape = {"name": "shape", "val": values, "coordinate_system": channel, "attributes": attributes}
    _shapes_of(uid, shapes).setdefault("bbox", []).append(shape)


def _find_uid(track: str, kind: str, objects: dict[str, Row]) -> str:
    """The object's key, a UUID as the form wants; two types under one track are two objects."""
    uid = str(uuid.UUID(track)) if re.fullmatch(r"[0-9a-f]{32}", track) else str(uuid.UUID(make_token(track)))
    if uid in objects and objects[uid]["type"] != kind:
        uid = str(uuid.UUID(make_token(track, kind)))
    objects.setdefault(uid, {"name": track, "type": kind})
    return uid


def _shapes_of(uid: str, shapes: dict[str, Row]) -> Row:
    data: Row = shapes.setdefault(uid, {"object_data": {}})["object_data"]
    return data
