"""The official OpenLane-V2 devkit, in its own environment, loads the synthetic scenes and scores their annotation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from admlops.core.errors import EnvError
from admlops.core.paths import find_layout
from admlops.core.processes import run
from admlops.datasets.openlane.frames import OpenLaneV2
from admlops.environments import ensure_official
from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_devkit_accepts_everything(tmp_path: Path) -> None:
    try:
        environment = ensure_official(find_layout(), "openlanev2", say=print)
    except EnvError as error:
        pytest.skip(error.message.splitlines()[0])
    root = tmp_path / "data"
    synthesize_openlane(root, OpenLaneOptions(scenes=3, samples=2, seed=1, scale=0.25))
    script = Path(__file__).with_name("openlane_devkit_check.py")
    done = run([environment.python, script, root], variables=environment.variables, timeout_s=500)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    data = OpenLaneV2(root)
    counts = data.count_annotations(token for scene in data.scenes() for token in scene.samples)
    assert report["frames"] == 6
    assert report["pictures"] == 42
    assert (report["lanes"], report["elements"]) == (counts["lanes"], counts["traffic_elements"])
    perfect = dict.fromkeys(("score", "DET_l", "DET_t", "TOP_ll", "TOP_lt"), 1.0)
    assert report["val"] == pytest.approx(perfect)
    assert report["train"] == pytest.approx(perfect)
