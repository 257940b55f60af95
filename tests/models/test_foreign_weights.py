"""Weights that say nothing of whose they are go to no other network: their tensors tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import Admlops
from tests.models.both_ways import LAYOUT, find_environment, run_inside, run_model

from admlops.catalog import load_model
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.pipeline.run_settings import working_folder
from admlops.synthetic import SynthesisOptions, synthesize

CASES = [
    ("MapTRv2", "MapTRv2", "nusc-r50-24ep-centerline", "pass --config nusc-r50-24ep-centerline"),
    ("MapTRv2", "MapTR", "tiny-24e", "None of the catalogue's configs of MapTRv2"),
    ("BEVFormer", "BEVFormer", "base-24e", "pass --config base-24e"),
    ("BEVFormer", "MapTR", "tiny-bevformer-24e", "None of the catalogue's configs of BEVFormer"),
    ("PETRv2", "PETR", "vovnet-p4-800x320", "None of the catalogue's configs of PETRv2"),
    ("PETR", "PETRv2", "vovnet-p4-800x320", "None of the catalogue's configs of PETR "),
]


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("model", "owner", "config", "advice"), CASES)
def test_weights_of_another_network_are_refused_by_their_tensors(
    model: str, owner: str, config: str, advice: str, admlops: Admlops, tmp_path: Path
) -> None:
    find_environment(model, "modern")
    described = load_model(LAYOUT, owner)
    path = working_folder(LAYOUT, described) / described.configs[config]
    file = tmp_path / "weights.pth"
    wanted = {"model": owner, "config": str(path), "checkpoint": str(file), "draw": 0}
    run_inside(find_environment(owner, "modern"), "draw_checkpoint.py", wanted)
    root = tmp_path / "scenes"
    synthesize(root, SynthesisOptions(scenes=1, samples=1, scale=0.25, lidar_sweeps=0, camera_sweeps=1))
    build_index(root, "v1.0-mini", say=print)
    done = run_model(admlops, model, root, "--checkpoint", file, check=False)
    said = " ".join(done.stderr.split())
    assert done.returncode == 2, said
    assert "does not fit the model" in said
    assert advice in said
    assert "Traceback" not in said
