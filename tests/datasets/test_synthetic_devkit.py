"""The official devkit, in its own environment, loads the synthetic scenes and finds nothing to complain about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from admlops.core.processes import run
from admlops.environments import Environment


@pytest.mark.full
def test_the_devkit_accepts_everything(official_environment: Environment, synthetic_root: Path, tmp_path: Path) -> None:
    """Loaders, point counts, sweeps, maps, CAN bus; and ground truth given as predictions is perfect."""
    script = Path(__file__).with_name("devkit_check.py")
    command = [official_environment.python, script, synthetic_root, tmp_path]
    done = run(command, variables=official_environment.variables, timeout_s=240)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["scenes"] == 2
    assert report["boxes"] > 100
    for layer in ("drivable_area", "road_segment", "lane", "walkway", "road_divider", "lane_divider"):
        assert all(counts[layer] > 0 for counts in report["map"].values()), layer
    assert {"car", "pedestrian"} <= set(report["ap"])
    for name, precision in report["ap"].items():
        assert precision > 0.999, name
