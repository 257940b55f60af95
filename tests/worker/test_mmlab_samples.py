"""From a sample to an info of mmdet3d's data sets, and from the LiDAR's plane to the ego frame: without torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.models.both_ways import load_module

from admlops.datasets.nuscenes.sample_index import build_index
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.datasets.nuscenes.vector_map import ego_to_patch, patch_to_ego
from worker.mmlab.common.geometry import lidar_plane_to_ego, pose_matrix, sensor_to_lidar
from worker.mmlab.common.infos import CAMERA_ORDER, can_bus_vector, context_of, temporal_info
from worker.samples.nuscenes import DataError
from worker.samples.sample_index import SampleIndex

Row = dict[str, Any]

EGO: Row = {"translation": [100.0, 200.0, 0.0], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}
LIDAR_TURN = [math.cos(-math.pi / 4), 0.0, 0.0, math.sin(-math.pi / 4)]
"""nuScenes' LiDAR has x to the right and y forward: a quarter turn clockwise from the ego frame."""


@pytest.fixture(scope="module")
def indexed(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> SampleIndex:
    """The synthetic data set, indexed in a copy of its tables; its images are not read here."""
    root = tmp_path_factory.mktemp("indexed")
    for name in ("v1.0-mini", "can_bus"):
        (root / name).mkdir()
        for path in (synthetic_root / name).iterdir():
            if path.suffix == ".json":
                (root / name / path.name).write_bytes(path.read_bytes())
    build_index(root, "v1.0-mini", say=print)
    return SampleIndex(str(root), "v1.0-mini")


@pytest.fixture
def sample(indexed: SampleIndex) -> Row:
    token = indexed.samples_of_scene(indexed.scene_names()[0])[1]
    return {**indexed.sample(token), "context": indexed.context(token)}


def rig(rotation_wxyz: list[float] = LIDAR_TURN) -> Row:
    sensor2ego = {"translation": [0.94, 0.1, 1.84], "rotation_wxyz": rotation_wxyz}
    return {"ego2global": EGO, "lidar": {"sensor2ego": sensor2ego, "ego2global": EGO}}


def test_a_point_ahead_and_to_the_right_of_the_lidar_is_so_in_the_ego_frame() -> None:
    points = np.array([[1.0, 10.0], [0.0, 0.0]])
    assert np.allclose(lidar_plane_to_ego(points, rig()), [[10.94, -0.9], [0.94, 0.1]], atol=1e-12)


def test_points_are_moved_as_the_evaluation_moves_them_back(sample: Row) -> None:
    points = np.random.default_rng(0).uniform(-30, 30, (50, 20, 2))
    moved = lidar_plane_to_ego(points, sample)
    assert moved.shape == points.shape
    assert np.abs(moved.reshape(-1, 2) - patch_to_ego(points.reshape(-1, 2), sample)).max() < 1e-9
    assert np.abs(ego_to_patch(moved.reshape(-1, 2), sample) - points.reshape(-1, 2)).max() < 1e-9


def apply(matrix: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(matrix[:3, :3] @ point + matrix[:3, 3])


def test_a_sensor_is_placed_through_the_global_frame(sample: Row) -> None:
    """A camera fires at another time than the LiDAR, so the vehicle's own motion lies between."""
    camera, lidar = sample["cameras"]["CAM_BACK"], sample["lidar"]
    assert camera["ego2global"] != lidar["ego2global"]
    point = np.array([0.5, -0.2, 7.0])
    world = apply(pose_matrix(camera["ego2global"]), apply(pose_matrix(camera["sensor2ego"]), point))
    inside_lidar = apply(sensor_to_lidar(camera, lidar), point)
    assert np.allclose(
        apply(pose_matrix(lidar["ego2global"]), apply(pose_matrix(lidar["sensor2ego"]), inside_lidar)), world, atol=1e-9
    )


def test_an_info_holds_what_the_data_set_class_reads(sample: Row, indexed: SampleIndex) -> None:
    info = temporal_info(sample, context_of(sample))
    tokens = indexed.samples_of_scene(sample["scene"])
    assert (info["prev"], info["token"], info["next"]) == tuple(tokens[:3])
    assert list(info["cams"]) == list(CAMERA_ORDER)
    assert info["frame_idx"] == 1
    assert info["map_location"] == indexed.location(sample["scene"])
    front = info["cams"]["CAM_FRONT"]
    assert front["data_path"] == sample["cameras"]["CAM_FRONT"]["path"]
    assert front["cam_intrinsic"].shape == (3, 3)
    rotation = front["sensor2lidar_rotation"]
    assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    ahead = rotation @ [0, 0, 1] + front["sensor2lidar_translation"]
    assert ahead[1] > 0.9, "what lies ahead of the front camera lies along the LiDAR's y"
    times = [sweep["timestamp"] for sweep in info["sweeps"]]
    assert times == sorted(times, reverse=True)
    assert len(times) >= 1
    assert max(times) < sample["lidar"]["timestamp_us"]


def test_the_can_bus_vector_mixes_two_messages_as_upstream_does() -> None:
    last = {"accel": [1, 2, 3], "orientation": [1, 0, 0, 0], "pos": [7, 8, 9], "rotation_rate": [4, 5, 6], "utime": 1}
    messages = {
        "last_pose": {**last, "vel": [0, 0, 0]},
        "pose": {
            "accel": [10, 20, 30],
            "orientation": [0, 1, 0, 0],
            "pos": [70, 80, 90],
            "rotation_rate": [40, 50, 60],
            "utime": 2,
            "vel": [1, 1, 1],
        },
    }
    assert can_bus_vector(messages).tolist() == [7, 8, 9, 1, 0, 0, 0, 10, 20, 30, 40, 50, 60, 1, 1, 1, 0, 0]
    assert can_bus_vector(None).tolist() == [0.0] * 18
    with pytest.raises(DataError, match="13 values, not 16"):
        can_bus_vector({"last_pose": last, "pose": last})


def test_a_scene_without_can_bus_says_so_once(sample: Row, capfd: pytest.CaptureFixture[str]) -> None:
    context = {**context_of(sample), "can_bus": None}
    for index in (0, 1):
        info = temporal_info({**sample, "index_in_scene": index}, context)
        assert not info["can_bus"].any()
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"{sample['scene']} has no CAN bus messages: the network gets zeros, as upstream gives it"


def test_what_is_missing_is_named(sample: Row) -> None:
    without = {**sample, "cameras": {name: c for name, c in sample["cameras"].items() if name != "CAM_BACK_LEFT"}}
    with pytest.raises(DataError, match="CAM_BACK_LEFT"):
        temporal_info(without, context_of(sample))
    del without["context"]
    with pytest.raises(DataError, match="admlops data index"):
        context_of(without)


def test_the_host_gives_the_same_context(synthetic_data: NuScenes, indexed: SampleIndex, sample: Row) -> None:
    hosted = NuScenes(Path(indexed.dataroot), "v1.0-mini")
    assert hosted.has_context
    assert hosted.context(sample["sample_token"]) == sample["context"]


@pytest.mark.parametrize("name", ["BEVFormer", "MapTRv2", "PETR", "StreamPETR"])
def test_an_adapter_names_the_pictures_of_its_infos(name: str, sample: Row) -> None:
    """They are looked at before the pipeline reads them, so that a damaged one is the data's fault."""
    adapter = getattr(load_module(name), name)()
    named = adapter.pictures(adapter.make_info(sample))
    assert sorted(named) == sorted(camera["path"] for camera in sample["cameras"].values())
