"""GroundPlane beats chance on synthetic scenes, and only on the scenes it has seen."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from admlops.core.paths import Layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.vector_map.protocols import CHAMFER
from admlops.results.run_folder import RunFolder
from admlops.synthetic import SynthesisOptions, synthesize

Admlops = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.usefixtures("groundplane_environment", "official_environment")

SAMPLES = 8
SEEDS = (101, 102)
"""Scenes that played no part in the choice of any of the model's constants."""


def swap_scenes(run: Path, swapped: Path) -> None:
    """A copy of a run in which each scene carries the predictions of the other one."""
    shutil.copytree(run, swapped)
    first, second = sorted((swapped / "records").glob("*.jsonl"))
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in (first, second)]
    for path, own, other in ((first, rows[0], rows[1]), (second, rows[1], rows[0])):
        lines = [json.dumps({**theirs, "metadata": mine["metadata"]}) for mine, theirs in zip(own, other, strict=True)]
        path.write_text("\n".join(lines) + "\n")


def scores(run: Path, data: NuScenes, layout: Layout) -> tuple[float, float]:
    """(car AP, the mean over the four distances; map mAP)."""
    metrics = evaluate_run(RunFolder.open(run), data, layout=layout, say=print)
    car = metrics["details"]["detection"]["classes"]["car"]["ap"]
    (map_ap,) = (
        metric["value"]
        for metric in metrics["metrics"]
        if (metric["protocol"], metric["name"]) == (CHAMFER.name, "mAP")
    )
    return sum(car.values()) / 4, map_ap


@pytest.mark.full
@pytest.mark.parametrize("seed", SEEDS)
def test_scores_are_far_above_chance(admlops: Admlops, layout: Layout, tmp_path: Path, seed: int) -> None:
    root = tmp_path / "scenes"
    synthesize(root, SynthesisOptions(scenes=2, samples=SAMPLES, seed=seed, scale=0.5, camera_sweeps=0, lidar_sweeps=0))
    admlops("run", "GroundPlane", "--data", root, "--workers", "2", "--run", "seen")
    seen, swapped = layout.runs / "seen", layout.runs / "swapped"
    swap_scenes(seen, swapped)
    data = NuScenes(root, "v1.0-mini")
    car_ap, map_ap = scores(seen, data, layout)
    assert car_ap > 0.30
    assert map_ap > 0.30
    wrong_car_ap, wrong_map_ap = scores(swapped, data, layout)
    assert wrong_car_ap < 0.02
    assert wrong_map_ap < 0.05
