"""The networks on one real key frame, with random weights: real pictures and a real calibration go through each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.models.both_ways import find_environment, run_model
from tests.real_frame import make_real_root, sample_token

from admlops.results.run_folder import RunFolder

TASKS = {
    "MapTR": ("map_elements",),
    "PETR": ("detections_3d",),
    "StreamPETR": ("detections_3d",),
    "VAD": ("detections_3d", "map_elements"),
}


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", ["modern", "classic"])
@pytest.mark.parametrize("model", TASKS)
def test_a_real_frame_goes_through(model: str, variant: str, admlops: Admlops, tmp_path: Path) -> None:
    find_environment(model, variant)
    root = make_real_root(tmp_path / "real")
    done = run_model(
        admlops, model, root, "--split", "all", "--variant", variant, "--weights", "random:0", "--run", "real"
    )
    assert "1 samples ok" in done.stdout
    (record,) = RunFolder.open(tmp_path / "repository" / "runs" / "real").records()
    assert record.metadata.sample_token == sample_token()
    for task in TASKS[model]:
        found = getattr(record, task)
        assert found
        numbers = [one.bbox_3d.center if task == "detections_3d" else np.ravel(one.points) for one in found]
        assert np.isfinite(np.concatenate(numbers)).all()
