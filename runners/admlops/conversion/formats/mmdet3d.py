"""The "info" files of mmdetection3d's nuScenes data sets, for training and testing in its own tools.

They are pickles, because that is what the format is. They are written for other programs; nothing here reads one. They
name files by their names, as upstream's converters do: the pictures stay where they are, and `data_root` of a config
says where. Two generations: `1.x`, a dict of `metainfo` and `data_list` (mmdet3d 1.1 to 1.4: CenterPoint,
PointPillars, BEVFusion, PETR-mmdet3d here); `0.x`, a dict of `infos` and `metadata` with NumPy arrays, as mmdet3d
0.17's converter writes it (PETR here; BEVFormer, MapTR and VAD have files of their own, with the CAN bus besides).
Boxes are in the LiDAR's frame: in `1.x` x, y, z, length, width, height, yaw, in `0.x` x, y, z, width, length, height,
-yaw - π/2.

Source: mmdetection3d 1.4, tools/dataset_converters/{nuscenes_converter,update_infos_to_v2}.py.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from admlops.conversion.base import DataFormat, Target
from admlops.conversion.frames import Cuboid, Frame, Pose, Recording, SceneFrames, SensorFile
from admlops.conversion.geometry import Matrix, invert, rotation_matrices
from admlops.conversion.velocity import velocities
from admlops.core.errors import DataError

CLASSES = (
    *("car", "truck", "trailer", "bus", "construction_vehicle", "bicycle", "motorcycle", "pedestrian"),
    *("traffic_cone", "barrier"),
)
"""In the order of the format, which is not that of the models' labels."""
MAX_SWEEPS = 10
SECONDS = 1e6

Row = dict[str, Any]


class InfosWriter:
    """Keeps an entry for each frame, and pickles them at the end."""

    def __init__(self, target: Target, recording: Recording) -> None:
        self._target = target
        self._recording = recording
        self._entries: list[Row] = []

    def add(self, scene: SceneFrames) -> None:
        """Keep a scene's entries. Raises DataError: a frame has no LiDAR, or no pose."""
        speeds = velocities(scene)
        for number, frame in enumerate(scene.frames):
            lidar = _require_lidar(frame)
            sweeps = _sweeps_before(scene, lidar)
            known = [one for one in frame.cuboids or () if self._target.class_of(one.category) in CLASSES]
            boxes = _boxes(known, lidar, speeds)
            names = [str(self._target.class_of(one.category)) for one in known]
            if self._target.options.generation == "1.x":
                entry = _entry(frame, len(self._entries), lidar, sweeps, _instances(known, names, boxes))
            else:
                entry = _old_entry(scene, number, lidar, sweeps) | _old_boxes(known, names, boxes)
            self._entries.append(entry)

    def finish(self) -> None:
        """Write the file."""
        version = self._recording.version or "v1.0-own"
        if self._target.options.generation == "1.x":
            numbers = {name: index for index, name in enumerate(CLASSES)}
            meta = {"categories": numbers, "dataset": "nuscenes", "version": version, "info_version": "1.1"}
            content: Row = {"metainfo": meta, "data_list": self._entries}
        else:
            content = {"infos": self._entries, "metadata": {"version": version}}
        self._target.write(f"nuscenes_infos_{self._target.options.split}.pkl", pickle.dumps(content, protocol=4))


def _require_lidar(frame: Frame) -> SensorFile:
    lidar = frame.lidar
    if lidar is None or lidar.sensor2ego is None or lidar.ego2global is None:
        raise DataError(
            f"frame {frame.token} has no LiDAR file with a pose, in whose frame mmdet3d's boxes are",
            hint="admlops data convert --to nuscenes   # it adds a LiDAR file, from which infos can be made",
        )
    return lidar


def _sensor_to_global(sensor: SensorFile) -> Matrix:
    if sensor.sensor2ego is None or sensor.ego2global is None:
        raise DataError(f"{sensor.name} has no pose, which mmdet3d's infos need", hint="add its calibration and pose")
    matrix: Matrix = sensor.ego2global.matrix @ sensor.sensor2ego.matrix
    return matrix


