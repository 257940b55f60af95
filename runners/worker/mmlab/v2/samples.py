"""One sample in the form that mmdet3d 1.4's data set classes hand to a pipeline: a dictionary, without an info file.

It has the fields of an entry of upstream's info files of version 2, with the same numbers, and absolute paths.
"""

from typing import Any, Dict, List, Mapping

import numpy as np

from ...samples.errors import DataError
from ..common.geometry import pose_matrix, sensor_to_lidar
from ..common.infos import CAMERA_ORDER
from ..common.lidar_files import POINT_FEATURES

MICROSECONDS = 1e6

Row = Dict[str, Any]


def describe_frame(sample: Mapping[str, Any]) -> Row:
    """What every pipeline gets of a sample, cameras and LiDAR apart."""
    return {
        "sample_idx": sample["index_in_scene"],
        "token": sample["sample_token"],
        "timestamp": sample["timestamp_us"] / MICROSECONDS,
        "ego2global": pose_matrix(sample["ego2global"]).tolist(),
    }


def describe_lidar(sample: Mapping[str, Any], sweeps: List[Row]) -> Row:
    """The key frame's LiDAR file, and the sweeps before it.

    Without any sweep the key is left out, as upstream's converter does: its loader then repeats the key frame.

    Raises:
        DataError: the sample has no LiDAR, or a file is not whole.
    """
    lidar = sample.get("lidar")
    if lidar is None:
        raise DataError("sample {} has no LiDAR, which the network looks at".format(sample["sample_token"]))
    described = {
        "lidar_points": {
            "lidar_path": lidar["path"],
            "num_pts_feats": POINT_FEATURES,
            "lidar2ego": pose_matrix(lidar["sensor2ego"]).tolist(),
        },
        "num_pts_feats": POINT_FEATURES,
        "lidar_path": lidar["path"],
    }  # type: Row
    if sweeps:
        described["lidar_sweeps"] = sweeps
    return described


def describe_sweeps(sample: Mapping[str, Any], context: Mapping[str, Any], *, count: int, in_place: bool) -> List[Row]:
    """The newest `count` sweeps before the key frame, the newest first, each with what places it.

    mmdet3d 1.4 computes p Rᵀ + Rᵀ t of a sweep's points p, where R, t go from the sweep to the key frame, so that
    p Rᵀ + t is their place. With `in_place` the matrix is such that its loader arrives there; else it is upstream's.
    """
    described = []
    for sweep in context["lidar_sweeps"][:count]:
        to_key = sensor_to_lidar(sweep, sample["lidar"])
        lidar2sensor = np.eye(4)
        lidar2sensor[:3, :3] = to_key[:3, :3].T
        lidar2sensor[:3, 3] = -to_key[:3, 3] if in_place else -to_key[:3, :3].T @ to_key[:3, 3]
        described.append(
            {
                "timestamp": sweep["timestamp_us"] / MICROSECONDS,
                "lidar_points": {
                    "lidar_path": sweep["path"],
                    "lidar2sensor": lidar2sensor.astype(np.float32).tolist(),
                },
            }
        )
    return described


def describe_cameras(sample: Mapping[str, Any]) -> Row:
    """The six cameras, in the networks' order. Raises DataError if one is missing."""
    images = {}
    for name in CAMERA_ORDER:
        if name not in sample["cameras"]:
            raise DataError(
                "sample {} has no {}; the network needs all six cameras".format(sample["sample_token"], name)
            )
        camera = sample["cameras"][name]
        to_lidar = sensor_to_lidar(camera, sample["lidar"])
        lidar2cam = np.eye(4)
        lidar2cam[:3, :3] = to_lidar[:3, :3].T
        lidar2cam[:3, 3] = -to_lidar[:3, :3].T @ to_lidar[:3, 3]
        images[name] = {
            "img_path": camera["path"],
            "cam2img": camera["intrinsic"],
            "lidar2cam": lidar2cam.astype(np.float32).tolist(),
            "cam2ego": pose_matrix(camera["sensor2ego"]).tolist(),
            "timestamp": camera["timestamp_us"] / MICROSECONDS,
        }
    return {"images": images}
