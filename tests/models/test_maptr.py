"""MapTR's adapter: what it decodes becomes a standard record; with `full`, the real model against upstream's way."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.datasets.sample_index import build_index
from admlops.datasets.synthetic import SynthesisOptions, synthesize
from admlops.environments import Environment, find_model
from admlops.errors import AdmlopsError
from admlops.paths import find_layout
from inside.sample_index import SampleIndex

HERE = Path(__file__).parent
LAYOUT = find_layout()
SOURCE = LAYOUT.submodules / "MapTR"
CONFIG = SOURCE / "projects" / "configs" / "maptr" / "maptr_nano_r18_110e.py"
VARIANTS = ("modern", "classic")
TOLERANCE = 1e-4
"""The largest absolute difference between the adapter's and upstream's outputs: metres, or scores."""

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


@full
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_attention_in_pytorch_is_the_kernels_sum(variant: str) -> None:
    code = HERE / "maptr_attention.py"
    done = subprocess.run([environment(variant).python, code], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) <= 1e-6


@full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_adapter_gives_what_upstream_gives(variant: str, scenes: Path, tmp_path: Path) -> None:
    ours, theirs = both_ways(environment(variant), scenes, tmp_path)
    differences = {name: largest(ours[name], theirs[name]) for name in theirs}
    print(json.dumps(differences))
    assert set(differences) == {"img", "can_bus", "lidar2img", "boxes_3d", "scores_3d", "labels_3d", "pts_3d"}
    assert differences["img"] == differences["labels_3d"] == 0.0
    assert max(differences.values()) <= TOLERANCE


@full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_through_admlops_is_a_run(variant: str, scenes: Path, admlops: Admlops, tmp_path: Path) -> None:
    environment(variant)
    options = ("--data", scenes, "--limit", "2", "--device", "cpu", "--variant", variant)
    done = admlops("run", "MapTR", *options, "--config", "nano-110e", "--weights", "random:0", "--run", f"m-{variant}")
    assert done.returncode == 0, done.stderr
    assert "the weights are random" in done.stderr
    assert "2 samples ok" in done.stdout


def both_ways(environment: Environment, scenes: Path, folder: Path, *, config: Path = CONFIG) -> tuple[Any, Any]:
    """The arrays of maptr_ours.py and of maptr_upstream.py, for one sample and one checkpoint."""
    index = SampleIndex(str(scenes), "v1.0-mini")
    wanted = {
        "config": str(config),
        "checkpoint": str(folder / "random.pth"),
        "draw": 3,
        "dataroot": str(scenes),
        "token": index.samples_of_scene(index.scene_names()[0])[1],
        "folder": str(folder),
    }
    for name in ("maptr_ours.py", "maptr_upstream.py"):
        done = subprocess.run(
            [environment.python, HERE / name, json.dumps(wanted)],
            capture_output=True,
            text=True,
            check=False,
            timeout=850,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return np.load(folder / "ours.npz"), np.load(folder / "upstream.npz")


def largest(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The largest absolute difference; infinite if the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).max(initial=0.0))


def environment(variant: str) -> Environment:
    """The variant's environment, or a skip that says how to have it."""
    if not CONFIG.is_file():
        pytest.skip("MapTR's source is not checked out: admlops sources fetch MapTR")
    try:
        found = find_model(LAYOUT, load_model(LAYOUT, "MapTR"), variant)
    except AdmlopsError as error:
        pytest.skip(str(error))
    if found is None:
        pytest.skip(f"MapTR's {variant} environment is not built: admlops env install MapTR --variant {variant}")
    return found


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    """The adapter's module; it imports nothing heavy until it loads a model."""
    spec = importlib.util.spec_from_file_location("maptr_demo", LAYOUT.root / "envs" / "MapTR" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full-size pictures of both scenes of mini_val, two key frames each, indexed."""
    root = tmp_path_factory.mktemp("full-size")
    synthesize(root, SynthesisOptions(scenes=2, samples=2, seed=1, lidar_sweeps=1, camera_sweeps=0))
    build_index(root, "v1.0-mini", say=print)
    return root