def _to_lidar(sensor: SensorFile, lidar: SensorFile) -> Matrix:
    """From a sensor's frame at its time to the LiDAR's at its own."""
    matrix: Matrix = invert(_sensor_to_global(lidar)) @ _sensor_to_global(sensor)
    return matrix


def _sweeps_before(scene: SceneFrames, lidar: SensorFile) -> list[SensorFile]:
    """The newest LiDAR files before one, key frames and sweeps alike, the newest first."""
    files = (file for frame in scene.frames for file in frame.files if file.channel == lidar.channel)
    earlier = [file for file in files if file.timestamp_us < lidar.timestamp_us]
    return sorted(earlier, key=lambda file: -file.timestamp_us)[:MAX_SWEEPS]


def _boxes(cuboids: Sequence[Cuboid], lidar: SensorFile, speeds: Mapping[str, tuple[float, float]]) -> Matrix:
    """(N, 9): centre, length, width, height, yaw and velocity, all in the LiDAR's frame."""
    if not cuboids:
        return np.zeros((0, 9))
    to_lidar = invert(_sensor_to_global(lidar))
    centers = np.array([one.center for one in cuboids]) @ to_lidar[:3, :3].T + to_lidar[:3, 3]
    sizes = np.array([one.size_wlh for one in cuboids])[:, [1, 0, 2]]
    ahead = rotation_matrices([one.rotation_wxyz for one in cuboids])[:, :, 0] @ to_lidar[:3, :3].T
    yaws = np.arctan2(ahead[:, 1], ahead[:, 0])
    moving = np.array([(*speeds[one.token], 0.0) for one in cuboids]) @ to_lidar[:3, :3].T
    return np.concatenate([centers, sizes, yaws[:, np.newaxis], moving[:, :2]], axis=1)


def _instances(cuboids: Sequence[Cuboid], names: Sequence[str], boxes: Matrix) -> list[Row]:
    rows = []
    for one, name, box in zip(cuboids, names, boxes.tolist(), strict=True):
        label = CLASSES.index(name)
        rows.append(
            {
                "bbox_label": label,
                "bbox_label_3d": label,
                "bbox_3d": box[:7],
                "bbox_3d_isvalid": _is_valid(one),
                "num_lidar_pts": one.lidar_points or 0,
                "num_radar_pts": one.radar_points or 0,
                "velocity": box[7:],
            }
        )
    return rows


def _is_valid(one: Cuboid) -> bool:
    """Whether any point is in a box; one whose points nobody counted is taken for valid."""
    counts = (one.lidar_points, one.radar_points)
    return counts == (None, None) or sum(count or 0 for count in counts) > 0


def _entry(frame: Frame, number: int, lidar: SensorFile, sweeps: Sequence[SensorFile], instances: list[Row]) -> Row:
    entry: Row = {
        "sample_idx": number,
        "token": frame.token,
        "timestamp": frame.timestamp_us / SECONDS,
        "ego2global": _pose_of(lidar.ego2global).matrix.tolist(),
        "images": {name: _camera(camera, lidar) for name, camera in frame.cameras.items()},
        "lidar_points": {
            "num_pts_feats": lidar.columns,
            "lidar_path": PurePosixPath(lidar.name).name,
            "lidar2ego": _pose_of(lidar.sensor2ego).matrix.tolist(),
        },
        "instances": instances,
        "cam_instances": {name: [] for name in frame.cameras},
    }
    if sweeps:
        entry["lidar_sweeps"] = [_sweep(one, lidar) for one in sweeps]
    return entry


def _camera(camera: SensorFile, lidar: SensorFile) -> Row:
    return {
        "img_path": PurePosixPath(camera.name).name,
        "cam2img": [list(row) for row in camera.intrinsic or ()],
        "sample_data_token": camera.token,
        "timestamp": camera.timestamp_us / SECONDS,
        "cam2ego": _pose_of(camera.sensor2ego).matrix.tolist(),
        "lidar2cam": invert(_to_lidar(camera, lidar)).astype(np.float32).tolist(),
        "height": camera.height,
        "width": camera.width,
    }


