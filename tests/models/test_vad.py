"""VAD's adapter: what it decodes becomes standard records; with `full`, the real model against upstream's way."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from tests.conftest import Admlops
from tests.models.both_ways import (
    LAYOUT,
    SEED,
    TOLERANCE,
    VARIANTS,
    find_environment,
    load_module,
    run_both_ways,
    run_model,
)
from tests.models.fidelity_compare import largest

from admlops.catalog import load_model
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.datasets.nuscenes.vector_map import ego_to_patch
from admlops.environments import Environment
from admlops.results.record import Outputs
from admlops.results.run_folder import RunFolder
from admlops.synthetic import SynthesisOptions, synthesize
from admlops.worker.mmlab.common.geometry import rotation_matrix, yaw_of
from admlops.worker.samples.sample_index import FILE_NAME, SampleIndex

MODEL = load_model(LAYOUT, "VAD")
CONFIG = LAYOUT.submodules / "VAD" / MODEL.configs["tiny"]
SCENE = "scene-0103"
EACH = 3
"""How many samples of each scene the network sees: the first, one with a past, one with a past of a past."""
RECORD_TOLERANCE = 1e-6
"""The largest absolute difference between records and what upstream makes of the same numbers."""
INFO_NUMBERS = {
    *("can_bus", "fut_valid_flag", "gt_ego_his_trajs", "gt_ego_fut_trajs", "gt_ego_fut_masks", "gt_ego_fut_cmd"),
    "gt_ego_lcf_feat",
}
SAME_NUMBERS = INFO_NUMBERS | {
    *("img", "bev_can_bus", "lidar2img", "boxes_3d", "scores_3d", "labels_3d", "trajs_3d"),
    *("map_boxes_3d", "map_scores_3d", "map_labels_3d", "map_pts_3d", "ego_fut_preds", "ego_fut_cmd"),
}

full = pytest.mark.full

EGO = {"translation": [500.0, 900.0, 0.0], "rotation_wxyz": [0.6, 0.0, 0.0, 0.8]}
LIDAR = {"translation": [0.94, 0.0, 1.84], "rotation_wxyz": [0.5**0.5, 0.0, 0.0, -(0.5**0.5)]}
SAMPLE = {"ego2global": EGO, "lidar": {"sensor2ego": LIDAR, "ego2global": EGO}}
"""The LiDAR 0.94 m ahead of the ego's origin, its x to the right and its y forward."""


def test_a_plan_follows_its_command(demo: ModuleType) -> None:
    """Steps of 4 m ahead for the command straight, with 1 m to the right for right, to the left for left."""
    steps = np.zeros((3, 6, 2), dtype=np.float32)
    steps[..., 1] = 4.0
    steps[:2, :, 0] = [[1.0], [-1.0]]
    sides = {}
    for number, command in enumerate(("right", "left", "straight")):
        chosen = np.zeros((1, 1, 1, 3), dtype=np.float32)
        chosen[..., number] = 1
        plan = demo.plan({"ego_fut_preds": steps, "ego_fut_cmd": chosen}, SAMPLE)
        assert plan["command"] == command
        assert plan["interval_s"] == 0.5
        assert np.allclose([x for x, _ in plan["waypoints"]], 0.94 + 4.0 * np.arange(1, 7), atol=1e-9)
        sides[command] = plan["waypoints"][-1][1]
        assert json.loads(json.dumps(plan)) == plan, "plain JSON, no arrays"
    assert sides == pytest.approx({"right": -6.0, "left": 6.0, "straight": 0.0})


def test_a_car_ahead_drives_off_to_the_left(demo: ModuleType) -> None:
    """A car 10 m ahead of the LiDAR, 4 m long, 2 m wide, its length along the LiDAR's x; two possible futures."""
    modes = np.zeros((1, 2, 13), dtype=np.float32)
    modes[0, 0, 0:12:2] = -1.5  # x of each step: to the left
    modes[0, :, 12] = [0.0, 2.0]
    decoded = {
        "boxes_3d": np.array([[0.0, 10.0, -1.84, 2.0, 4.0, 1.5, -math.pi / 2, 3.0, 0.0]]),
        "scores_3d": np.array([0.75]),
        "labels_3d": np.array([0]),
        "trajs_3d": modes,
    }
    (car,) = demo.moving_objects(decoded, list(MODEL.classes["detection_3d"]), SAMPLE)
    assert (car["class_name"], car["confidence"]) == ("car", 0.75)
    assert np.allclose(car["bbox_3d"]["center"], [10.94, 0.0, 0.75], atol=1e-6)
    assert np.allclose(car["bbox_3d"]["velocity"], [0.0, -3.0], atol=1e-6)
    standing, leaving = car["trajectories"]
    assert standing["confidence"] == pytest.approx(1 / (1 + math.exp(-2.0))), "the likeliest first"
    assert leaving["confidence"] == 0.5
    assert np.allclose(standing["waypoints"], [[10.94, 0.0]] * 6, atol=1e-6)
    assert np.allclose(leaving["waypoints"], [[10.94, 1.5 * step] for step in range(1, 7)], atol=1e-6)
    outputs = {"detections_3d": [car]}
    assert msgspec.json.decode(msgspec.json.encode(outputs), type=Outputs).detections_3d


