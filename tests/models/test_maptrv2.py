"""MapTRv2's adapter: the pooling in PyTorch; with `full`, the real model against upstream's way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import Admlops
from tests.models import test_maptr
from tests.models.both_ways import LAYOUT, TOLERANCE, differences, find_environment, run_inside, run_two_samples

from admlops.catalog import load_model
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.synthetic import SynthesisOptions, synthesize

VARIANT = "modern"
POOLED = ("MapTRv2", "MapTR")

full = pytest.mark.full


@full
@pytest.mark.parametrize("model", POOLED)
def test_the_pooling_in_pytorch_is_upstreams_sum(model: str) -> None:
    """Against upstream's QuickCumsum in double precision, and at the kernel's own place: see bev_pooling_check.py."""
    found = json.loads(
        run_inside(find_environment(model, VARIANT), "bev_pooling_check.py", {"model": model}).splitlines()[-1]
    )
    assert found["double"] <= 1e-9
    assert found["single"] <= 1e-3
    assert found["scale"] > 10
    assert found["empty"] == 0.0


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("config", ["nusc-r50-24ep", "nusc-r50-24ep-centerline"])
def test_the_adapter_gives_what_upstream_gives(config: str, scenes: Path, tmp_path: Path) -> None:
    path = LAYOUT.submodules / "MapTRv2" / load_model(LAYOUT, "MapTRv2").configs[config]
    environment = find_environment("MapTRv2", VARIANT)
    ours, theirs = test_maptr.both_ways(environment, scenes, tmp_path, config=path, model="MapTRv2")
    found = differences(ours, theirs)
    print(json.dumps(found))
    assert set(found) == {"img", "can_bus", "lidar2img", "boxes_3d", "scores_3d", "labels_3d", "pts_3d"}
    assert found["img"] == found["labels_3d"] == 0.0
    assert max(found.values()) <= TOLERANCE
    classes = set(ours["labels_3d"].tolist())
    assert classes <= set(range(4 if config.endswith("centerline") else 3))
    assert (3 in classes) == config.endswith("centerline"), "its fourth class is found"


@full
@pytest.mark.timeout(3600)
def test_a_run_through_admlops_is_a_run(scenes: Path, admlops: Admlops) -> None:
    run_two_samples(admlops, "MapTRv2", VARIANT, scenes)


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("config", ["tiny-bevpool-24e", "tiny-fusion-24e"])
def test_maptrs_compiled_configurations_give_what_upstream_gives(config: str, scenes: Path, tmp_path: Path) -> None:
    """Those whose operations upstream compiles: both ways go by the formulations in PyTorch, which have their tests."""
    path = LAYOUT.submodules / "MapTR" / load_model(LAYOUT, "MapTR").configs[config]
    found = differences(*test_maptr.both_ways(find_environment("MapTR", VARIANT), scenes, tmp_path, config=path))
    print(json.dumps(found))
    assert found["img"] == found["labels_3d"] == 0.0
    assert max(found.values()) <= TOLERANCE


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of both scenes of mini_val, half as wide as the cameras', two key frames each, indexed."""
    root = tmp_path_factory.mktemp("half-size")
    synthesize(root, SynthesisOptions(scenes=2, samples=2, seed=1, lidar_sweeps=1, camera_sweeps=0, scale=0.5))
    build_index(root, "v1.0-mini", say=print)
    return root
