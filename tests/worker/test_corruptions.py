"""Faults of sensors: what they do to pictures, sweeps and samples, and that they are the same however a run is done."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Admlops

from admlops.datasets.nuscenes.tables import NuScenes
from admlops.environments import Environment
from admlops.pipeline.scene_jobs import DataSetSamples
from admlops.results.run_folder import RunFolder, records_digest
from admlops.worker.corruptions.fault import Fault
from admlops.worker.corruptions.rig import stuck_cameras


def test_pictures_and_sweeps(groundplane_environment: Environment, tmp_path: Path) -> None:
    checks = Path(__file__).parent / "corruption_checks.py"
    found = subprocess.run(
        [groundplane_environment.python, checks, tmp_path], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


def read(data: NuScenes, token: str, fault: Fault | None) -> dict[str, dict[str, object]]:
    cameras: dict[str, dict[str, object]] = dict(DataSetSamples(data, with_context=False, fault=fault).read(token))[
        "cameras"
    ]
    return cameras


def test_pictures_of_another_time(synthetic_data: NuScenes) -> None:
    tokens = synthetic_data.scenes()[0].samples
    first, before, now = (read(synthetic_data, token, None) for token in (tokens[0], tokens[1], tokens[2]))
    stale = Fault("stale-camera", 3)
    assert read(synthetic_data, tokens[0], stale) == first, "nothing was before the scene"
    shown = read(synthetic_data, tokens[2], stale)
    assert {
        name: one["path"] in (now[name]["path"], before[name]["path"]) for name, one in shown.items()
    } == dict.fromkeys(now, True)
    drawn = [read(synthetic_data, token, stale) != read(synthetic_data, token, None) for token in tokens[1:]]
    assert any(drawn)
    stuck = read(synthetic_data, tokens[2], Fault("stuck-camera", 2))
    cameras = stuck_cameras(Fault("stuck-camera", 2), sorted(now))
    assert len(cameras) == 2
    for name in now:
        assert stuck[name]["path"] == (first if name in cameras else now)[name]["path"]
        assert stuck[name]["timestamp_us"] == now[name]["timestamp_us"]


def test_a_knocked_rig_is_the_same_in_every_sample(synthetic_data: NuScenes) -> None:
    fault = Fault("miscalibrated", 3)
    moves = []
    for token in synthetic_data.scenes()[0].samples[:2]:
        clean, knocked = read(synthetic_data, token, None), read(synthetic_data, token, fault)
        a, b = (np.array(one["CAM_FRONT"]["sensor2ego"]["translation"]) for one in (clean, knocked))  # type: ignore[index]
        moves.append(b - a)
        assert clean["CAM_FRONT"]["path"] == knocked["CAM_FRONT"]["path"]
    np.testing.assert_allclose(moves[0], moves[1])
    assert 0 < np.linalg.norm(moves[0]) < 0.6


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_runs_are_equal_over_workers_and_after_a_stop(
    admlops: Admlops, synthetic_root: Path, groundplane_environment: Environment, tmp_path: Path
) -> None:
    def run(name: str, *more: str) -> str:
        common = ("run", "GroundPlane", "--data", synthetic_root, "--split", "mini_val", "--corrupt", "snow:2")
        admlops(*common, "--run", name, *more)
        return records_digest(RunFolder.open(tmp_path / "repository" / "runs" / name))

    one = run("one", "--workers", "1")
    assert run("four", "--workers", "4") == one
    folder = tmp_path / "repository" / "runs" / "four"
    header = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**header, "state": "cancelled"}))
    max(folder.glob("records/*.jsonl")).unlink()
    assert run("four", "--resume") == one
    changed = admlops(
        "run", "GroundPlane", "--data", synthetic_root, "--split", "mini_val", "--corrupt", "snow:3",
        "--run", "four", "--resume", check=False,
    )  # fmt: skip
    assert changed.returncode == 2
    assert "corrupt" in changed.stderr