def test_nothing_of_the_truth_is_read(demo: ModuleType) -> None:
    pipeline: list[dict[str, Any]] = [
        {"type": "LoadMultiViewImageFromFiles"},
        {"type": "LoadPointsFromFile"},
        {"type": "LoadAnnotations3D"},
        {"type": "MultiScaleFlipAug3D", "transforms": [{"type": "CustomCollect3D", "keys": ["img", "gt_bboxes_3d"]}]},
    ]
    demo.drop_truth(pipeline)
    assert [step["type"] for step in pipeline] == ["LoadMultiViewImageFromFiles", "MultiScaleFlipAug3D"]
    assert not [key for key in pipeline[1]["transforms"][0]["keys"] if key.startswith("gt_") or "fut_trajs" in key]


@full
@pytest.mark.timeout(3600)
def test_the_adapter_gives_what_upstream_gives(both: BothWays, scenes: Path) -> None:
    """Two scenes in order, with the published weights' fix: ours by the catalogue, upstream's by its documents."""
    variant, ours, theirs, said = both
    differences = differences_of(ours, theirs)
    print(json.dumps({"variant": variant, "differences": differences}))
    assert set(differences) == SAME_NUMBERS
    assert max(differences.values()) <= TOLERANCE
    assert differences["img"] == differences["labels_3d"] == differences["map_labels_3d"] == 0.0
    assert said["fixes"] == ["bgr-normalisation", "command-from-driven-path"]
    assert {command_of(ours, token) for token in tokens_of(scenes)} == {"left", "right", "straight"}
    assert len(said["outputs"]) == 2 * EACH
    for token, outputs in said["outputs"].items():
        sample = SampleIndex(str(scenes), "v1.0-mini").sample(token)
        record = msgspec.json.decode(msgspec.json.encode(outputs), type=Outputs)
        check_boxes(record, token, theirs, sample)
        check_futures(record, token, theirs, sample)
        check_map_and_plan(record, token, theirs, sample)


@full
@pytest.mark.timeout(3600)
def test_a_run_through_admlops_has_upstreams_metrics(
    both: BothWays, scenes: Path, admlops: Admlops, tmp_path: Path
) -> None:
    """The metrics of a run's records beside those that upstream computes in its forward pass, of the same samples."""
    options = ("--scene", SCENE, "--limit", str(EACH), "--variant", both.variant, "--weights", f"random:{SEED}")
    done = run_model(admlops, "VAD", scenes, *options, "--run", "vad")
    assert "bgr-normalisation" in done.stderr
    run = tmp_path / "repository" / "runs" / "vad"
    records = list(RunFolder.open(run).records())
    assert [record.metadata.index_in_scene for record in records] == list(range(EACH))
    assert all(record.metadata.fixes == ["bgr-normalisation", "command-from-driven-path"] for record in records)
    admlops("evaluate", "vad")
    rows = json.loads((run / "metrics.json").read_text())["metrics"]
    ours = {row["name"]: row["value"] for row in rows if row["protocol"] in ("stp3.planning", "vad.motion")}
    theirs = upstreams_metrics(both.theirs, [record.metadata.sample_token for record in records])
    assert theirs["L2_3s"]
    assert {"EPA_car", "EPA_pedestrian"} <= set(theirs)
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=TOLERANCE)


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_with_a_command_a_run_says_nothing_of_the_driven_path(
    variant: str, scenes: Path, admlops: Admlops, tmp_path: Path
) -> None:
    find_environment("VAD", variant)
    options = ("--limit", "1", "--variant", variant, "--weights", f"random:{SEED}", "--option", "command=right")
    run_model(admlops, "VAD", scenes, *options, "--run", "told")
    (record,) = RunFolder.open(tmp_path / "repository" / "runs" / "told").records()
    assert record.metadata.fixes == ["bgr-normalisation"]
    assert record.plan
    assert record.plan.command == "right"


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_without_a_can_bus_infos_are_upstreams_too(variant: str, scenes: Path, tmp_path: Path) -> None:
    root = tmp_path / "without"
    root.mkdir()
    for item in scenes.iterdir():
        if item.name == "v1.0-mini":
            shutil.copytree(item, root / item.name, ignore=shutil.ignore_patterns(FILE_NAME))
        elif item.name != "can_bus":
            (root / item.name).symlink_to(item)
    (root / "can_bus").mkdir()
    build_index(root, "v1.0-mini", say=print)
    ours, theirs, _ = both_ways(find_environment("VAD", variant), root, tmp_path, each=0)
    differences = differences_of(ours, theirs)
    assert set(differences) == INFO_NUMBERS
    assert max(differences.values()) <= TOLERANCE


