"""From a sample to the network's input: the devkit's frame, upstream's data set class, the configuration's pipeline."""

from typing import Any, Dict, Tuple

import numpy as np

from worker.mmlab.common.geometry import rotation_matrix
from worker.mmlab.common.libraries import load_library
from worker.mmlab.v1.inputs import make_batch
from worker.samples.nuscenes import DataError

DATASET_OF_FRONT = {"ring_front_center": "OpenLaneV2SubsetADataset", "CAM_FRONT": "OpenLaneV2SubsetBDataset"}
"""The front camera's name → the data set class that wants it first."""
CAMERA_COUNT = {"ring_front_center": 7, "CAM_FRONT": 6}
"""The front camera's name → how many cameras the rig has."""
ADVICE = {"OpenLaneV2SubsetADataset": "setA-r50", "OpenLaneV2SubsetBDataset": "setB-r50"}
Key = Tuple[str, str, str]


def make_frame(sample: Dict[str, Any]) -> Dict[str, Any]:
    """A sample as the devkit's preprocessing describes a frame: `sensor` with the front camera first, and `pose`.

    Raises:
        DataError: the sample has no front camera of a known name, or lacks another.
    """
    cameras = sample["cameras"]
    front = next((name for name in DATASET_OF_FRONT if name in cameras), None)
    if front is None:
        raise DataError(
            "sample {} has no front camera: none of {}".format(sample["sample_token"], ", ".join(DATASET_OF_FRONT))
        )
    if len(cameras) != CAMERA_COUNT[front]:
        raise DataError(
            "sample {} has {} cameras, and the network needs all {}: there are {}".format(
                sample["sample_token"], len(cameras), CAMERA_COUNT[front], ", ".join(sorted(cameras))
            )
        )
    names = [front] + [name for name in cameras if name != front]
    return {
        "key": ("", sample["scene_token"], str(sample["timestamp_us"])),
        "sensor": {name: _describe_camera(cameras[name]) for name in names},
        "pose": _describe_pose(sample["ego2global"]),
    }


def _describe_camera(camera: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "image_path": camera["path"].lstrip("/"),  # the devkit puts a root and a slash before it
        "intrinsic": {"K": np.array(camera["intrinsic"], dtype=np.float64), "distortion": np.zeros(3)},
        "extrinsic": _describe_pose(camera["sensor2ego"]),
    }


def _describe_pose(pose: Dict[str, Any]) -> Dict[str, Any]:
    return {
        "rotation": rotation_matrix(pose["rotation_wxyz"]),
        "translation": np.array(pose["translation"], dtype=np.float64),
    }


class FramePipeline:
    """Upstream's data set class for one frame at a time, and the configuration's test pipeline.

    The class's constructor, which reads a pickle of all frames, is not called: the object gets the attributes that
    `get_data_info` and `format_preds` read.

    Args:
        any_cameras: whether cameras of the other subset than the configuration's are taken.
    """

    def __init__(self, config: Any, *, any_cameras: bool) -> None:
        self._wanted = str(config.data.test.type)
        self._any_cameras = any_cameras
        self._compose = load_library("mmdet3d.datasets.pipelines").Compose(config.data.test.pipeline)

    def __call__(self, frame: Dict[str, Any]) -> Dict[str, Any]:
        """The network's keyword arguments for a batch of one, on the CPU.

        Raises:
            DataError: the cameras are not those that the configuration is for, or a picture is missing or damaged.
        """
        self._check(next(iter(frame["sensor"])))
        self.open(frame)
        described = self._dataset.get_data_info(0)
        self._dataset.pre_pipeline(described)
        inputs = make_batch(self._compose, described, described["img_paths"])
        inputs["img"] = inputs["img"].contiguous()  # as mmcv's data parallel does; convolutions round by layout
        return inputs

    def open(self, frame: Dict[str, Any]) -> None:
        """Make a frame the last one."""
        self._dataset = self._make_dataset(frame)

    def format(self, result: Dict[str, Any]) -> Dict[str, Any]:
        """What upstream would submit of a result for the last frame: curves as 11 points, relations in their order."""
        (formatted,) = self._dataset.format_preds([result])["results"].values()
        return dict(formatted["predictions"])

    def _check(self, front: str) -> None:
        kind = DATASET_OF_FRONT[front]
        if kind != self._wanted and not self._any_cameras:
            advice = f"pass --config {ADVICE[kind]} with weights for it, or --off-distribution"
            raise DataError(f"the front camera is {front}, and this configuration is for {self._wanted}: {advice}")

    def _make_dataset(self, frame: Dict[str, Any]) -> Any:
        kind = load_library("mmdet.datasets").DATASETS.get(DATASET_OF_FRONT[next(iter(frame["sensor"]))])
        dataset = kind.__new__(kind)
        key = frame["key"]
        collection = _OneFrame(load_library("openlanev2.dataset").Frame("", frame))
        # A file name with neither `train` nor `val` in it: annotations are not read.
        vars(dataset).update(data_infos=[key], collection=collection, ann_file="", yolov8_file=None, test_mode=True)
        return dataset


class _OneFrame:
    """Stands for the devkit's collection of all frames."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def get_frame_via_identifier(self, _: Key) -> Any:
        return self._frame
