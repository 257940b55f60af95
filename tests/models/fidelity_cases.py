"""What of each model is compared, and on what: the catalogue's default configuration, on synthetic scenes.

Each model's own test knows how upstream's way is driven; the cases here call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from tests.models import (
    mm2_models,
    petr_proof,
    test_maptr,
    test_picture_networks,
    test_streampetr,
    test_topomlp,
    test_vad,
)
from tests.models.both_ways import LAYOUT, differences

from admlops.catalog import Model, load_model
from admlops.datasets.base import open_data
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.environments import Environment
from admlops.synthetic import SynthesisOptions, synthesize
from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane

SMALLEST = {"YOLOv5": "yolov5n", "YOLOv8": "yolov8n", "YOLOX": "yolox-tiny"}
"""The weights whose configuration `test_picture_networks.CONFIG` names."""
ALL_STEPS = ("upstream", "real", "variants", "trace", "precision")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One model. `upstream` gives the largest difference of each of its outputs, adapter against upstream."""

    model: str
    upstream: Callable[[str, Environment, Path], dict[str, float]]
    samples: int = 2
    camera_sweeps: int = 0
    """Pictures between key frames that its scenes need."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Options of the model."""
    weights: str | None = None
    """Of the catalogue; None for the default ones."""
    of: str = ""
    """What tells it from the model's other case."""
    steps: tuple[str, ...] = ALL_STEPS
    """What of `fidelity` is measured."""

    @property
    def name(self) -> str:
        """The entry in docs/fidelity.json."""
        return f"{self.model} {self.of}".rstrip()

    @property
    def config_name(self) -> str:
        """The configuration of the weights, by its name in the catalogue."""
        model = self.described
        return model.checkpoints[self.weights or str(model.default_checkpoint)].config

    @property
    def config(self) -> str:
        """The configuration of the weights, relative to the source."""
        return self.described.configs[self.config_name]

    @property
    def described(self) -> Model:
        return load_model(LAYOUT, self.model)

    @property
    def options(self) -> dict[str, object]:
        """What the host would tell the adapter: the fixes that the default weights need, and what is chosen."""
        model = self.described
        fixes = model.checkpoints[str(model.default_checkpoint)].fixes
        own = {"fixes": {name: model.fixes[name].settings for name in fixes}} if fixes else {}
        return {**own, **self.chosen}

    def scenes(self, folder: Path) -> tuple[Path, str, list[str]]:
        """The data set's root, its version and the tokens of one scene's first samples; made in `folder` if need be."""
        root = folder / (self.described.reads[0] + ("-sweeps" if self.camera_sweeps else ""))
        if not root.is_dir():
            if self.described.reads == ("openlanev2",):
                synthesize_openlane(root, OpenLaneOptions(scenes=1, samples=2, seed=1))
            else:
                options = SynthesisOptions(
                    scenes=2, samples=8, seed=1, lidar_sweeps=1, camera_sweeps=self.camera_sweeps
                )
                synthesize(root, options)
                test_vad.wind(root / "v1.0-mini" / "ego_pose.json")
                build_index(root, "v1.0-mini", say=print)
        data = open_data(root)
        return root, data.version, list(data.scenes()[0].samples[: self.samples])


def _maptr(name: str, variant: str, environment: Environment, folder: Path) -> dict[str, float]:
    case = CASES[name]
    root, _, _ = case.scenes(folder)
    own = _made(folder / f"{name}-{variant}")
    config = LAYOUT.submodules / case.model / case.config
    return differences(*test_maptr.both_ways(environment, root, own, config=config, model=case.model))


def _petr(model: str, variant: str, folder: Path) -> dict[str, float]:
    scenes = _petr_scenes(folder)
    temporal = model in ("StreamPETR", "BEVFormer")
    tokens = test_streampetr.sequence(scenes) if temporal else list(scenes.data.scenes()[0].samples)
    ours, theirs = (np.load(scenes.run(model, variant, way, tokens) / f"{way}.npz") for way in ("ours", "upstream"))
    return differences(ours, theirs)


