"""CalibrationStatus the whole way in small: trained for two epochs, exported, verified and evaluated.

The classifier, its training program, the exporter and both runtimes are the real ones; so little training teaches it
nothing, so no accuracy is judged. `test_calibration_whole.py` trains it in earnest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.typed import Typed

from admlops.catalog import load_model
from admlops.core.paths import find_layout
from admlops.environments import find_model
from admlops.synthetic import SynthesisOptions, synthesize

MODEL = "CalibrationStatus"


def read(said: Any) -> dict[str, Any]:
    assert said.code == 0, said.err
    found: dict[str, Any] = json.loads(said.out)
    return found


@pytest.mark.timeout(900)
def test_it_is_trained_exported_verified_and_evaluated(typed: Typed, tmp_path: Path) -> None:
    if find_model(find_layout(), load_model(find_layout(), MODEL), "modern") is None:
        pytest.skip(f"needs PyTorch: admlops env install {MODEL}")
    data, runs = tmp_path / "scenes", tmp_path / "repository" / "runs"
    synthesize(data, SynthesisOptions(scenes=3, samples=2, seed=5, scale=0.1, camera_sweeps=0, lidar_sweeps=0))
    trained = read(typed("checkpoints", "train", MODEL, "--data", data, "--seed", "1", "--epochs", "2", "--json"))
    assert (trained["training"]["iteration"], trained["training"]["reason"]) == (2, "complete")
    assert 0 <= trained["training"]["accuracy"] <= 1
    exported = read(typed("export", MODEL, "--json"))
    assert exported["source"]["checkpoint_sha256"] == trained["sha256"]
    chosen = ("--data", data, "--scene", "scene-0103", "--device", "cpu")
    verified = read(typed("verify", MODEL, "--engine", "onnx", *chosen, "--json"))
    assert verified["passed"], verified["outcome"]
    verdicts = {step["step"]: step["verdict"] for step in verified["steps"]}
    assert verdicts == dict.fromkeys(("file", "tensors", "decoded", "metrics"), "passed")
    # The fourth step evaluated both runs: the same answers, camera by camera and form by form.
    both = [json.loads((runs / run / "metrics.json").read_text()) for run in verified["runs"]]
    matrices = [one["details"]["calibration_status"]["confusion"] for one in both]
    assert matrices[0] == matrices[1]
    assert sum(map(sum, matrices[0])) == 2 * 6 * 2
    accuracies = [next(one["value"] for one in own["metrics"] if one["name"] == "accuracy") for own in both]
    assert accuracies[0] == accuracies[1] == (matrices[0][0][0] + matrices[0][1][1]) / 24
