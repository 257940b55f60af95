"""The networks on one real key frame, with random weights: real pictures and a real calibration go through each.

Each goes through `admlops run`, and by its adapter and by upstream's own way to the same outputs.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.models.both_ways import TOLERANCE, VARIANTS, find_environment, run_model
from tests.models.fidelity_cases import CASES
from tests.models.real_cases import MM2, REAL, SUBSET_B
from tests.real_frame import make_real_root, sample_token

from admlops.results.run_folder import RunFolder

TASKS = {
    "MapTR": ("map_elements",),
    "MapTRv2": ("map_elements",),
    "PETR": ("detections_3d",),
    "PETRv2": ("detections_3d",),
    "BEVFormer": ("detections_3d",),
    "StreamPETR": ("detections_3d",),
    "VAD": ("detections_3d", "map_elements"),
}


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("model", TASKS)
def test_a_real_frame_goes_through(model: str, variant: str, admlops: Admlops, tmp_path: Path) -> None:
    find_environment(model, variant)
    root = make_real_root(tmp_path / "real")
    done = run_model(
        admlops, model, root, "--split", "all", "--variant", variant, "--weights", "random:0", "--run", "real"
    )
    assert "1 sample ok" in done.stdout
    (record,) = RunFolder.open(tmp_path / "repository" / "runs" / "real").records()
    assert record.metadata.sample_token == sample_token()
    for task in TASKS[model]:
        found = getattr(record, task)
        assert found
        numbers = [one.bbox_3d.center if task == "detections_3d" else np.ravel(one.points) for one in found]
        assert np.isfinite(np.concatenate(numbers)).all()


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_real_frame_goes_through_topomlp(variant: str, admlops: Admlops, tmp_path: Path) -> None:
    """From nuScenes' cameras, where the user asks for it."""
    find_environment("TopoMLP", variant)
    root = make_real_root(tmp_path / "real")
    settings = ("--split", "all", "--variant", variant, "--weights", "random:0", "--config", SUBSET_B)
    run_model(admlops, "TopoMLP", root, *settings, "--off-distribution", "--run", "real")
    (record,) = RunFolder.open(tmp_path / "repository" / "runs" / "real").records()
    assert record.metadata.sample_token == sample_token()
    assert record.lane_graph
    assert record.lane_graph.lanes
    assert np.isfinite(np.concatenate([lane.points for lane in record.lane_graph.lanes])).all()


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "variant"), [(name, one) for name in REAL for one in CASES[name].described.variants])
def test_the_adapter_gives_what_upstream_gives(name: str, variant: str, tmp_path: Path) -> None:
    found = REAL[name](find_environment(CASES[name].model, variant), variant, tmp_path)
    print(json.dumps({name: found}))
    assert len(found) >= 5
    seen = [found[one] for one in ("img", "imgs", "points") if one in found]
    assert seen
    assert max(seen) <= (1e-5 if name in MM2 else 0.0)
    assert max(found.values()) <= TOLERANCE