def _petrv2(variant: str, folder: Path) -> dict[str, float]:
    """The fourth sample of a scene: the first that has pictures from a second and a quarter before."""
    own = folder / "petrv2"
    if not own.is_dir():
        petr_proof.make_scenes(_made(own), scenes=1, samples=4, camera_sweeps=5)
    scenes = _known_scenes(own)
    tokens = list(scenes.data.scenes()[0].samples)
    ways = [scenes.run("PETRv2", variant, way, tokens, calls=1) / f"{way}.npz" for way in ("ours", "upstream")]
    return differences(*(np.load(way) for way in ways))


def _petr_scenes(folder: Path) -> petr_proof.Scenes:
    own = folder / "petr"
    if not own.is_dir():
        own.mkdir()
        return petr_proof.make_scenes(own)
    return _known_scenes(own)


def _known_scenes(folder: Path) -> petr_proof.Scenes:
    root = folder / "nuscenes"
    return petr_proof.Scenes(root, NuScenes(root, "v1.0-mini"), folder)


def _mm2(name: str, folder: Path) -> dict[str, float]:
    """A detector of mmdet3d 1.4, on a scene with all the sweeps that it looks at."""
    own = folder / "mm2"
    if own.is_dir():
        scenes = petr_proof.Scenes(own / "nuscenes", NuScenes(own / "nuscenes", "v1.0-mini"), own)
    else:
        own.mkdir()
        scenes = mm2_models.make_lidar_scenes(own)
    case = CASES[name]
    ours, theirs, _ = mm2_models.both_ways(scenes, case.model, case.config_name)
    return differences(ours, theirs)


def _pictures(name: str, folder: Path) -> dict[str, float]:
    """A network of single pictures, on pictures of three sizes, against its library's own call."""
    theirs, ours = test_picture_networks.look_both_ways(name, _made(folder / name))
    return test_picture_networks.differences_of(name, theirs, ours)


def _vad(variant: str, environment: Environment, folder: Path) -> dict[str, float]:
    root, _, _ = CASES["VAD"].scenes(folder)
    ours, theirs, _ = test_vad.both_ways(environment, root, _made(folder / f"VAD-{variant}"))
    return test_vad.differences_of(ours, theirs)


def _topomlp(variant: str, environment: Environment, folder: Path) -> dict[str, float]:
    root, _, _ = CASES["TopoMLP"].scenes(folder)
    return differences(*test_topomlp.both_ways(environment, root, _made(folder / f"TopoMLP-{variant}")))


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


CASES = {
    case.name: case
    for case in (
        Case(model="MapTR", upstream=partial(_maptr, "MapTR")),
        Case(model="PETR", upstream=lambda variant, _, folder: _petr("PETR", variant, folder)),
        Case(model="StreamPETR", upstream=lambda variant, _, folder: _petr("StreamPETR", variant, folder)),
        Case(model="VAD", upstream=_vad),
        Case(model="PETRv2", upstream=lambda variant, _, folder: _petrv2(variant, folder), camera_sweeps=1),
        Case(model="BEVFormer", upstream=lambda variant, _, folder: _petr("BEVFormer", variant, folder)),
        Case(model="MapTRv2", upstream=partial(_maptr, "MapTRv2")),
        Case(
            model="MapTRv2",
            of="centerlines",
            weights="nusc-r50-24ep-centerline",
            steps=("upstream", "real"),
            upstream=partial(_maptr, "MapTRv2 centerlines"),
        ),
        Case(model="TopoMLP", upstream=_topomlp, chosen={"relations": "whole"}),
        Case(model="CenterPoint", upstream=lambda variant, _, folder: _mm2("CenterPoint", folder)),
        Case(model="PointPillars", upstream=lambda variant, _, folder: _mm2("PointPillars", folder)),
        Case(model="BEVFusion", upstream=lambda variant, _, folder: _mm2("BEVFusion", folder)),
        Case(
            model="BEVFusion",
            of="lidar",
            weights="lidar",
            steps=("upstream", "real"),
            upstream=lambda variant, _, folder: _mm2("BEVFusion lidar", folder),
        ),
        Case(model="PETR-mmdet3d", upstream=lambda variant, _, folder: _mm2("PETR-mmdet3d", folder)),
        *(
            Case(
                model=name,
                weights=SMALLEST.get(name),
                steps=("upstream",),
                upstream=lambda variant, _, folder, name=name: _pictures(name, folder),  # type: ignore[misc]
            )
            for name in test_picture_networks.NETWORKS
        ),
    )
}
