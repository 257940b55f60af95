"""PETRv2's earlier frames: the list `sweeps` of an info, as upstream's tools/generate_sweep_pkl.py writes it.

An entry holds a frame of each camera. For each of up to five key frames before the sample, the list has five entries of
frames going back from where it stands, then that key frame: with nuScenes' twelve pictures a second, every picture. The
test pipeline looks at one entry, a second and a quarter ago. A sample's context holds half a second of pictures, so the
frames are kept from sample to sample of a scene.
"""

from typing import Any, Dict, List, Mapping

import numpy as np

from worker.mmlab.common.infos import sensor_info
from worker.samples.nuscenes import DataError

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
KEY_FRAMES = 5
BETWEEN = 5

Row = Dict[str, Any]


class CameraHistory:
    """The pictures of a scene up to a sample, by camera, the newest first."""

    def __init__(self) -> None:
        self._frames: Dict[str, List[Row]] = {}
        self._last = ""

    def before(self, sample: Mapping[str, Any], context: Mapping[str, Any]) -> Dict[str, List[Row]]:
        """The pictures before the sample's own; the sample's are then remembered.

        Raises:
            DataError: the sample before this one was not seen, a camera is missing, or there are key frames only.
        """
        if context["prev"] not in ("", self._last):
            raise DataError(
                "PETRv2 looks back over a second: it needs every sample of a scene, in order from the first, and has "
                "not seen {} before {}; run whole scenes, or PETR, which looks at one moment".format(
                    context["prev"], sample["sample_token"]
                )
            )
        missing = [name for name in CAMERAS if name not in sample["cameras"]]
        if missing:
            raise DataError("sample {} has no {}".format(sample["sample_token"], ", ".join(missing)))
        if context["prev"] and all(row["is_key_frame"] for name in CAMERAS for row in context["camera_sweeps"][name]):
            raise DataError(
                "PETRv2 looks at pictures between the key frames, and the tables list none before {}; unpack the "
                "cameras' sweeps and make the index anew (admlops data index), or run PETR, which looks at one "
                "moment".format(sample["sample_token"])
            )
        earlier = {name: self._joined(name, context["camera_sweeps"][name]) for name in CAMERAS}
        self._frames = {name: [{**sample["cameras"][name], "is_key_frame": True}, *earlier[name]] for name in CAMERAS}
        self._last = sample["sample_token"]
        return earlier

    def _joined(self, name: str, sweeps: List[Row]) -> List[Row]:
        known = self._frames.get(name, [])
        return [row for row in sweeps if not known or row["timestamp_us"] > known[0]["timestamp_us"]] + known


def sweep_entries(earlier: Mapping[str, List[Row]], lidar: Mapping[str, Any], *, count: int) -> List[Row]:
    """The first `count` entries of the list.

    Args:
        earlier: what `CameraHistory.before` gives.
        lidar: the sample's own, to whose frame the pictures' places are related.
        count: upstream's list has 30; those after the one that the pipeline takes need not be made.
    """
    at = dict.fromkeys(CAMERAS, -1)
    keys = {name: [i for i, row in enumerate(earlier[name]) if row["is_key_frame"]] for name in CAMERAS}
    chosen: List[Dict[str, Row]] = []
    for key in range(min(KEY_FRAMES, *(len(found) for found in keys.values()))):
        for _ in range(BETWEEN):
            chosen.append(_step_back(earlier, at, chosen))
        at = {name: keys[name][key] for name in CAMERAS}
        chosen.append({name: earlier[name][at[name]] for name in CAMERAS})
    return [{name: describe(row, lidar) for name, row in entry.items()} for entry in chosen[:count]]


def _step_back(earlier: Mapping[str, List[Row]], at: Dict[str, int], chosen: List[Dict[str, Row]]) -> Dict[str, Row]:
    """The next older picture of each camera; where one has no more, upstream repeats the entry before."""
    entry: Dict[str, Row] = {}
    for name in CAMERAS:
        if at[name] + 1 >= len(earlier[name]):
            return chosen[-1]
        at[name] += 1
        entry[name] = earlier[name][at[name]]
    return entry


def describe(camera: Mapping[str, Any], lidar: Mapping[str, Any]) -> Row:
    """A picture in the form of upstream's `add_frame`: 4 x 4 matrices of 32-bit floats, `extrinsics` transposed."""
    info = sensor_info(camera, lidar, "camera")
    to_camera = np.eye(4)
    to_camera[:3, :3] = np.linalg.inv(info["sensor2lidar_rotation"])
    to_camera[:3, 3] = -to_camera[:3, :3] @ info["sensor2lidar_translation"]
    intrinsics = np.eye(4)
    intrinsics[:3, :3] = camera["intrinsic"]
    return {
        "data_path": info["data_path"],
        "timestamp": info["timestamp"],
        "intrinsics": intrinsics.astype(np.float32),
        "extrinsics": to_camera.T.astype(np.float32),
        "lidar2img": (intrinsics @ to_camera).astype(np.float32),
    }
