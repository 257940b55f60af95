"""The detectors of mmdet3d 1.4: their configurations, synthetic scenes for them, and both ways of running them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tests.models.both_ways import LAYOUT, SEED, find_environment, run_inside
from tests.models.petr_proof import Scenes

from admlops.catalog import load_model
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.synthetic import SynthesisOptions, synthesize

VARIANT = "mm2"
SAMPLES = 2
"""Of the first scene: the first has no sweep before it, the second as many as there are between key frames."""
LIDAR_SWEEPS = 9


def make_lidar_scenes(folder: Path) -> Scenes:
    """A scene of mini_val, indexed, with as many LiDAR sweeps as the detectors look at, in pictures of full size."""
    root = folder / "nuscenes"
    synthesize(root, SynthesisOptions(scenes=1, samples=SAMPLES, seed=1, lidar_sweeps=LIDAR_SWEEPS, camera_sweeps=0))
    build_index(root, "v1.0-mini", say=print)
    return Scenes(root, NuScenes(root, "v1.0-mini"), folder)


def config_of(model: str, name: str) -> str:
    """The path of a configuration of the catalogue, relative to the source."""
    return load_model(LAYOUT, model).configs[name]


def samples_of(scenes: Scenes) -> list[str]:
    """The tokens of the first scene's first samples."""
    return list(scenes.data.scenes()[0].samples[:SAMPLES])


def run_way(scenes: Scenes, model: str, name: str, way: str) -> Path:
    """The folder of what mm2_`way`.py writes for a configuration. It runs once; one checkpoint is drawn for both."""
    folder = scenes.folder / f"{model}-{name}"
    if (folder / f"{way}.npz").is_file():
        return folder
    environment = find_environment(model, VARIANT)
    folder.mkdir(exist_ok=True)
    config = str(LAYOUT.submodules / (load_model(LAYOUT, model).source.folder or model) / config_of(model, name))
    wanted: dict[str, Any] = {"model": model, "config": config, "draw": SEED, "dataroot": str(scenes.root)}
    wanted |= {"tokens": samples_of(scenes), "folder": str(folder)}
    wanted |= {"checkpoint": str(folder / "random.pth")}
    run_inside(environment, f"mm2_{way}.py", wanted)
    return folder


def both_ways(scenes: Scenes, model: str, name: str) -> tuple[Any, Any, Path]:
    """The arrays of the adapter and of upstream, and their folder."""
    ours = np.load(run_way(scenes, model, name, "ours") / "ours.npz")
    folder = run_way(scenes, model, name, "upstream")
    return ours, np.load(folder / "upstream.npz"), folder
