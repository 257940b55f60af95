"""Adapter against upstream's own way on one real key frame: each model as its own test drives it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from tests.models import mm2_models, petr_proof, test_maptr, test_topomlp, test_vad
from tests.models.both_ways import LAYOUT, differences
from tests.models.fidelity_cases import CASES
from tests.real_frame import add_later_key_frame, make_openlane_root, make_upstream_root, sample_token

from admlops.datasets.nuscenes.sample_index import build_index
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.environments import Environment

MM2 = ("CenterPoint", "PointPillars", "BEVFusion", "BEVFusion lidar", "PETR-mmdet3d")
SUBSET_B = "setB-r50"
"""TopoMLP's configuration for nuScenes' cameras."""


def real_config(name: str) -> str:
    """The configuration of a case, relative to the source."""
    case = CASES[name]
    return case.described.configs[SUBSET_B] if name == "TopoMLP" else case.config


def _maptr(environment: Environment, variant: str, folder: Path, *, name: str) -> dict[str, float]:
    model = CASES[name].model
    config = LAYOUT.submodules / model / real_config(name)
    return differences(*test_maptr.both_ways(environment, _nuscenes(folder), folder, config=config, model=model))


def _petr(environment: Environment, variant: str, folder: Path, *, model: str) -> dict[str, float]:
    root = _nuscenes(folder)
    scenes = petr_proof.Scenes(root, NuScenes(root, "v1.0-mini"), folder)
    ways = [scenes.run(model, variant, way, [sample_token()]) / f"{way}.npz" for way in ("ours", "upstream")]
    return differences(*(np.load(way) for way in ways))


def _mm2(environment: Environment, variant: str, folder: Path, *, name: str) -> dict[str, float]:
    """The frame alone: without sweeps before it, the key frame stands for them."""
    root = _nuscenes(folder)
    scenes = petr_proof.Scenes(root, NuScenes(root, "v1.0-mini"), folder)
    ours, theirs, _ = mm2_models.both_ways(scenes, CASES[name].model, CASES[name].config_name)
    return differences(ours, theirs)


def _vad(environment: Environment, variant: str, folder: Path) -> dict[str, float]:
    """The frame, and that it is driven on from it: VAD's converter refuses a scene of one sample."""
    root = _nuscenes(folder, driven_on=True)
    ours, theirs, _ = test_vad.both_ways(environment, root, folder, each=1)
    return test_vad.differences_of(ours, theirs)


def _topomlp(environment: Environment, variant: str, folder: Path) -> dict[str, float]:
    config = LAYOUT.submodules / "TopoMLP" / real_config("TopoMLP")
    root = make_openlane_root(folder / "openlane")
    return differences(*test_topomlp.both_ways(environment, root, folder, config=config))


def _nuscenes(folder: Path, *, driven_on: bool = False) -> Path:
    root = make_upstream_root(folder / "real")
    if driven_on:
        add_later_key_frame(root)
    build_index(root, "v1.0-mini", say=print)
    return root


REAL: dict[str, Callable[[Environment, str, Path], dict[str, float]]] = {
    **{name: partial(_maptr, name=name) for name in ("MapTR", "MapTRv2", "MapTRv2 centerlines")},
    "PETR": partial(_petr, model="PETR"),
    "PETRv2": partial(_petr, model="PETRv2"),
    "BEVFormer": partial(_petr, model="BEVFormer"),
    "StreamPETR": partial(_petr, model="StreamPETR"),
    "VAD": _vad,
    "TopoMLP": _topomlp,
    **{name: partial(_mm2, name=name) for name in MM2},
}
"""By case: the largest difference of each output, given its environment, the variant and an empty folder."""
