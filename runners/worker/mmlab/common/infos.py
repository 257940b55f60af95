"""One sample in the form that mmdet3d's nuScenes data sets keep for each: an entry of their "info" files.

Upstream makes such a file once for the whole data set, with the nuScenes devkit. This makes one entry from the sample
that the host hands over and its context (`worker.samples.sample_index`), with the same fields and meaning.
"""

from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from ...samples.nuscenes import DataError
from .geometry import sensor_to_lidar
from .log import say

CAMERA_ORDER = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")
"""The order of the networks' inputs; nuScenes' own lists go around the vehicle."""
CAN_BUS_LENGTH = 18
LIDAR_SWEEPS = 10

Row = Dict[str, Any]


def context_of(sample: Mapping[str, Any]) -> Row:
    """The context that came with the sample. Raises DataError if there is none."""
    context = sample.get("context")
    if context is None:
        raise DataError(
            "sample {} came without what lies around it (CAN bus, neighbours): index the data set once with "
            "`admlops data index ROOT`".format(sample["sample_token"])
        )
    return dict(context)


def temporal_info(sample: Mapping[str, Any], context: Mapping[str, Any]) -> Row:
    """The entry of a BEVFormer-like "temporal" info file: MapTR, VAD. Raises as `frame_info`."""
    if context["can_bus"] is None and sample["index_in_scene"] == 0:
        say("{} has no CAN bus messages: the network gets zeros, as upstream gives it".format(sample["scene"]))
    return {
        **frame_info(sample, context),
        "can_bus": can_bus_vector(context["can_bus"]),
        "map_location": context["location"],
    }


def frame_info(sample: Mapping[str, Any], context: Mapping[str, Any]) -> Row:
    """The entry of an info file for detectors that look at cameras alone: PETR, StreamPETR.

    Raises:
        DataError: a camera is missing.
    """
    lidar = sample["lidar"]
    return {
        "lidar_path": lidar["path"],
        "token": sample["sample_token"],
        "prev": context["prev"],
        "next": context["next"],
        "frame_idx": sample["index_in_scene"],
        "sweeps": lidar_sweeps(lidar, context),
        "cams": {name: camera_info(sample, name) for name in CAMERA_ORDER},
        "scene_token": sample["scene_token"],
        "lidar2ego_translation": lidar["sensor2ego"]["translation"],
        "lidar2ego_rotation": lidar["sensor2ego"]["rotation_wxyz"],
        "ego2global_translation": lidar["ego2global"]["translation"],
        "ego2global_rotation": lidar["ego2global"]["rotation_wxyz"],
        "timestamp": sample["timestamp_us"],
    }


def camera_info(sample: Mapping[str, Any], name: str) -> Row:
    """One camera's entry. Raises DataError if the sample has no such camera."""
    if name not in sample["cameras"]:
        raise DataError("sample {} has no {}; the network needs all six cameras".format(sample["sample_token"], name))
    camera = sample["cameras"][name]
    info = sensor_info(camera, sample["lidar"], name)
    info["cam_intrinsic"] = np.array(camera["intrinsic"], dtype=np.float64)
    return info


def sensor_info(sensor: Mapping[str, Any], lidar: Mapping[str, Any], kind: str) -> Row:
    """A camera's or an earlier LiDAR frame's entry, relative to the key frame's LiDAR."""
    to_lidar = sensor_to_lidar(sensor, lidar)
    return {
        "data_path": sensor["path"],
        "type": kind,
        "sensor2ego_translation": sensor["sensor2ego"]["translation"],
        "sensor2ego_rotation": sensor["sensor2ego"]["rotation_wxyz"],
        "ego2global_translation": sensor["ego2global"]["translation"],
        "ego2global_rotation": sensor["ego2global"]["rotation_wxyz"],
        "timestamp": sensor["timestamp_us"],
        "sensor2lidar_rotation": to_lidar[:3, :3],
        "sensor2lidar_translation": to_lidar[:3, 3],
    }


def lidar_sweeps(lidar: Mapping[str, Any], context: Mapping[str, Any], *, count: int = LIDAR_SWEEPS) -> List[Row]:
    """The earlier LiDAR frames of the scene, the newest first."""
    return [sensor_info(sweep, lidar, "lidar") for sweep in context["lidar_sweeps"][:count]]


def can_bus_vector(messages: Optional[Mapping[str, Any]]) -> "np.ndarray":
    """BEVFormer's vector of 18: position, orientation, acceleration, rotation rate, velocity, two zeros.

    Position and orientation are of the last pose message at or before the sample, the other three of the message after
    it: upstream's loop leaves it there, and the weights were trained so. The data set class then overwrites position,
    orientation and the last two from the ego pose. All zeros without the CAN bus expansion, as upstream does.
    """
    if messages is None:
        return np.zeros(CAN_BUS_LENGTH)
    last, after = messages["last_pose"], messages["pose"]
    values = [*last["pos"], *last["orientation"]]
    for key in last:
        if key not in ("utime", "pos", "orientation"):
            values += after[key]
    values += [0.0, 0.0]
    if len(values) != CAN_BUS_LENGTH:
        raise DataError("a CAN bus pose message holds {} values, not {}".format(len(values) - 2, CAN_BUS_LENGTH - 2))
    return np.array(values, dtype=np.float64)
