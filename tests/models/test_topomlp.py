"""TopoMLP's adapter: what it decodes becomes a standard record; with `full`, the real model against upstream's way."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.conftest import Admlops, OpenLaneScenes
from tests.models.both_ways import (
    LAYOUT,
    PROGRAM_TIMEOUT_S,
    TOLERANCE,
    VARIANTS,
    differences,
    find_environment,
    load_module,
    run_both_ways,
    run_model,
)

from admlops.core.errors import EnvError
from admlops.datasets.openlane.frames import OpenLaneV2
from admlops.environments import Environment, ensure_official
from admlops.evaluation.lane_graph.official_files import OFFICIAL_NAMES
from admlops.results.record import LaneGraph
from admlops.results.relations import SparseRelation
from admlops.synthetic import SynthesisOptions, synthesize
from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane

CONFIG = LAYOUT.submodules / "TopoMLP" / "projects" / "configs" / "topomlp_setA_r50_wo_yolov8.py"

full = pytest.mark.full


def test_a_prediction_becomes_a_record_with_the_best_lane_first(demo: ModuleType) -> None:
    prediction = {
        "lane_centerline": [
            {"id": 1000, "points": np.full((11, 3), 1, np.float32), "confidence": np.float32(0.25)},
            {"id": 1001, "points": np.full((11, 3), 2, np.float32), "confidence": np.float32(0.75)},
        ],
        "traffic_element": [
            {"attribute": np.float32(2.0), "points": np.array([[1, 2], [3, 4]], np.float32), "confidence": 0.5}
        ],
        "topology_lclc": np.array([[0.1, 0.2], [0.3, 0.4]], np.float32),
        "topology_lcte": np.array([[0.6], [0.7]], np.float32),
    }
    graph = demo.lane_graph(prediction)
    record = msgspec.convert(json.loads(json.dumps(graph)), LaneGraph)
    assert [(lane.id, lane.confidence, lane.points[0]) for lane in record.lanes] == [
        (0, 0.75, (2.0, 2.0, 2.0)),
        (1, 0.25, (1.0, 1.0, 1.0)),
    ]
    (element,) = record.traffic_elements
    assert (element.attribute, element.bbox_xyxy) == (2, (1.0, 2.0, 3.0, 4.0))
    assert isinstance(record.lane_to_lane, list)
    assert isinstance(record.lane_to_traffic, list)
    assert np.allclose(record.lane_to_lane, [[0.4, 0.3], [0.2, 0.1]])
    assert np.allclose(record.lane_to_traffic, [[0.7], [0.6]])


def test_likely_relations_stand_in_for_large_matrices(demo: ModuleType) -> None:
    chance = np.random.default_rng(3)
    topology = {
        "topology_lclc": (chance.random((40, 40)) ** 24).astype(np.float32),
        "topology_lcte": (chance.random((40, 8)) ** 24).astype(np.float32),
    }
    lane = {"points": np.zeros((11, 3), np.float32)}
    element = {"attribute": 1, "points": np.array([[1, 2], [3, 4]]), "confidence": 0.5}
    prediction = {
        "lane_centerline": [{**lane, "confidence": value} for value in chance.random(40)],
        "traffic_element": [element] * 8,
        **topology,
    }
    sparse, whole = (
        msgspec.convert(json.loads(json.dumps(demo.lane_graph(prediction, whole=whole))), LaneGraph)
        for whole in (False, True)
    )
    for name in ("lane_to_lane", "lane_to_traffic"):
        found, matrix = getattr(sparse, name), np.array(getattr(whole, name))
        assert isinstance(found, SparseRelation)
        spread = np.zeros(matrix.shape)
        spread[found.rows, found.columns] = found.confidences
        assert 0 < len(found.rows) < matrix.size / 3
        np.testing.assert_array_equal(spread, np.where(matrix > found.floor, matrix, 0.0))
    assert sparse.lanes == whole.lanes


def test_a_frame_has_the_front_camera_first_and_the_cameras_poses(
    demo: ModuleType, frames: ModuleType, small: Path
) -> None:
    data = OpenLaneV2(small)
    token = data.scenes()[0].samples[0]
    sample = data.sample(token)
    sample["cameras"] = dict(sorted(sample["cameras"].items(), reverse=True))
    frame = frames.make_frame(sample)
    assert next(iter(frame["sensor"])) == "ring_front_center"
    assert len(frame["sensor"]) == 7
    assert sorted(demo.TopoMLP().pictures(frame)) == sorted(row["path"] for row in sample["cameras"].values())
    split, segment, stamp = token.split("-")
    info = json.loads((small / split / segment / "info" / f"{stamp}.json").read_text())
    for name, camera in frame["sensor"].items():
        theirs = info["sensor"][name]
        assert Path("/", camera["image_path"]) == small / theirs["image_path"]
        assert np.array_equal(camera["intrinsic"]["K"], theirs["intrinsic"]["K"])
        assert np.allclose(camera["extrinsic"]["rotation"], theirs["extrinsic"]["rotation"], rtol=0, atol=1e-14)
        assert np.array_equal(camera["extrinsic"]["translation"], theirs["extrinsic"]["translation"])
    assert np.allclose(frame["pose"]["rotation"], info["pose"]["rotation"], rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("missing", "said"),
    [("ring_front_center", "no front camera"), ("ring_side_left", "has 6 cameras, and the network needs all 7")],
)
def test_a_sample_without_one_of_its_cameras_is_refused(
    missing: str, said: str, frames: ModuleType, small: Path
) -> None:
    data = OpenLaneV2(small)
    sample = data.sample(data.scenes()[0].samples[0])
    del sample["cameras"][missing]
    with pytest.raises(Exception, match=said):
        frames.make_frame(sample)


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_adapter_gives_what_upstream_gives(variant: str, scenes: Path, tmp_path: Path) -> None:
    ours, theirs = both_ways(find_environment("TopoMLP", variant), scenes, tmp_path)
    found = differences(ours, theirs)
    print(json.dumps(found))
    heads = {"all_lc_cls_scores", "all_lc_preds", "all_te_cls_scores", "all_te_preds", "all_lclc_preds"}
    lanes = {"lanes", "lane_confidences", "lane_to_lane", "lane_to_traffic", "all_lcte_preds"}
    assert set(found) == heads | lanes | {"img", "lidar2img", "boxes", "attributes", "element_confidences"}
    assert theirs["img"].shape == (1, 7, 3, 800, 1024)
    assert theirs["lanes"].shape == (300, 11, 3)
    assert found["img"] == found["attributes"] == 0.0
    assert max(found.values()) <= TOLERANCE


@full
@pytest.mark.timeout(3600)
def test_a_run_is_evaluated_as_the_devkit_evaluates_it(scenes: Path, admlops: Admlops) -> None:
    """All metrics of devkit 1.0 and 1.1, ours beside those of the devkit of that version on the same records."""
    find_environment("TopoMLP", "modern")
    ensure_devkits()
    done = run_model(admlops, "TopoMLP", scenes, "--limit", "1", "--weights", "random:0", "--run", "lanes")
    assert "the weights are random" in done.stderr
    assert "1 sample ok" in done.stdout
    found = json.loads(admlops("evaluate", "lanes", "--official", "--json", timeout_s=PROGRAM_TIMEOUT_S).stdout)
    ours, theirs = (
        {(row["protocol"], row["name"]): row["value"] for row in rows}
        for rows in (found["metrics"], [row for package in found["official"] for row in package["metrics"]])
    )
    print(json.dumps({" ".join(key): [ours[key], theirs.get(key)] for key in ours}))
    metrics = ("OLS", "DET_l", "DET_t", "TOP_ll", "TOP_lt")
    assert set(ours) == {(f"openlanev2.1.{minor}", name) for minor in (0, 1) for name in metrics}
    assert theirs == pytest.approx(ours, rel=0, abs=1e-6)


@full
@pytest.mark.timeout(3600)
def test_nuscenes_cameras_need_a_word_and_are_marked(admlops: Admlops, tmp_path: Path) -> None:
    find_environment("TopoMLP", "modern")
    synthesize(tmp_path / "n", SynthesisOptions(scenes=1, samples=1, scale=0.5, lidar_sweeps=0, camera_sweeps=0))
    options = ("--weights", "random:0", "--config", "setB-r50")
    refused = run_model(admlops, "TopoMLP", tmp_path / "n", *options, check=False)
    assert refused.returncode == 2
    assert "--off-distribution" in refused.stderr
    done = run_model(admlops, "TopoMLP", tmp_path / "n", *options, "--off-distribution", "--run", "off")
    assert "1 sample ok" in done.stdout
    (header,) = tmp_path.rglob("runs/off/run.json")
    assert json.loads(header.read_text())["settings"]["options"]["off_distribution"] is True


def ensure_devkits() -> None:
    """The environments of the official devkits, or a skip."""
    try:
        for name in OFFICIAL_NAMES.values():
            ensure_official(LAYOUT, name, say=print)
    except EnvError as error:
        pytest.skip(f"the official devkit cannot be installed: {error}")


def both_ways(environment: Environment, scenes: Path, folder: Path, *, config: Path = CONFIG) -> tuple[Any, Any]:
    """The arrays of topomlp_ours.py and of topomlp_upstream.py, for one frame and one checkpoint."""
    wanted = {"config": str(config), "dataroot": str(scenes), "token": OpenLaneV2(scenes).scenes()[0].samples[-1]}
    return run_both_ways(environment, "topomlp", folder, wanted)


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    return load_module("TopoMLP")


@pytest.fixture(scope="module")
def frames() -> ModuleType:
    return load_module("TopoMLP", "frames")


@pytest.fixture(scope="module")
def small(openlane: OpenLaneScenes) -> Path:
    """One frame with small pictures."""
    return openlane(OpenLaneOptions(scenes=1, samples=1, seed=1, scale=0.1))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full-size pictures of one frame, which the network sees alone."""
    root = tmp_path_factory.mktemp("full-size") / "data"
    synthesize_openlane(root, OpenLaneOptions(scenes=1, samples=1, seed=1))
    return root
