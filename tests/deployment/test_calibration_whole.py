"""CalibrationStatus from nothing to a comparison of engines: trained, exported in three precisions, verified, run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.core.paths import find_layout
from admlops.environments import find_model

MODEL = "CalibrationStatus"
SCENES = ("--scenes", "10", "--samples", "10", "--scale", "0.2", "--lidar-sweeps", "0", "--camera-sweeps", "0")
MANY_S = 3000.0
JUDGED = 20 * 6 * 2
"""Twenty held-out samples of six cameras, each as it is calibrated and with an error."""
POINTS = 0.005
"""How far the accuracies of two precisions may be apart: one of JUDGED."""
CALIBRATION = ("--calibrate", "mini_train", "--calibration-samples", "16")


def scores(records: Path) -> dict[tuple[str, str, str], float]:
    """Sample, camera and form → the score."""
    found = {}
    for file in sorted(records.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            for one in record["calibration_status"]:
                found[record["metadata"]["sample_token"], one["camera"], one["form"]] = one["score"]
    return found


def metrics(run: Path) -> dict[str, float]:
    return {one["name"]: one["value"] for one in json.loads((run / "metrics.json").read_text())["metrics"]}


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {step["step"]: step["verdict"] for step in found["steps"]}


def export_all(admlops: Admlops, data: Path) -> dict[str, dict[str, Any]]:
    """The manifests of the float32, the fp16 and the int8 file, by `--engine`."""
    options: dict[str, tuple[Any, ...]] = {
        "onnx": (),
        "onnx:fp16": ("--precision", "fp16"),
        "onnx:int8": ("--precision", "int8", *CALIBRATION, "--data", data),
    }
    made = {
        engine: admlops("export", MODEL, *own, "--json", timeout_s=MANY_S).stdout for engine, own in options.items()
    }
    return {engine: json.loads(said) for engine, said in made.items()}


@pytest.mark.full
@pytest.mark.timeout(3 * MANY_S)
@pytest.mark.usefixtures("calibration_environment")
def test_it_is_trained_exported_and_judged_alike_in_every_precision(admlops: Admlops, tmp_path: Path) -> None:
    if find_model(find_layout(), load_model(find_layout(), MODEL), "modern") is None:
        pytest.skip(f"needs PyTorch: admlops env install {MODEL}")
    data, runs = tmp_path / "scenes", tmp_path / "repository" / "runs"
    admlops("data", "synthesize", data, *SCENES, "--seed", "1", timeout_s=MANY_S)
    trained = json.loads(admlops("checkpoints", "train", MODEL, "--data", data, "--json", timeout_s=MANY_S).stdout)
    assert trained["training"]["accuracy"] >= 0.9

    manifests = export_all(admlops, data)
    plain = manifests["onnx"]
    assert plain["source"]["checkpoint_sha256"] == trained["sha256"]
    assert (plain["opset"], plain["verdicts"]["checker"]) == (17, "passed")
    assert plain["inputs"][0]["shape"] == ["batch", 5, 64, 112]
    assert plain["verdicts"]["largest_difference"]["logits"] < 1e-4
    assert "exported before" in admlops("export", MODEL, timeout_s=MANY_S).stderr

    chosen = ("--data", data, "--split", "mini_val", "--device", "cpu")
    verified = {
        engine: json.loads(admlops("verify", MODEL, "--engine", engine, *chosen, "--json", timeout_s=MANY_S).stdout)
        for engine in manifests
    }
    found = {engine: verdicts(one) for engine, one in verified.items()}
    assert [one["passed"] for one in verified.values()] == [True] * 3, found
    # Tensors and outputs of fp16 and int8 have no bound of their own, or only a loose one: their metrics decide.
    assert found["onnx"] == dict.fromkeys(("file", "tensors", "decoded", "metrics"), "passed")
    assert [one["metrics"] for one in found.values()] == ["passed"] * 3
    assert (found["onnx:fp16"]["tensors"], found["onnx:int8"]["tensors"]) == ("passed", "not judged")

    names = ",".join([MODEL, *(f"{MODEL}@{engine}" for engine in manifests)])
    summary = json.loads(admlops("compare", "--models", names, *chosen, "--json", timeout_s=MANY_S).stdout)
    rows = {one["model"]: one for one in summary["models"]}
    folders = {name: runs / row["run"] for name, row in rows.items()}
    values = {name: metrics(folder) for name, folder in folders.items()}
    accuracies = {name: own["accuracy"] for name, own in values.items()}
    assert min(accuracies.values()) >= 0.9, accuracies
    assert max(accuracies.values()) - min(accuracies.values()) <= POINTS, accuracies
    assert [row["unverified_engine"] for row in rows.values()] == [None] * 4
    ours, theirs = (scores(folders[name] / "records") for name in (MODEL, f"{MODEL}@onnx"))
    assert len(ours) == JUDGED
    assert ours.keys() == theirs.keys()
    assert max(abs(ours[key] - theirs[key]) for key in ours) < 1e-4
    assert values[MODEL] == values[f"{MODEL}@onnx"]
    for name, own in accuracies.items():
        details = json.loads((folders[name] / "metrics.json").read_text())["details"]["calibration_status"]
        matrix = details["confusion"]
        assert sum(map(sum, matrix)) == JUDGED
        assert (matrix[0][0] + matrix[1][1]) / JUDGED == pytest.approx(own)
    (group,) = summary["engines"]
    (agreement,) = group["agreement"]
    assert len(agreement["shares"]) == 4
    assert min(map(min, agreement["shares"])) >= 0.98

    # A deployment has the file alone: no PyTorch, no checkpoint.
    file = Path(plain["folder"]) / plain["file"]
    (tmp_path / "repository" / "checkpoints").rename(tmp_path / "elsewhere")
    alone = ("run", MODEL, "--variant", "onnx", "--engine", file, *chosen, "--run", "alone")
    admlops(*alone, timeout_s=MANY_S)
    deployed = scores(runs / "alone" / "records")
    assert max(abs(theirs[key] - deployed[key]) for key in theirs) < 1e-6
