"""Networks of single pictures that leave PyTorch; with `full`, each exported and verified with boxes to compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Admlops
from tests.models.both_ways import LAYOUT, SEED, load_module, run_inside
from tests.models.test_picture_networks import (
    NETWORKS,
    SUFFIX,
    TWO_STAGES,
    find_environment,
    make_pictures,
)
from tests.typed import Typed

from admlops.catalog import load_model
from admlops.pipeline.run_engine import is_executed_so
from admlops.synthetic.images_writer import ImageOptions, synthesize_images

MANY_S = 1500.0
SMALLEST = {"YOLOv8": "yolov8n", "YOLOv5": "yolov5n", "YOLOX": "yolox-tiny"}
"""The configurations that their weights are drawn for, where there are several."""
FEW_BOXES = 2.0
"""What is added to the classes' logits: boxes to compare, and few enough that suppression is quick on a busy CPU."""
AS_IT_IS = "NanoDet's adapter executes its network by onnxruntime already"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic pictures with the boxes of their cars."""
    root = tmp_path_factory.mktemp("pictures") / "images"
    synthesize_images(root, ImageOptions(scenes=1, samples=4, scale=0.5, seed=3))
    return root


@pytest.mark.parametrize(
    "words",
    [
        ("export", "NanoDet"),
        ("verify", "NanoDet", "--engine", "onnx", "--data"),
        ("run", "NanoDet", "--engine", "onnx", "--data"),
    ],
)
def test_a_model_that_runs_by_onnx_runtime_is_exported_no_second_time(
    typed: Typed, synthetic_root: Path, words: tuple[str, ...]
) -> None:
    refused = typed(*words, *([synthetic_root] if words[-1] == "--data" else []))
    assert (refused.code, AS_IT_IS in refused.err, "→ admlops run NanoDet" in refused.err) == (2, True, True), (
        refused.err
    )


def test_a_check_of_such_a_model_runs_it_as_it_is() -> None:
    assert is_executed_so(load_model(LAYOUT, "NanoDet"), "onnx")
    assert not is_executed_so(load_model(LAYOUT, "NanoDet"), "tensorrt")
    assert not is_executed_so(load_model(LAYOUT, "YOLOv8"), "onnx")


def test_a_model_without_a_network_says_what_is_missing(typed: Typed) -> None:
    refused = typed("export", "PointPillars", "--weights", "random:0")
    assert refused.code == 2
    assert "PointPillars cannot leave PyTorch" in refused.err
    assert "has no network.py" in refused.err


def draw_weights(name: str, folder: Path, pictures: Path) -> Path:
    """A checkpoint in the authors' form; the classes' biases are raised, and YOLO settled, so that boxes show."""
    checkpoint = folder / f"weights{SUFFIX.get(name, '.pth')}"
    request: dict[str, Any] = {
        "model": name,
        "checkpoint": str(checkpoint),
        "other": str(folder / "other.pth"),
        "seed": SEED,
        "raised": FEW_BOXES,
        "settled": [str(one) for one in sorted(pictures.rglob("*.jpg"))[:4]],
        "labels": list(load_module("EfficientNetB0").CARS),
        "pictures": make_pictures(folder)[:1],
        "out": str(folder / "upstream.json"),
    }
    run_inside(find_environment(name), "pictures_upstream.py", request)
    return checkpoint


@pytest.mark.full
@pytest.mark.timeout(4 * MANY_S)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_pictures_is_exported_verified_and_compared(
    name: str, admlops: Admlops, pictures: Path, tmp_path: Path
) -> None:
    own = ["--checkpoint", draw_weights(name, tmp_path, pictures)]
    if name in SMALLEST:
        own += ["--config", SMALLEST[name]]
    manifest = json.loads(admlops("export", name, *own, "--json", timeout_s=MANY_S).stdout)
    assert (manifest["opset"], manifest["verdicts"]["checker"]) == (17, "passed")
    some = ("--data", pictures, "--limit", "1" if name in TWO_STAGES else "4", "--device", "cpu")
    said = admlops("verify", name, "--engine", "onnx", *own, *some, "--json", check=False, timeout_s=MANY_S)
    found: dict[str, Any] = json.loads(said.stdout)
    steps = {step["step"]: step for step in found["steps"]}
    for one in steps["tensors"].get("facts", {}).get("tensors", ()):
        print(json.dumps({name: one}))
    print(steps["decoded"])
    assert found["passed"], found["outcome"]
    assert [steps[one]["verdict"] for one in ("file", "tensors", "decoded")] == ["passed"] * 3
    assert steps["tensors"]["reason"].endswith("1 rig")
    (task,) = steps["decoded"]["facts"]["tasks"]
    assert (task["outputs"] > 10 * 2, task["unmatched"]) == (name != "EfficientNetB0", 0), "boxes to compare"


@pytest.mark.full
@pytest.mark.timeout(2 * MANY_S)
def test_a_classifier_of_pictures_is_compared_with_its_export(admlops: Admlops, pictures: Path) -> None:
    name = "EfficientNetB0"
    find_environment(name)
    admlops("export", name, "--weights", "random:0", timeout_s=MANY_S)
    some = ("--data", pictures, "--device", "cpu", "--random-weights", "--json")
    compared = admlops("compare", "--models", f"{name},{name}@onnx", *some, timeout_s=MANY_S)
    (group,) = json.loads(compared.stdout)["engines"]
    (agreement,) = group["agreement"]
    assert (agreement["measure"], agreement["shares"]) == ("equal labels", [[1.0, 1.0], [1.0, 1.0]])
