"""MapTR's adapter: what it decodes becomes a standard record; with `full`, the real model against upstream's way."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.models.both_ways import (
    LAYOUT,
    TOLERANCE,
    VARIANTS,
    differences,
    find_environment,
    load_module,
    run_both_ways,
    run_inside,
    run_two_samples,
)

from admlops.datasets.nuscenes.sample_index import build_index
from admlops.environments import Environment
from admlops.synthetic import SynthesisOptions, synthesize
from admlops.worker.samples.sample_index import SampleIndex
from worker.samples.errors import DataError

CONFIG = LAYOUT.submodules / "MapTR" / "projects" / "configs" / "maptr" / "maptr_nano_r18_110e.py"

full = pytest.mark.full


def test_elements_go_from_the_lidars_plane_to_the_ego_frame(demo: ModuleType) -> None:
    """LiDAR 0.94 m ahead of the ego's origin, its x to the right and its y forward."""
    ego = {"translation": [500.0, 900.0, 0.0], "rotation_wxyz": [0.6, 0.0, 0.0, 0.8]}
    turned = {"translation": [0.94, 0.0, 1.84], "rotation_wxyz": [0.5**0.5, 0.0, 0.0, -(0.5**0.5)]}
    sample = {"ego2global": ego, "lidar": {"sensor2ego": turned, "ego2global": ego}}
    decoded = {
        "pts_3d": np.array([[[0.0, 10.0], [2.0, 10.0]], [[-1.0, 0.0], [-1.0, -5.0]]], dtype=np.float32),
        "scores_3d": np.array([0.75, 0.5], dtype=np.float32),
        "labels_3d": np.array([2, 0]),
    }
    first, second = demo.map_elements(decoded, ["divider", "ped_crossing", "boundary"], sample)
    assert (first["id"], first["type"], first["confidence"]) == (0, "boundary", 0.75)
    assert np.allclose(first["points"], [[10.94, 0.0], [10.94, -2.0]], atol=1e-6)
    assert (second["id"], second["type"], second["confidence"]) == (1, "divider", 0.5)
    assert np.allclose(second["points"], [[0.94, 1.0], [-4.06, 1.0]], atol=1e-6)
    assert json.loads(json.dumps([first, second])) == [first, second], "plain JSON, no arrays"


def test_a_sample_without_elements_gives_an_empty_list(demo: ModuleType) -> None:
    pose = {"translation": [0.0, 0.0, 0.0], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}
    sample = {"ego2global": pose, "lidar": {"sensor2ego": pose, "ego2global": pose}}
    nothing = {"pts_3d": np.zeros((0, 20, 2)), "scores_3d": np.zeros(0), "labels_3d": np.zeros(0, dtype=int)}
    assert demo.map_elements(nothing, ["divider"], sample) == []


def test_the_fusion_gets_no_more_sweeps_than_it_reads(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of more, upstream's loader draws some by chance. A file that is not whole is the data's fault."""
    files = [tmp_path / f"{number}.bin" for number in range(11)]
    for file in files:
        file.write_bytes(bytes(20))
    info = {"lidar_path": str(files[0]), "sweeps": [{"data_path": str(file)} for file in files[1:]]}
    monkeypatch.setattr(demo, "temporal_info", lambda sample, context: dict(info))
    monkeypatch.setattr(demo, "context_of", lambda sample: {})
    monkeypatch.setattr(demo, "connect_sparse_convolutions", lambda: None)
    adapter = demo.MapTR()
    adapter.adjust(config_with([{"type": demo.SWEEPS, "sweeps_num": 9}]))
    assert adapter.make_info({})["sweeps"] == info["sweeps"][:9]
    files[9].write_bytes(bytes(19))
    with pytest.raises(DataError, match=r"9\.bin is not whole"):
        adapter.make_info({})
    adapter.adjust(config_with([{"type": "LoadMultiViewImageFromFiles"}]))
    assert adapter.make_info({}) == info


def config_with(pipeline: list[dict[str, Any]]) -> Any:
    return SimpleNamespace(data=SimpleNamespace(test=SimpleNamespace(pipeline=pipeline)))


@full
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_attention_in_pytorch_is_the_kernels_sum(variant: str) -> None:
    said = run_inside(find_environment("MapTR", variant), "maptr_attention.py", {})
    assert float(said.split()[-1]) <= 1e-6


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_adapter_gives_what_upstream_gives(variant: str, scenes: Path, tmp_path: Path) -> None:
    found = differences(*both_ways(find_environment("MapTR", variant), scenes, tmp_path))
    print(json.dumps(found))
    assert set(found) == {"img", "can_bus", "lidar2img", "boxes_3d", "scores_3d", "labels_3d", "pts_3d"}
    assert found["img"] == found["labels_3d"] == 0.0
    assert max(found.values()) <= TOLERANCE


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_through_admlops_is_a_run(variant: str, scenes: Path, admlops: Admlops) -> None:
    run_two_samples(admlops, "MapTR", variant, scenes, "--config", "nano-110e")


def both_ways(
    environment: Environment, scenes: Path, folder: Path, *, config: Path = CONFIG, model: str = "MapTR"
) -> tuple[Any, Any]:
    """The arrays of maptr_ours.py and of maptr_upstream.py, for one sample and one checkpoint."""
    index = SampleIndex(str(scenes), "v1.0-mini")
    token = index.samples_of_scene(index.scene_names()[0])[:2][-1]
    wanted = {"model": model, "config": str(config), "dataroot": str(scenes), "token": token}
    return run_both_ways(environment, "maptr", folder, wanted)


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    return load_module("MapTR")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full-size pictures of both scenes of mini_val, two key frames each, indexed."""
    root = tmp_path_factory.mktemp("full-size")
    synthesize(root, SynthesisOptions(scenes=2, samples=2, seed=1, lidar_sweeps=1, camera_sweeps=0))
    build_index(root, "v1.0-mini", say=print)
    return root
