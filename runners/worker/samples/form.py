"""The form of a sample: the one place that builds it, for every reader and for the index.

docs/architecture.md shows the form. Poses are translation [m] and unit quaternion w, x, y, z; intrinsics are in pixels.
A path is relative to the data set's root on the wire and in the index, and absolute where a file is opened.
"""

import math
import os
from typing import Any, Callable, Dict, Mapping, Optional, Sequence

Row = Dict[str, Any]


def make_pose(translation: Sequence[float], rotation_wxyz: Sequence[float]) -> Row:
    """Return a pose."""
    return {"translation": translation, "rotation_wxyz": rotation_wxyz}


def make_sensor(path: str, timestamp_us: int, *, sensor2ego: Row, ego2global: Row) -> Row:
    """Return one file of one sensor: `sensor2ego` is its calibration, `ego2global` the vehicle's pose at that time."""
    return {"path": path, "timestamp_us": timestamp_us, "sensor2ego": sensor2ego, "ego2global": ego2global}


def make_camera(sensor: Row, *, width: int, height: int, intrinsic: Any) -> Row:
    """Return a camera's file with its image's size [pixels] and its intrinsic matrix (3, 3)."""
    return {**sensor, "width": width, "height": height, "intrinsic": intrinsic}


def make_picture(path: str, timestamp_us: int, *, width: int, height: int) -> Row:
    """Return a camera's file of which no calibration is known: a single picture with its size [pixels]."""
    return {"path": path, "timestamp_us": timestamp_us, "width": width, "height": height}


def make_sample(
    token: str,
    *,
    scene: str,
    scene_token: str,
    index_in_scene: int,
    timestamp_us: int,
    ego2global: Row,
    cameras: Mapping[str, Row],
    lidar: Optional[Row] = None,
) -> Row:
    """Return one sample; `ego2global` is the pose of the record's frame. Without a LiDAR the key is absent."""
    sample = {
        "sample_token": token,
        "scene": scene,
        "scene_token": scene_token,
        "index_in_scene": index_in_scene,
        "timestamp_us": timestamp_us,
        "ego2global": ego2global,
        "cameras": dict(cameras),
    }  # type: Row
    if lidar is not None:
        sample["lidar"] = lidar
    return sample


def make_paths_relative(sample: Mapping[str, Any], root: str) -> Row:
    """Return the sample with every path below `root` relative to it, with its context if it has one."""
    prefix = root.rstrip(os.sep) + os.sep

    def shorten(path: str) -> str:
        return path[len(prefix) :] if path.startswith(prefix) else path

    return dict(_map_paths(sample, shorten))


def make_paths_absolute(sample: Mapping[str, Any], root: str) -> Row:
    """Return the sample with every path below `root` made absolute; an absolute path stays."""
    return dict(_map_paths(sample, lambda path: os.path.join(root, path)))


def find_non_finite(value: Any, path: str) -> Optional[str]:
    """Return the place of the first NaN or infinity, such as `outputs.detections_3d[3].confidence`, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    pairs = []  # type: list[tuple[str, Any]]
    if isinstance(value, dict):
        pairs = [("{}.{}".format(path, key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        pairs = [("{}[{}]".format(path, index), item) for index, item in enumerate(value)]
    for place, item in pairs:
        found = find_non_finite(item, place)
        if found:
            return found
    return None


def _map_paths(value: Any, change: Callable[[str], str]) -> Any:
    """Return a copy in which `change` was applied to every text under the key `path`."""
    if isinstance(value, Mapping):
        return {
            key: change(item) if key == "path" and isinstance(item, str) else _map_paths(item, change)
            for key, item in value.items()
        }
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return [_map_paths(item, change) for item in value]
    return value
