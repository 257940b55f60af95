"""mmdet3d's infos hold what the models' adapters hand to the same data set classes: sample by sample."""

from __future__ import annotations

import pickle
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from admlops.conversion.base import ReadOptions, WriteOptions
from admlops.conversion.convert import Chosen, convert, find_format, open_recording
from admlops.conversion.formats.mmdet3d import CLASSES
from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.worker.mmlab.common.infos import frame_info
from admlops.worker.mmlab.v2 import samples as v2


@pytest.fixture(scope="module")
def indexed(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> NuScenes:
    """A copy of the synthetic scenes, with an index: it holds the sweeps."""
    out = tmp_path_factory.mktemp("indexed") / "data"
    recording = open_recording(synthetic_root, ReadOptions(sweeps=True))
    options, silent = WriteOptions(), lambda done, total: None
    form = find_format("nuscenes")
    done = convert(recording, form, out, options=options, chosen=Chosen(), mode="hardlink", watch=silent)
    assert done.losses == []
    build_index(out, "v1.0-mini", say=lambda line: None)
    return NuScenes(out, "v1.0-mini")


def infos(root: Path, out: Path, generation: Any) -> dict[str, Any]:
    convert(
        open_recording(root, ReadOptions(sweeps=True)),
        find_format("mmdet3d-infos"),
        out,
        options=WriteOptions(generation=generation),
        chosen=Chosen(),
        mode="copy",
        watch=lambda done, total: None,
    )
    content: dict[str, Any] = pickle.loads((out / "nuscenes_infos_all.pkl").read_bytes())
    return content


def same(ours: Any, theirs: Any, where: str = "") -> None:
    """Every key of theirs is in ours, with the same value; a path ends in ours."""
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            same(ours[key], value, f"{where}.{key}")
    elif isinstance(theirs, str) and "/" in theirs:
        assert theirs.endswith(PurePosixPath(ours).name), where
    elif isinstance(theirs, list) and theirs and isinstance(theirs[0], dict):
        assert len(ours) == len(theirs), where
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            same(*pair, f"{where}[{index}]")
    elif isinstance(theirs, str):
        assert ours == theirs, where
    else:
        # Adapters compute in another order of operations, kilometres from the origin.
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=where)


def test_generation_1_is_what_adapters_of_mmdet3d_1_4_give(indexed: NuScenes, tmp_path: Path) -> None:
    content = infos(indexed.root, tmp_path / "infos", "1.x")
    assert content["metainfo"] == {
        "categories": {name: index for index, name in enumerate(CLASSES)},
        "dataset": "nuscenes",
        "version": "v1.0-mini",
        "info_version": "1.1",
    }
    tokens = [token for scene in indexed.scenes() for token in scene.samples]
    assert [entry["token"] for entry in content["data_list"]] == tokens
    for entry in content["data_list"]:
        sample = indexed.sample(entry["token"])
        sweeps = v2.describe_sweeps(sample, indexed.context(entry["token"]), count=10, in_place=False)
        told = {**v2.describe_frame(sample), **v2.describe_cameras(sample), **v2.describe_lidar(sample, sweeps)}
        for key in ("sample_idx", "num_pts_feats", "lidar_path"):  # of the whole file there; of a pipeline alone
            told.pop(key)
        same(entry, told)


def test_boxes_are_the_ground_truth_in_the_lidars_frame(indexed: NuScenes, tmp_path: Path) -> None:
    """Turned to the vehicle's frame they are what the reader of ground truth gives."""
    content = infos(indexed.root, tmp_path / "infos", "1.x")
    old = infos(indexed.root, tmp_path / "old", "0.x")
    boxes = 0
    for entry, before in zip(content["data_list"], old["infos"], strict=True):
        truth = [one for one in indexed.ground_truth(entry["token"]) if one.class_name in CATEGORY_CLASSES.values()]
        lidar2ego = np.array(entry["lidar_points"]["lidar2ego"])
        assert len(entry["instances"]) == len(truth)
        for number, (ours, theirs) in enumerate(zip(entry["instances"], truth, strict=True)):
            x, y, z, length, width, height, yaw = ours["bbox_3d"]
            np.testing.assert_allclose(lidar2ego @ [x, y, z, 1], [*theirs.center, 1], atol=1e-6)
            assert (width, length, height) == theirs.size_wlh
            ahead = lidar2ego[:3, :3] @ [np.cos(yaw), np.sin(yaw), 0]
            w, qx, qy, qz = theirs.rotation_wxyz
            heading = np.arctan2(2 * (w * qz + qx * qy), 1 - 2 * (qy * qy + qz * qz))
            assert abs(np.angle(np.exp(1j * (np.arctan2(ahead[1], ahead[0]) - heading)))) < 1e-3
            assert CLASSES[ours["bbox_label_3d"]] == theirs.class_name
            assert ours["num_lidar_pts"] == theirs.num_lidar_pts
            if theirs.velocity is None:
                assert np.isnan(ours["velocity"]).all()
            else:
                np.testing.assert_allclose((lidar2ego[:3, :3] @ [*ours["velocity"], 0])[:2], theirs.velocity, atol=0.02)
            np.testing.assert_allclose(before["gt_boxes"][number], [x, y, z, width, length, height, -yaw - np.pi / 2])
            boxes += 1
        assert before["gt_names"].tolist() == [one.class_name for one in truth]
    assert boxes > 100


def test_generation_0_is_what_adapters_of_mmcv_full_give(indexed: NuScenes, tmp_path: Path) -> None:
    content = infos(indexed.root, tmp_path / "infos", "0.x")
    assert content["metadata"] == {"version": "v1.0-mini"}
    for entry in content["infos"]:
        same(entry, frame_info(indexed.sample(entry["token"]), indexed.context(entry["token"])))
