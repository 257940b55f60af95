"""Writing nuScenes' layout: the thirteen tables, and files below `samples/` and `sweeps/`.

Tokens of the source stay; what has none gets one made of what it is. Ground truth is kept as it is in the global frame.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import msgspec
from PIL import Image

from admlops.conversion.base import Target
from admlops.conversion.formats.nuscenes_names import ATTRIBUTES, CATEGORIES, LEVELS, make_token, to_nuscenes
from admlops.conversion.formats.nuscenes_tables import LIDAR_MOUNT
from admlops.conversion.frames import (
    IDENTITY,
    Cuboid,
    Frame,
    Log,
    Pose,
    Recording,
    SceneFrames,
    SensorFile,
)
from admlops.conversion.points import write_points
from admlops.core.errors import DataError
from admlops.datasets.nuscenes.lidar_files import STAND_IN, VALUES

Row = dict[str, Any]
TABLES = (
    *("attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "map", "sample"),
    *("sample_annotation", "sample_data", "scene", "sensor", "visibility"),
)
OWN_VERSION = "v1.0-own"
LIDAR = "LIDAR_TOP"
NO_MAP = "maps/none.png"


class NuScenesWriter:
    """Writes files as scenes come, and the tables at the end."""

    def __init__(self, target: Target, recording: Recording) -> None:
        self._target = target
        self._recording = recording
        self._rows: dict[str, list[Row]] = {name: [] for name in TABLES}
        self._known: dict[str, set[str]] = {name: set() for name in TABLES}
        self.version = target.options.tables or (recording.version if recording.form == "nuscenes" else OWN_VERSION)
        for name in (*CATEGORIES, *recording.find_categories()):
            self._category(name)
        target.losses.clear()
        for name in ATTRIBUTES:
            self._named("attribute", name)
        for token, level in LEVELS.items():
            self._add("visibility", token, level=level, description=f"{level[1:]} % are visible")

    def add(self, scene: SceneFrames) -> None:
        """Write a scene's files, and keep its rows."""
        token = scene.token or make_token("scene", scene.name)
        log = make_token("log", scene.log.logfile or scene.name, scene.log.location, scene.log.date)
        self._add_log(log, scene.log)
        frames = [self._frame(frame, scene) for frame in scene.frames]
        tokens = [frame.token for frame in frames]
        for frame in frames:
            if frame.token in self._known["sample"]:
                raise DataError(f"two frames have the token {frame.token}", hint="give each frame one of its own")
            self._add("sample", frame.token, timestamp=frame.timestamp_us, scene_token=token, prev="", next="")
        _link(self._rows["sample"][-len(frames) :])
        self._add_files(frames)
        self._add_annotations(scene, frames)
        ends = {"first_sample_token": tokens[0], "last_sample_token": tokens[-1], "nbr_samples": len(tokens)}
        self._add("scene", token, log_token=log, name=scene.name, description=scene.description, **ends)

    def finish(self) -> None:
        """Write the tables, the maps and the CAN bus."""
        self._add_maps()
        for name, folder in self._recording.find_folders().items():
            self._target.placer.place_folder(folder, name)
        for name, rows in self._rows.items():
            content = b"[\n" + b",\n".join(msgspec.json.encode(row) for row in rows) + b"\n]\n"
            self._target.write(f"{self.version}/{name}.json", content)

    def _frame(self, frame: Frame, scene: SceneFrames) -> Frame:
        """Give a frame what every model needs: a pose, a LiDAR file and channels of nuScenes."""
        own = frame.token or make_token("sample", scene.name, frame.timestamp_us)
        place = frame.ego2global or IDENTITY
        if frame.ego2global is None:
            self._target.lose("ego_poses", "the frame has no pose: the vehicle stands at the origin")
        files = [_with_pose(one, place) for one in frame.files]
        first = next((one for one in files if one.is_key and one.modality == "lidar"), None)
        if first is None:
            self._target.lose("lidar", "the frame has no LiDAR file: one point at the sensor stands for it")
            files.append(self._placeholder(own, frame, place))
        elif first.channel != LIDAR and all(one.channel != LIDAR for one in files):
            files = [_renamed(one, LIDAR) if one.channel == first.channel else one for one in files]
        return Frame(
            token=own,
            timestamp_us=frame.timestamp_us,
            ego2global=place,
            files=tuple(_renamed(one, "CAM_FRONT") if one.channel == "IMAGE" else one for one in files),
            cuboids=frame.cuboids,
        )

    def _placeholder(self, token: str, frame: Frame, place: Pose) -> SensorFile:
        name = f"samples/{LIDAR}/{token}.pcd.bin"
        path = self._target.write(name, STAND_IN)
        return SensorFile(
            channel=LIDAR,
            modality="lidar",
            name=name,
            path=path,
            timestamp_us=frame.timestamp_us,
            sensor2ego=LIDAR_MOUNT,
            ego2global=place,
        )

    def _add_files(self, frames: Sequence[Frame]) -> None:
        """Write every file, and link those of one channel in time order."""
        chains: dict[str, list[Row]] = {}
        for frame in frames:
            for file in frame.files:
                chains.setdefault(file.channel, []).append(self._add_file(frame, file))
        for chain in chains.values():
            chain.sort(key=lambda row: int(row["timestamp"]))
            _link(chain)

    def _add_file(self, frame: Frame, file: SensorFile) -> Row:
        name = self._place(file)
        token = file.token or make_token("sample_data", frame.token, name)
        pose = file.ego2global or frame.ego2global or IDENTITY
        self._add(
            "ego_pose",
            token,
            timestamp=file.timestamp_us,
            translation=pose.translation,
            rotation=pose.rotation_wxyz,
        )
        return self._add(
            "sample_data",
            token,
            sample_token=frame.token,
            ego_pose_token=token,
            calibrated_sensor_token=self._calibrated(file),
            timestamp=file.timestamp_us,
            fileformat="pcd" if file.modality != "camera" else PurePosixPath(name).suffix.lstrip("."),
            is_key_frame=file.is_key,
            height=file.height,
            width=file.width,
            filename=name,
            prev="",
            next="",
        )

    def _place(self, file: SensorFile) -> str:
        """Bring a file to its place; points that are not in its sensor's frame, or have no ring, are written anew."""
        inside = file.name.startswith(("samples/", "sweeps/"))
        folder = "samples" if file.is_key else "sweeps"
        name = file.name if inside else f"{folder}/{file.channel}/{file.name.replace('/', '__')}"
        if file.modality != "lidar" or (file.points_pose is None and file.columns == VALUES):
            if file.path != self._target.folder / name:
                self._target.placer.place(file.path, name)
            return name
        name = PurePosixPath(name.removesuffix(".pcd.bin").removesuffix(".bin") + ".pcd.bin").as_posix()
        write_points(file, self._target.folder / name)
        return name

    def _calibrated(self, file: SensorFile) -> str:
        mount = file.sensor2ego
        if mount is None:
            self._target.lose("calibrations", f"{file.channel} has no calibration: it stands at the vehicle's origin")
            mount = IDENTITY
        if any(file.distortion):
            self._target.lose("distortion", "kept in the table, and models take every picture for a rectified one")
        self._named("sensor", file.channel, key="channel", modality=file.modality)
        token = make_token("calibrated_sensor", file.channel, mount, file.intrinsic, file.distortion)
        extra: Row = {"camera_distortion": file.distortion} if file.distortion else {}
        if token not in self._known["calibrated_sensor"]:
            self._add(
                "calibrated_sensor",
                token,
                sensor_token=make_token("sensor", file.channel),
                translation=mount.translation,
                rotation=mount.rotation_wxyz,
                camera_intrinsic=file.intrinsic or [],
                **extra,
            )
        return token

    def _add_annotations(self, scene: SceneFrames, frames: Sequence[Frame]) -> None:
        """One instance for each object; a box without a track is an object of its own."""
        objects: dict[tuple[str, str], list[Row]] = {}
        for frame in frames:
            for number, cuboid in enumerate(frame.cuboids or ()):
                category = self._category(cuboid.category)
                track = cuboid.track or f"{frame.token}-{number}"
                row = self._annotation(frame, number, cuboid)
                objects.setdefault((track, category), []).append(row)
        for (track, category), rows in objects.items():
            known = self._known["instance"]
            token = track if track and track not in known and len(track) == 32 else ""
            token = token or make_token("instance", scene.name, track, category)
            _link(rows)
            for row in rows:
                row["instance_token"] = token
            ends = {"first_annotation_token": rows[0]["token"], "last_annotation_token": rows[-1]["token"]}
            self._add("instance", token, category_token=category, nbr_annotations=len(rows), **ends)

    def _annotation(self, frame: Frame, number: int, cuboid: Cuboid) -> Row:
        if cuboid.lidar_points is None and cuboid.radar_points is None:
            self._target.lose("points", "nobody counted the points in the box: 1 stands there, so that it is evaluated")
        return self._add(
            "sample_annotation",
            cuboid.token or make_token("sample_annotation", frame.token, number),
            sample_token=frame.token,
            instance_token="",
            visibility_token=str(cuboid.visibility) if cuboid.visibility else "",
            attribute_tokens=[self._named("attribute", name) for name in cuboid.attributes],
            translation=cuboid.center,
            size=cuboid.size_wlh,
            rotation=cuboid.rotation_wxyz,
            prev="",
            next="",
            num_lidar_pts=1 if cuboid.lidar_points is None and not cuboid.radar_points else cuboid.lidar_points or 0,
            num_radar_pts=cuboid.radar_points or 0,
        )

    def _category(self, name: str) -> str:
        known = to_nuscenes(name)
        if known is None:
            self._target.lose("categories", f"{name} is no category of nuScenes: it is kept, and evaluated nowhere")
        return self._named("category", known or name)

    def _named(self, table: str, name: str, *, key: str = "name", **columns: Any) -> str:
        token = make_token(table, name)
        if token not in self._known[table]:
            more = columns or {"description": ""}
            self._add(table, token, **{key: name}, **more)
        return token

    def _add_log(self, token: str, log: Log) -> None:
        if token not in self._known["log"]:
            own = {"logfile": log.logfile, "vehicle": log.vehicle, "date_captured": log.date}
            self._add("log", token, **own, location=log.location)

    def _add_maps(self) -> None:
        """The source's maps with the logs of their places; an empty picture for logs of no map, as loaders want one."""
        left = {row["token"]: row["location"] for row in self._rows["log"]}
        for mask in self._recording.find_maps():
            logs = [token for token, place in left.items() if place in mask.locations]
            if logs:
                self._target.placer.place(mask.path, mask.name)
                token = make_token("map", mask.name)
                self._add("map", token, log_tokens=logs, category=mask.category, filename=mask.name)
                left = {token: place for token, place in left.items() if token not in logs}
        if left:
            picture = io.BytesIO()
            Image.new("L", (1, 1)).save(picture, "PNG")
            self._target.write(NO_MAP, picture.getvalue())
            row = {"log_tokens": list(left), "category": "semantic_prior", "filename": NO_MAP}
            self._add("map", make_token("map", NO_MAP), **row)

    def _add(self, table: str, token: str, **columns: Any) -> Row:
        row = {"token": token, **columns}
        self._known[table].add(token)
        self._rows[table].append(row)
        return row


def _link(rows: Sequence[Row]) -> None:
    """Set `prev` and `next` of rows in time order."""
    for index, row in enumerate(rows):
        row["prev"] = rows[index - 1]["token"] if index else ""
        row["next"] = rows[index + 1]["token"] if index + 1 < len(rows) else ""


def _with_pose(file: SensorFile, place: Pose) -> SensorFile:
    return file if file.ego2global is not None else replace(file, ego2global=place)


def _renamed(file: SensorFile, channel: str) -> SensorFile:
    return replace(file, channel=channel)
