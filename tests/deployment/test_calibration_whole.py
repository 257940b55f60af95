"""CalibrationStatus from nothing to a comparison of engines: trained, exported, run by both, evaluated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.core.paths import find_layout
from admlops.environments import find_model

SCENES = ("--scenes", "10", "--samples", "10", "--scale", "0.2", "--lidar-sweeps", "0", "--camera-sweeps", "0")
MANY_S = 3000.0


def scores(records: Path) -> dict[tuple[str, str, str], float]:
    """Sample, camera and form → the score."""
    found = {}
    for file in sorted(records.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            for one in record["calibration_status"]:
                found[record["metadata"]["sample_token"], one["camera"], one["form"]] = one["score"]
    return found


def metrics(file: Path) -> dict[str, float]:
    return {one["name"]: one["value"] for one in json.loads(file.read_text())["metrics"]}


@pytest.mark.full
@pytest.mark.timeout(2 * MANY_S)
def test_it_is_trained_exported_and_judged_alike_by_both_runtimes(admlops: Admlops, tmp_path: Path) -> None:
    if find_model(find_layout(), load_model(find_layout(), "CalibrationStatus"), "modern") is None:
        pytest.skip("needs PyTorch: admlops env install CalibrationStatus")
    data, runs = tmp_path / "scenes", tmp_path / "repository" / "runs"
    admlops("data", "synthesize", data, *SCENES, "--seed", "1", timeout_s=MANY_S)
    trained = admlops("checkpoints", "train", "CalibrationStatus", "--data", data, "--json", timeout_s=MANY_S)
    assert json.loads(trained.stdout)["training"]["accuracy"] >= 0.9

    manifest: dict[str, Any] = json.loads(admlops("export", "CalibrationStatus", "--json", timeout_s=MANY_S).stdout)
    assert manifest["source"]["checkpoint_sha256"] == json.loads(trained.stdout)["sha256"]
    assert (manifest["opset"], manifest["verdicts"]["checker"]) == (17, "passed")
    assert manifest["inputs"][0]["shape"] == ["batch", 5, 64, 112]
    assert manifest["verdicts"]["largest_difference"]["logits"] < 1e-4
    again = admlops("export", "CalibrationStatus", timeout_s=MANY_S)
    assert "exported before" in again.stderr

    chosen = ("--data", data, "--split", "mini_val", "--device", "cpu")
    summary = json.loads(
        admlops(
            *("compare", "--models", "CalibrationStatus,CalibrationStatus@onnx", *chosen, "--json"), timeout_s=MANY_S
        ).stdout
    )
    rows = {one["model"]: one for one in summary["models"]}
    first, second = (rows[name]["run"] for name in ("CalibrationStatus", "CalibrationStatus@onnx"))
    ours, theirs = scores(runs / first / "records"), scores(runs / second / "records")
    assert len(ours) == 20 * 6 * 2
    assert ours.keys() == theirs.keys()
    assert max(abs(ours[key] - theirs[key]) for key in ours) < 1e-4
    values = metrics(runs / first / "metrics.json")
    assert values == metrics(runs / second / "metrics.json")
    assert values["accuracy"] >= 0.9
    assert rows["CalibrationStatus@onnx"]["unverified_engine"] == "onnx"
    assert rows["CalibrationStatus"]["unverified_engine"] is None

    # A deployment has the file alone: no PyTorch, no checkpoint.
    file = Path(manifest["folder"]) / manifest["file"]
    (tmp_path / "repository" / "checkpoints").rename(tmp_path / "elsewhere")
    alone = ("run", "CalibrationStatus", "--variant", "onnx", "--engine", file, *chosen, "--run", "alone")
    admlops(*alone, timeout_s=MANY_S)
    deployed = scores(runs / "alone" / "records")
    assert max(abs(theirs[key] - deployed[key]) for key in theirs) < 1e-6
