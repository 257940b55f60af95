"""The detectors of mmdet3d 1.4: samples, sweeps and boxes; with `full`, the real networks against upstream's way."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.conftest import Admlops
from tests.models.both_ways import LAYOUT, TOLERANCE, differences, find_environment, load_module, run_inside, run_model
from tests.models.mm2_models import VARIANT, both_ways, config_of, make_lidar_scenes
from tests.models.petr_proof import Scenes, compare_known_boxes, compare_submissions

from admlops.catalog import load_model
from admlops.core.processes import process_environment, run
from admlops.results.record import Outputs
from admlops.worker.samples.sample_index import SampleIndex
from worker.mmlab.common.lidar_files import check_points
from worker.mmlab.v2.samples import describe_lidar, describe_sweeps
from worker.samples.errors import DataError

full = pytest.mark.full
CONFIGS = [
    ("CenterPoint", "pillar02"),
    ("CenterPoint", "voxel01"),
    ("PointPillars", "fpn"),
    ("BEVFusion", "lidar"),
    ("BEVFusion", "lidar-cam"),
    ("PETR-mmdet3d", "vovnet-p4-800x320"),
]
POSE = {"translation": [0.0, 0.0, 0.0], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}


class Numbers:
    """A tensor as far as converting asks: it can be brought to the CPU."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)

    def cpu(self) -> Any:
        return self._values


@pytest.mark.parametrize("model", ["CenterPoint", "PointPillars", "BEVFusion"])
def test_its_boxes_are_of_mmdet3d_1(model: str) -> None:
    """Length, width, height of a car 10 m ahead of the LiDAR and 3 m to its right, and a yaw of π/2."""
    adapter = getattr(load_module(model), model)()
    adapter._config = SimpleNamespace(class_names=["car", "truck"])
    mounting = {"translation": [0.94, 0.0, 1.84], "rotation_wxyz": [0.5**0.5, 0.0, 0.0, -(0.5**0.5)]}
    row = [[3.0, 10.0, -1.8, 4.5, 1.9, 1.6, np.pi / 2, 1.0, 2.0]]
    found = SimpleNamespace(
        bboxes_3d=SimpleNamespace(tensor=Numbers(row)), scores_3d=Numbers([0.75]), labels_3d=Numbers([0])
    )
    sample = {"ego2global": POSE, "lidar": {"sensor2ego": mounting, "ego2global": POSE}}
    outputs = adapter.convert([SimpleNamespace(pred_instances_3d=found)], sample)
    (detection,) = msgspec.convert(outputs, Outputs).detections_3d or []
    assert (detection.class_name, detection.confidence) == ("car", 0.75)
    assert np.allclose(detection.bbox_3d.center, [10.94, -3.0, 0.84], atol=1e-6)
    assert np.allclose(detection.bbox_3d.size_wlh, [1.9, 4.5, 1.6], atol=1e-6)
    assert detection.bbox_3d.velocity is not None
    assert np.allclose(detection.bbox_3d.velocity, [2.0, -1.0], atol=1e-6)


@pytest.mark.parametrize("in_place", [True, False])
def test_where_a_sweeps_points_arrive(in_place: bool) -> None:
    """By what upstream's loader computes; the vehicle has turned by 0.13 rad and driven 6.7 m since the sweep."""
    here = {"translation": [6.7, 0.0, 0.0], "rotation_wxyz": [np.cos(0.065), 0.0, 0.0, np.sin(0.065)]}
    lidar = {"path": "key.bin", "timestamp_us": 1_500_000, "sensor2ego": POSE, "ego2global": here}
    sweep = {"path": "sweep.bin", "timestamp_us": 1_000_000, "sensor2ego": POSE, "ego2global": POSE}
    (described,) = describe_sweeps({"lidar": lidar}, {"lidar_sweeps": [sweep] * 3}, count=1, in_place=in_place)
    matrix = np.array(described["lidar_points"]["lidar2sensor"])
    point = np.array([[20.0, 5.0, -1.0]])
    arrived = point @ matrix[:3, :3] - matrix[:3, 3]  # LoadPointsFromMultiSweeps
    cos, sin = np.cos(-0.13), np.sin(-0.13)
    where = (point - [6.7, 0.0, 0.0]) @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    apart = float(np.linalg.norm(arrived - where))
    assert apart < 1e-5 if in_place else apart == pytest.approx(0.87, abs=0.01)
    assert described["timestamp"] == 1.0


