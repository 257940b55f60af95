"""Teacher to student, and channels taken out of trained networks: each example of docs/smaller-models.md, whole."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.checkpoints import fetch
from admlops.core.errors import AdmlopsError
from admlops.core.paths import find_layout
from admlops.environments import find_model
from admlops.synthetic import SynthesisOptions, synthesize
from admlops.synthetic.images_writer import ImageOptions, synthesize_images

LONG_S = 3000.0


def require(model: str, variant: str) -> None:
    if find_model(find_layout(), load_model(find_layout(), model), variant) is None:
        pytest.skip(f"needs PyTorch: admlops env install {model} --variant {variant}")


def nanodet_weights() -> ModuleType:
    """NanoDet's module that reads and writes its file: it needs NumPy alone."""
    file = find_layout().envs / "NanoDet" / "nanodet" / "weights.py"
    spec = importlib.util.spec_from_file_location("nanodet_weights", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanodet_weights"] = module
    spec.loader.exec_module(module)
    return module


def test_a_graph_is_written_as_it_is_read(tmp_path: Path) -> None:
    weights = nanodet_weights()
    tensors = {
        "kernel": np.arange(6, dtype="<f2").reshape(1, 2, 3, 1).transpose(0, 2, 1, 3),
        "shape": np.array([1, -1], "<i4"),
        "bias": np.array([0.5], "<f4"),
    }
    model = weights.GraphModel({"inputs": {}, "outputs": {}}, [{"name": "kernel", "op": "Const"}], tensors)
    weights.write_graph_model(tmp_path / "graph.safetensors", model)
    again = weights.read_graph_model(tmp_path / "graph.safetensors")
    assert (again.signature, again.nodes) == (model.signature, model.nodes)
    assert list(again.tensors) == list(tensors)
    for name, tensor in tensors.items():
        assert again.tensors[name].dtype == tensor.dtype
        assert np.array_equal(again.tensors[name], tensor)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("smaller") / "scenes"
    options = SynthesisOptions(scenes=10, samples=10, scale=0.2, lidar_sweeps=0, camera_sweeps=0, seed=1)
    synthesize(root, options)
    return root


def train(admlops: Admlops, model: str, data: Path, *arguments: str) -> dict[str, Any]:
    asked = ("train", model, "--data", data, *arguments, "--json")
    found: dict[str, Any] = json.loads(admlops(*asked, timeout_s=LONG_S).stdout)
    return found


def compare(admlops: Admlops, data: Path, *names: str, split: str) -> dict[str, Any]:
    """What the comparison says of each, by its name: its row and its place in the table of weights."""
    asked = ("compare", "--models", ",".join(names), "--data", data, "--split", split, "--device", "cpu", "--json")
    summary = json.loads(admlops(*asked, timeout_s=LONG_S).stdout)
    assert [row["state"] for row in summary["models"]] == ["ready"] * len(names)
    (group,) = summary["engines"]
    table = {one["name"]: one for one in group["engines"]}
    return {row["model"]: {**row, **table[row["model"]]} for row in summary["models"]}


def value(row: dict[str, Any], metric: str) -> float:
    return next(float(one["value"]) for one in row["metrics"] if one["name"] == metric)


@pytest.mark.full
@pytest.mark.timeout(3 * LONG_S)
def test_a_classifier_teaches_a_narrow_one_and_loses_channels(admlops: Admlops, scenes: Path) -> None:
    require("CalibrationStatus", "modern")
    teacher = train(admlops, "CalibrationStatus", scenes, "--name", "teacher", "--epochs", "6")["answer"]
    narrow = ("--name", "student", "--config", "resnet18-quarter", "--teacher", "teacher", "--epochs", "6")
    student = train(admlops, "CalibrationStatus", scenes, *narrow)["answer"]
    pruning = ("--name", "pruned", "--from", "teacher", "--prune", "0.5", "--iterations", "60")
    pruned = train(admlops, "CalibrationStatus", scenes, *pruning, "--learning-rate", "5e-4")["answer"]
    assert student["teacher"]["accuracy"] == pytest.approx(teacher["accuracy"])
    for smaller in (student, pruned):
        assert smaller["parameters"] < 0.3 * teacher["parameters"]
        assert smaller["multiply_accumulates"] < 0.4 * teacher["multiply_accumulates"]
        assert smaller["accuracy"] >= 0.8  # by chance it is 0.5

    names = (f"CalibrationStatus:{name}" for name in ("teacher", "student", "pruned"))
    rows = compare(admlops, scenes, *names, split="mini_val")
    first, *others = rows.values()
    for row, answer in zip(others, (student, pruned), strict=True):
        assert value(row, "accuracy") == pytest.approx(answer["accuracy"], abs=0.01)
        assert row["file_bytes"] < 0.3 * first["file_bytes"]
        assert row["latency"]["n"] == first["latency"]["n"] > 0


@pytest.mark.full
@pytest.mark.timeout(3 * LONG_S)
def test_a_detector_teaches_itself_with_fewer_channels(admlops: Admlops, tmp_path: Path) -> None:
    for variant in ("modern", "training"):
        require("NanoDet", variant)
    layout, model = find_layout(), load_model(find_layout(), "NanoDet")
    try:
        published = fetch(layout, model, "g-416", say=print).path
    except AdmlopsError as error:
        pytest.skip(f"needs NanoDet's weights, once: admlops checkpoints fetch NanoDet ({error.message})")
    admlops("checkpoints", "add", "NanoDet", "g-416", published, timeout_s=LONG_S)
    cars = tmp_path / "cars"
    synthesize_images(cars, ImageOptions(scenes=4, samples=2, scale=0.25, seed=1))
    asked = ("--name", "pruned", "--teacher", "g-416", "--from", "g-416", "--prune", "0.06", "--iterations", "24")
    done = train(admlops, "NanoDet", cars, *asked, "--batch", "4", "--learning-rate", "2e-4")
    answer = done["answer"]
    assert answer["parameters"] < 0.9 * answer["teacher"]["parameters"]
    assert answer["multiply_accumulates"] < 0.9 * answer["teacher"]["multiply_accumulates"]
    assert done["last_loss"] < 0.5 * done["first_loss"]
    assert answer["teacher_boxes"] > 0
    assert answer["agreement_recall"] > 0.3
    rows = compare(admlops, cars, "NanoDet:g-416", "NanoDet:pruned", split="all")
    assert 0 < value(rows["NanoDet:pruned"], "AP50") < 1
    assert rows["NanoDet:pruned"]["file_bytes"] < 0.9 * rows["NanoDet:g-416"]["file_bytes"]
