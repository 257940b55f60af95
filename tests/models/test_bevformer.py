"""BEVFormer's adapter: its boxes become standard records; with `full`, the real model against upstream's way."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.models.both_ways import (
    LAYOUT,
    TOLERANCE,
    differences,
    find_environment,
    load_module,
    run_inside,
    run_model,
    run_two_samples,
)
from tests.models.fidelity_compare import largest
from tests.models.petr_proof import Scenes, compare_known_boxes, compare_submissions, convert_car, make_scenes
from tests.models.test_streampetr import sequence

from admlops.catalog import load_model

VARIANT = "modern"
OUTPUTS = ("classes", "codes", "boxes_3d", "scores_3d", "labels_3d")
INPUTS = ("img", "lidar2img", "can_bus")

full = pytest.mark.full


def test_its_boxes_are_of_mmdet3d_017() -> None:
    """Width, length, height, and a yaw that is -π for a car that looks where the vehicle looks."""
    box = convert_car(load_module("BEVFormer").BEVFormer(), [1.9, 4.5, 1.6, -np.pi])
    assert np.allclose(box.center, [10.94, -3.0, 0.84], atol=1e-6)
    assert np.allclose(box.size_wlh, [1.9, 4.5, 1.6], atol=1e-6)
    assert np.allclose(np.abs(box.rotation_wxyz), [1.0, 0.0, 0.0, 0.0], atol=1e-6)


def test_a_new_scene_forgets_the_features_of_the_one_before() -> None:
    model = SimpleNamespace(prev_frame_info={"prev_bev": 1, "scene_token": "s", "prev_pos": 2, "prev_angle": 3})
    load_module("BEVFormer").BEVFormer().reset(model)
    assert model.prev_frame_info == {"prev_bev": None, "scene_token": None, "prev_pos": 0, "prev_angle": 0}


@full
@pytest.mark.timeout(3600)
def test_the_adapter_gives_what_upstream_gives(scenes: Scenes) -> None:
    tokens = sequence(scenes)
    ours = np.load(scenes.run("BEVFormer", VARIANT, "ours", tokens) / "ours.npz")
    folder = scenes.run("BEVFormer", VARIANT, "upstream", tokens)
    found = differences(ours, np.load(folder / "upstream.npz"))
    print(json.dumps(found))
    assert set(found) == {*INPUTS, *OUTPUTS}
    assert found["img"] == found["labels_3d"] == 0.0
    assert max(found.values()) <= TOLERANCE
    assert np.ptp(ours["0/boxes_3d"][:, :2], axis=0).min() > 10, "boxes far apart, so that the comparison means much"
    assert compare_submissions(scenes, folder) > 0
    assert compare_known_boxes(scenes, folder, "BEVFormer") > 400
    assert largest(ours["1/codes"], ours["3/codes"]) > 0.01, "what it saw before makes a difference"


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("config", ["tiny-fp16-24e", "small-24e", "base-24e"])
def test_every_configuration_gives_what_upstream_gives(config: str, tmp_path: Path) -> None:
    """On small pictures: base reads those of 1600 by 900, and a CPU takes minutes for them."""
    scenes = make_scenes(tmp_path, scenes=1, samples=2, scale=0.25)
    tokens = list(scenes.data.scenes()[0].samples)
    model = load_model(LAYOUT, "BEVFormer")
    path = str(LAYOUT.submodules / "BEVFormer" / model.configs[config])
    ours, theirs = (
        np.load(scenes.run("BEVFormer", VARIANT, way, tokens, path) / f"{way}.npz") for way in ("ours", "upstream")
    )
    found = differences(ours, theirs)
    print(json.dumps(found))
    assert found["img"] == found["labels_3d"] == 0.0
    assert max(found.values()) <= TOLERANCE


@full
@pytest.mark.timeout(3600)
def test_a_run_through_admlops_is_a_run(scenes: Scenes, admlops: Admlops) -> None:
    run_two_samples(admlops, "BEVFormer", VARIANT, scenes.root)


@full
@pytest.mark.timeout(3600)
def test_checkpoints_that_do_not_fit_are_refused(scenes: Scenes, admlops: Admlops, tmp_path: Path) -> None:
    environment = find_environment("BEVFormer", VARIANT)
    said = run_inside(environment, "spoil_checkpoints.py", {"model": "BEVFormer", "folder": str(tmp_path)})
    found = json.loads(said.splitlines()[-1])
    assert found.pop("whole.pth") == ""
    assert re.search(r"half\.pth does not fit the model: \d+ of \d+ tensors loaded; \d+ missing", found["half.pth"])
    assert "cut.pth cannot be read as a checkpoint" in found["cut.pth"]
    done = run_model(
        admlops, "BEVFormer", scenes.root, "--limit", "1", "--checkpoint", tmp_path / "other.pth", check=False
    )
    assert done.returncode == 2
    assert "does not fit the model" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    return make_scenes(tmp_path_factory.mktemp("bevformer"))