def upstreams_metrics(theirs: Any, tokens: list[str]) -> dict[str, float]:
    """Means and rates over the samples, as `evaluate` of nuscenes_vad_dataset.py makes them of single numbers."""

    def numbers(name: str) -> list[float]:
        return [float(theirs[f"{token}.metric {name}"]) for token in tokens]

    valid = numbers("fut_valid_flag")
    kinds = {"L2": "L2", "obj_col": "obj_col", "obj_box_col": "collision"}
    found = {
        f"{name}_{second}s": float(np.dot(numbers(f"plan_{kind}_{second}s"), valid) / sum(valid))
        for kind, name in kinds.items()
        for second in (1, 2, 3)
    }
    for name in ("car", "pedestrian"):
        truths, hits, wrong = (sum(numbers(f"{kind}_{name}")) for kind in ("gt", "hit", "fp"))
        if truths:
            found[f"EPA_{name}"] = (hits - 0.5 * wrong) / truths
        for kind, count in (("ADE", "cnt_ade"), ("FDE", "cnt_fde")):
            if sum(numbers(f"{count}_{name}")):
                found[f"min{kind}_{name}"] = sum(numbers(f"{kind}_{name}")) / sum(numbers(f"{count}_{name}"))
    return found


def check_boxes(record: Outputs, token: str, theirs: Any, sample: Any) -> None:
    """The boxes are those that upstream submits to nuScenes, in the ego frame; velocities over the global ground."""
    assert isinstance(record.detections_3d, list)
    boxes = [found.bbox_3d for found in record.detections_3d]
    turns = np.array([box.rotation_wxyz for box in boxes])
    expected = theirs[f"{token}.ego_rotation"]
    turns *= np.sign((turns * expected).sum(axis=1, keepdims=True))  # q and -q are one rotation
    to_global = rotation_matrix(sample["ego2global"]["rotation_wxyz"])
    velocities = np.array([[*(box.velocity or ()), 0.0] for box in boxes]) @ to_global.T
    pairs = {
        "center": ([box.center for box in boxes], theirs[f"{token}.ego_center"]),
        "size": ([box.size_wlh for box in boxes], theirs[f"{token}.ego_wlh"]),
        "velocity": (velocities[:, :2], (theirs[f"{token}.ego_velocity"] @ to_global.T)[:, :2]),
        "rotation": (turns, expected),
        "confidence": ([found.confidence for found in record.detections_3d], theirs[f"{token}.scores_3d"]),
    }
    for name, (got, wanted) in pairs.items():
        assert largest(np.array(got), wanted) < 10 * RECORD_TOLERANCE, name
    names = [MODEL.classes["detection_3d"][label] for label in theirs[f"{token}.labels_3d"]]
    assert [found.class_name for found in record.detections_3d] == names


def check_futures(record: Outputs, token: str, theirs: Any, sample: Any) -> None:
    """Each future is one of the network's, with the logit that the network gives this very one."""
    assert isinstance(record.detections_3d, list)
    centers = theirs[f"{token}.boxes_3d"][:, :2].astype(np.float64)
    for found, center, steps in zip(record.detections_3d, centers, theirs[f"{token}.trajs_3d"], strict=True):
        assert isinstance(found.trajectories, list)
        confidences = [future.confidence for future in found.trajectories]
        assert confidences == sorted(confidences, reverse=True)
        query = np.abs(theirs[f"{token}.all_steps"] - steps).max(axis=(1, 2)).argmin()
        logits = theirs[f"{token}.all_logits"][query].astype(np.float64)
        order = np.argsort(-logits, kind="stable")
        assert largest(np.array(confidences), 1 / (1 + np.exp(-logits[order]))) < RECORD_TOLERANCE
        paths = center + np.cumsum(steps.reshape(6, 6, 2)[order].astype(np.float64), axis=1)
        in_lidar = [ego_to_patch(future.waypoints, sample) for future in found.trajectories]
        assert largest(np.array(in_lidar), paths) < 0.2, "but for the LiDAR's tilt, which a box's height makes felt"