def _sweep(sweep: SensorFile, lidar: SensorFile) -> Row:
    return {
        "timestamp": sweep.timestamp_us / SECONDS,
        "sample_data_token": sweep.token,
        "ego2global": _pose_of(sweep.ego2global).matrix.tolist(),
        "lidar_points": {
            "lidar_path": sweep.name,
            "lidar2ego": _pose_of(sweep.sensor2ego).matrix.tolist(),
            "lidar2sensor": invert(_to_lidar(sweep, lidar)).astype(np.float32).tolist(),
        },
    }


def _old_entry(scene: SceneFrames, number: int, lidar: SensorFile, sweeps: Iterable[SensorFile]) -> Row:
    frame = scene.frames[number]
    mount, place = _pose_of(lidar.sensor2ego), _pose_of(lidar.ego2global)
    cameras = {}
    for name, camera in frame.cameras.items():
        cameras[name] = {**_old_sensor(camera, lidar, name), "cam_intrinsic": np.array(camera.intrinsic, np.float64)}
    return {
        "lidar_path": lidar.name,
        "token": frame.token,
        "prev": scene.frames[number - 1].token if number else "",
        "next": scene.frames[number + 1].token if number + 1 < len(scene.frames) else "",
        "frame_idx": number,
        "scene_token": scene.token,
        "sweeps": [_old_sensor(one, lidar, "lidar") for one in sweeps],
        "cams": cameras,
        "lidar2ego_translation": list(mount.translation),
        "lidar2ego_rotation": list(mount.rotation_wxyz),
        "ego2global_translation": list(place.translation),
        "ego2global_rotation": list(place.rotation_wxyz),
        "timestamp": frame.timestamp_us,
    }


def _old_sensor(sensor: SensorFile, lidar: SensorFile, kind: str) -> Row:
    to_lidar = _to_lidar(sensor, lidar)
    mount, place = _pose_of(sensor.sensor2ego), _pose_of(sensor.ego2global)
    return {
        "data_path": sensor.name,
        "type": kind,
        "sample_data_token": sensor.token,
        "sensor2ego_translation": list(mount.translation),
        "sensor2ego_rotation": list(mount.rotation_wxyz),
        "ego2global_translation": list(place.translation),
        "ego2global_rotation": list(place.rotation_wxyz),
        "timestamp": sensor.timestamp_us,
        "sensor2lidar_rotation": to_lidar[:3, :3],
        "sensor2lidar_translation": to_lidar[:3, 3],
    }


def _old_boxes(cuboids: Sequence[Cuboid], names: Sequence[str], boxes: Matrix) -> Row:
    old = boxes[:, :7].copy()
    old[:, 3:5] = boxes[:, [4, 3]]
    old[:, 6] = -boxes[:, 6] - np.pi / 2
    return {
        "gt_boxes": old,
        "gt_names": np.array(names, dtype=str),
        "gt_velocity": boxes[:, 7:],
        "num_lidar_pts": np.array([one.lidar_points or 0 for one in cuboids], np.int64),
        "num_radar_pts": np.array([one.radar_points or 0 for one in cuboids], np.int64),
        "valid_flag": np.array([_is_valid(one) for one in cuboids], np.bool_),
    }


def _pose_of(pose: Pose | None) -> Pose:
    assert pose is not None, "a sensor whose place was computed"
    return pose


FORMAT = DataFormat(
    id="mmdet3d-infos",
    title="mmdet3d's infos",
    holds=frozenset(
        {"pictures", "lidar", "sweeps", "calibrations", "ego_poses", "timestamps", "scenes", "cuboids", "points"}
    ),
    write=InfosWriter,
    names="detection",
    wants_sweeps=True,
    options=frozenset({"generation"}),
)