def test_the_newest_sweeps_come_first_and_no_more_than_wanted(scene: SampleIndex) -> None:
    token = scene.samples_of_scene("scene-0103")[2]
    sample, context = scene.sample(token), scene.context(token)
    described = describe_sweeps(sample, context, count=4, in_place=True)
    assert [one["lidar_points"]["lidar_path"] for one in described] == [
        row["path"] for row in context["lidar_sweeps"][:4]
    ]
    times = [one["timestamp"] for one in described]
    assert times == sorted(times, reverse=True)
    assert times[0] < sample["timestamp_us"] / 1e6


def test_the_key_is_left_out_where_no_sweep_is_before(scene: SampleIndex) -> None:
    """Upstream then repeats the key frame; an empty list would repeat nothing."""
    sample = scene.sample(scene.samples_of_scene("scene-0103")[0])
    assert "lidar_sweeps" not in describe_lidar(sample, [])
    assert len(describe_lidar(sample, [{}])["lidar_sweeps"]) == 1
    with pytest.raises(DataError, match="has no LiDAR, which the network looks at"):
        describe_lidar({key: value for key, value in sample.items() if key != "lidar"}, [])


def test_lidar_files_that_are_not_whole_are_the_datas_fault(tmp_path: Path) -> None:
    for name, content, message in (
        ("cut.bin", bytes(99), "99 bytes are no multiple of 20"),
        ("none.bin", b"", "is empty"),
        ("gone.bin", None, "cannot be read: No such file"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            check_points([str(path)])
    (tmp_path / "whole.bin").write_bytes(bytes(40))
    check_points([str(tmp_path / "whole.bin")])


@pytest.mark.parametrize("model", ["CenterPoint", "PointPillars", "BEVFusion"])
def test_the_catalogues_fixes_are_ones_that_the_adapter_knows(model: str) -> None:
    """A setting that it does not know is taken for a variable of the configuration, and this one has none."""
    adapter = getattr(load_module(model), model)()
    fixes = load_model(LAYOUT, model).fixes
    for fix in fixes.values():
        adapter.apply_fix({}, fix.settings)
    assert adapter._sweeps_in_place is ("sweeps-in-place" in fixes)
    with pytest.raises(ValueError, match="no dictionary named img_norm_cfg"):
        adapter.apply_fix({}, {"img_norm_cfg": {}})


@pytest.mark.parametrize(
    ("device", "cameras", "switched"),
    [("cpu", True, [True, False]), ("cpu", False, []), ("cuda:0", True, [])],
)
def test_bevfusions_depths_do_not_depend_on_threads(
    device: str, cameras: bool, switched: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's deterministic mode is on during the call alone, also where that fails."""
    demo = load_module("BEVFusion")
    asked: list[bool] = []
    torch = SimpleNamespace(use_deterministic_algorithms=lambda on, **_: asked.append(on))
    monkeypatch.setattr(demo, "load_library", lambda _: torch)
    called: list[list[bool]] = []

    def call(self: Any, inputs: Any) -> Any:
        called.append(list(asked))
        raise ValueError(inputs)

    monkeypatch.setattr(demo.MmAdapter, "forward", call)
    adapter = demo.BEVFusion()
    adapter._device = device
    adapter._model = SimpleNamespace(view_transform=None) if cameras else SimpleNamespace()
    with pytest.raises(ValueError, match="points"):
        adapter.forward({"points": 1})
    assert (called, asked) == ([switched[:1]], switched)


@full
@pytest.mark.timeout(3600)
def test_the_stand_ins_are_what_they_stand_for() -> None:
    """Sparse convolutions against dense ones, voxels against loops and mmcv, pooling against sums in double."""
    environment = find_environment("CenterPoint", VARIANT)
    program = LAYOUT.root / "tests" / "worker" / "mm2_operations.py"
    done = run(
        [str(environment.python), str(program)], timeout_s=1800, variables=process_environment(environment.variables)
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert max(found["convolutions"]) < 2e-5
    assert found["inverse"] < 2e-5
    assert found["empty"] == [0, 0]
    assert found["pooling"]["ours"] < 2e-5 < found["pooling"]["upstream"] < 1e-3
    assert found["voxels"] == [True, True, True]
    assert found["compiled_voxels"] == [True, True, True]
    assert set(found["weights"].values()) == {True}


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("model", "name"), CONFIGS)
def test_the_adapter_gives_what_upstream_gives(model: str, name: str, scenes: Scenes) -> None:
    ours, theirs, folder = both_ways(scenes, model, name)
    found = differences(ours, theirs)
    print(json.dumps(found))
    sensors = load_model(LAYOUT, model).sensors_of(name)
    seen = {"points"} if sensors == ("lidar",) else {"points", "imgs"} if "lidar" in sensors else {"imgs"}
    assert {*seen, "neck", "boxes_3d", "scores_3d", "labels_3d"} <= set(found)
    assert max(found[name] for name in seen) <= 1e-5
    assert found["labels_3d"] == 0.0
    assert max(found.values()) <= TOLERANCE
    assert np.ptp(ours["1/boxes_3d"][:, :2], axis=0).min() > 10, "boxes far apart, so that the comparison means much"
    assert compare_submissions(scenes, folder) > 0
    assert compare_known_boxes(scenes, folder, model) > 200


@full
@pytest.mark.timeout(3600)
def test_weights_of_others_are_refused_and_those_of_either_layout_load(tmp_path: Path) -> None:
    environment = find_environment("CenterPoint", VARIANT)
    wanted = {"folder": str(tmp_path), "pillar": config_of("CenterPoint", "pillar02")}
    wanted |= {"voxel": config_of("CenterPoint", "voxel01"), "fusion": config_of("BEVFusion", "lidar")}
    said = json.loads(run_inside(environment, "mm2_checkpoints.py", wanted).splitlines()[-1])
    assert said["own"] == said["own, as spconv keeps it"] == ""
    assert said["same values"] is True
    assert "Its tensors fit the config voxel01" in said["voxel in pillar"]
    assert "Its tensors fit the config pillar02" in said["pillar in voxel"]
    assert "does not fit the model" in said["fusion in voxel"]
    assert "does not fit the model" in said["first generation"]


@full
@pytest.mark.timeout(3600)
def test_a_run_through_admlops_is_a_run(scenes: Scenes, admlops: Admlops) -> None:
    find_environment("CenterPoint", VARIANT)
    settings = ("--limit", "2", "--weights", "random:0", "--run", "centers")
    done = run_model(admlops, "CenterPoint", scenes.root, *settings)
    assert "2 samples ok" in done.stdout
    record = admlops("results", "show", "centers", "--json").stdout
    assert "newest-sweeps" in record
    assert "sweeps-in-place" in record


@pytest.fixture(scope="module")
def scene(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> SampleIndex:
    """The shared scenes with an index."""
    import shutil

    from admlops.datasets.nuscenes.sample_index import build_index

    root = tmp_path_factory.mktemp("indexed")
    shutil.copytree(synthetic_root / "v1.0-mini", root / "v1.0-mini")
    build_index(root, "v1.0-mini", say=print)
    return SampleIndex(str(root), "v1.0-mini")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    return make_lidar_scenes(tmp_path_factory.mktemp("mm2"))