def check_map_and_plan(record: Outputs, token: str, theirs: Any, sample: Any) -> None:
    assert isinstance(record.map_elements, list)
    lines = theirs[f"{token}.map_pts_3d"]
    got = np.array([ego_to_patch(element.points, sample) for element in record.map_elements])
    assert largest(got, lines) < 10 * RECORD_TOLERANCE
    names = [MODEL.classes["vector_map"][label] for label in theirs[f"{token}.map_labels_3d"]]
    assert [element.type for element in record.map_elements] == names
    assert record.plan
    assert record.plan.command == command_of(theirs, token)
    chosen = int(np.argmax(theirs[f"{token}.ego_fut_cmd"].reshape(-1)))
    path = np.cumsum(theirs[f"{token}.ego_fut_preds"][chosen].astype(np.float64), axis=0)
    assert largest(ego_to_patch(record.plan.waypoints, sample), path) < 10 * RECORD_TOLERANCE


class BothWays(NamedTuple):
    """What `both_ways` gives, of one variant."""

    variant: str
    ours: Any
    theirs: Any
    said: Any


def both_ways(environment: Environment, scenes: Path, folder: Path, *, each: int = EACH) -> tuple[Any, Any, Any]:
    """The arrays of vad_ours.py and of vad_upstream.py, for one checkpoint, and what the adapter said."""
    wanted = {
        "config": str(CONFIG),
        "fixes": {"bgr-normalisation": MODEL.fixes["bgr-normalisation"].settings},
        "edited": str(fixed_by_hand(folder)),
        "dataroot": str(scenes),
        "each": each,
    }
    ours, theirs = run_both_ways(environment, "vad", folder, wanted)
    return ours, theirs, json.loads((folder / "ours.json").read_text())


def fixed_by_hand(folder: Path) -> Path:
    """The configuration, edited as docs/train_eval.md of the source says for the published weights."""
    bgr = "img_norm_cfg = dict(mean=[103.530, 116.280, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)"
    text, count = re.subn(r"img_norm_cfg = dict\(\n[^)]*\)", bgr, CONFIG.read_text())
    assert count == 1
    path = folder / "bgr.py"
    path.write_text(text.replace("'../", f"'{CONFIG.parent.parent}/"))
    return path


def differences_of(ours: Any, theirs: Any) -> dict[str, float]:
    """The largest absolute difference by name, over all samples; upstream's futures lack the logit."""
    found: dict[str, float] = defaultdict(float)
    for key in theirs.files:
        name = key.partition(".")[2]
        if name in SAME_NUMBERS:
            mine = ours[key][..., :-1] if name == "trajs_3d" else ours[key]
            found[name] = max(found[name], largest(mine, theirs[key]))
    return dict(found)


def command_of(arrays: Any, token: str) -> str:
    return ("right", "left", "straight")[int(np.argmax(arrays[f"{token}.gt_ego_fut_cmd"]))]


def tokens_of(scenes: Path) -> list[str]:
    index = SampleIndex(str(scenes), "v1.0-mini")
    return [token for scene in index.scene_names() for token in index.samples_of_scene(scene)]


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    return load_module("VAD")


@pytest.fixture(scope="module", params=VARIANTS)
def both(request: pytest.FixtureRequest, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> BothWays:
    """Both ways, once for each variant that is built."""
    found = find_environment("VAD", request.param)
    return BothWays(request.param, *both_ways(found, scenes, tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full-size pictures of both scenes of mini_val, on a winding and bumpy road, indexed."""
    root = tmp_path_factory.mktemp("full-size")
    synthesize(root, SynthesisOptions(scenes=2, samples=8, seed=1, lidar_sweeps=1, camera_sweeps=0))
    wind(root / "v1.0-mini" / "ego_pose.json")
    build_index(root, "v1.0-mini", say=print)
    return root


def wind(table: Path) -> None:
    """Let every pose of the table sway about where it was, up to 4 m to the left and 0.5 rad, tilted a little."""
    rows = json.loads(table.read_text())
    rng = np.random.default_rng(5)
    beginning = min(row["timestamp"] for row in rows)
    for row in rows:
        time = (row["timestamp"] - beginning) * 1e-6
        yaw = yaw_of(rotation_matrix(row["rotation"]))
        aside = 2.0 * (1 - math.cos(2 * time))
        x, y, z = row["translation"]
        row["translation"] = [x - aside * math.sin(yaw), y + aside * math.cos(yaw), z + float(rng.normal(0, 0.05))]
        half = (yaw + 0.5 * math.sin(2 * time)) / 2
        turn = np.array([math.cos(half), *rng.normal(0, 0.005, 2), math.sin(half)])
        row["rotation"] = (turn / np.linalg.norm(turn)).tolist()
    table.write_text(json.dumps(rows))
