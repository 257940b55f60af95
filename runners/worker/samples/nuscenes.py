"""nuScenes tables, read with the standard library: samples in the form that adapters get.

Reads only what a camera or LiDAR model may see: images, sweeps, calibration and poses. Annotations are not read here.
The host uses this file for scene jobs, `demo.py --sample-token` uses it alone.
"""

import json
import math
import os
from typing import Any, Dict, List

from .errors import DataError
from .form import make_camera, make_pose, make_sample, make_sensor

__all__ = ["CAMERAS", "LIDAR", "TABLES", "DataError", "Tables", "read_table"]

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
LIDAR = "LIDAR_TOP"
TABLES = ("scene", "sample", "sample_data", "calibrated_sensor", "sensor", "ego_pose", "log")

Row = Dict[str, Any]


def read_table(folder: str, name: str) -> List[Row]:
    """The rows of `<folder>/<name>.json`. Raises DataError if the file is missing or is not a list of rows."""
    path = os.path.join(folder, name + ".json")
    try:
        with open(path, encoding="utf-8") as file:
            rows = json.load(file)
    except FileNotFoundError:
        raise DataError("{} is missing".format(path)) from None
    except OSError as error:
        raise DataError("{} cannot be read: {}".format(path, error.strerror)) from error
    except ValueError as error:
        raise DataError("{} is not whole JSON: {}".format(path, error)) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "token" in row for row in rows):
        raise DataError("{} is not a list of rows with tokens".format(path))
    return rows


class Tables:
    """The tables of one version, e.g. `v1.0-mini`, indexed by token."""

    def __init__(self, dataroot: str, version: str) -> None:
        self.dataroot = os.path.abspath(dataroot)
        self.version = version
        self.folder = os.path.join(self.dataroot, version)
        if not os.path.isdir(self.folder):
            raise DataError("{} has no folder {}".format(self.dataroot, version))
        rows = {name: read_table(self.folder, name) for name in TABLES}
        self._by_token = {name: {row["token"]: row for row in rows[name]} for name in TABLES}
        self._scene_by_name = {row["name"]: row for row in rows["scene"]}
        self._index_in_scene = {}  # type: Dict[str, int]
        self._samples_of_scene = self._order_samples(rows["scene"])
        self._keyframes = self._find_keyframes(rows["sample_data"])

    def scene_names(self) -> List[str]:
        """The scenes' names, in table order."""
        return list(self._scene_by_name)

    def scene(self, name: str) -> Row:
        """The scene's row. Raises DataError for an unknown name."""
        if name not in self._scene_by_name:
            raise DataError("{} has no scene {!r}".format(self.folder, name))
        return self._scene_by_name[name]

    def samples_of_scene(self, name: str) -> List[str]:
        """The sample tokens of a scene in time order."""
        return self._samples_of_scene[self.scene(name)["token"]]

    def location(self, scene_name: str) -> str:
        """The map a scene lies on, e.g. `singapore-onenorth`."""
        return str(self._row("log", self.scene(scene_name)["log_token"])["location"])

    def sample(self, token: str) -> Row:
        """Return one sample as an adapter gets it; docs/architecture.md shows the shape.

        Poses are translation [m] and unit quaternion w x y z; intrinsics are in pixels.
        """
        if token not in self._by_token["sample"]:
            raise DataError("{} has no sample {!r}".format(self.folder, token))
        row = self._by_token["sample"][token]
        scene = self._row("scene", row["scene_token"])
        keyframes = self._keyframes.get(token, {})
        if LIDAR not in keyframes:
            raise DataError("sample {} has no {} key frame in {}".format(token, LIDAR, self.folder))
        lidar = self._sensor_frame(keyframes[LIDAR])
        return make_sample(
            token,
            scene=scene["name"],
            scene_token=scene["token"],
            index_in_scene=self._index_in_scene[token],
            timestamp_us=row["timestamp"],
            ego2global=lidar["ego2global"],
            cameras={name: self._camera(keyframes[name]) for name in CAMERAS if name in keyframes},
            lidar=lidar,
        )

    def _camera(self, data: Row) -> Row:
        token = data["calibrated_sensor_token"]
        intrinsic = self._row("calibrated_sensor", token)["camera_intrinsic"]
        if not all(math.isfinite(value) for row in intrinsic for value in row):
            where = "{}/calibrated_sensor.json".format(self.folder)
            raise DataError("{}: camera_intrinsic of row {!r} is not finite: {}".format(where, token, intrinsic))
        return make_camera(self._sensor_frame(data), width=data["width"], height=data["height"], intrinsic=intrinsic)

    def _sensor_frame(self, data: Row) -> Row:
        return make_sensor(
            os.path.join(self.dataroot, data["filename"]),
            data["timestamp"],
            sensor2ego=self._pose("calibrated_sensor", data["calibrated_sensor_token"]),
            ego2global=self._pose("ego_pose", data["ego_pose_token"]),
        )

    def _pose(self, table: str, token: str) -> Row:
        """Return the pose in a row. Raises DataError naming the row if one of its numbers is NaN or infinite."""
        row = self._row(table, token)
        for key in ("translation", "rotation"):
            if not all(math.isfinite(value) for value in row[key]):
                where = "{}/{}.json".format(self.folder, table)
                raise DataError("{}: {} of row {!r} is not finite: {}".format(where, key, token, row[key]))
        return make_pose(row["translation"], row["rotation"])

    def _row(self, table: str, token: str) -> Row:
        try:
            return self._by_token[table][token]
        except KeyError:
            raise DataError("{}/{}.json has no row {!r}".format(self.folder, table, token)) from None

    def _order_samples(self, scenes: List[Row]) -> Dict[str, List[str]]:
        ordered = {}
        for scene in scenes:
            tokens = []  # type: List[str]
            token = scene["first_sample_token"]
            while token:
                if token in self._index_in_scene:
                    raise DataError("{}/sample.json: the chain of scene {} loops".format(self.folder, scene["name"]))
                self._index_in_scene[token] = len(tokens)
                tokens.append(token)
                token = self._row("sample", token)["next"]
            ordered[scene["token"]] = tokens
        return ordered

    def _find_keyframes(self, rows: List[Row]) -> Dict[str, Dict[str, Row]]:
        keyframes = {}  # type: Dict[str, Dict[str, Row]]
        for row in rows:
            if row["is_key_frame"]:
                sensor = self._row("calibrated_sensor", row["calibrated_sensor_token"])["sensor_token"]
                keyframes.setdefault(row["sample_token"], {})[self._row("sensor", sensor)["channel"]] = row
        return keyframes
