"""Networks that look at single pictures; with `full`, each against its library's own call, to the last bit."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import types
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Admlops
from tests.models.both_ways import LAYOUT, SEED, load_module, run_inside, run_model
from tests.models.fidelity_compare import largest

from admlops.catalog import load_model
from admlops.checkpoints import inspect
from admlops.core.errors import CheckpointError
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.environments import Environment, find_model
from worker.pictures import ultralytics_switches as switches
from worker.pictures.coco import CLASSES, IDS, NAME_OF_ID, UNUSED_IDS
from worker.pictures.reading import read_picture
from worker.pictures.records import detection_records, presence_records
from worker.samples.errors import DataError

full = pytest.mark.full
DETECTORS = ("YOLOv5", "YOLOv8", "YOLOX", "Detectron2", "FasterRCNN")
NETWORKS = (*DETECTORS, "EfficientNetB0")
AGPL = ("YOLOv5", "YOLOv8")
TWO_STAGES = ("Detectron2", "FasterRCNN")
"""Networks that take seconds a picture on a CPU: they get fewer."""
SUFFIX = {"YOLOv5": ".pt", "YOLOv8": ".pt", "Detectron2": ".pkl"}
"""Of a checkpoint's file; `.pth` where it is not said."""
CONFIG = {"YOLOv8": "yolov8n.yaml", "YOLOv5": str(LAYOUT.submodules / "YOLOv5" / "models" / "yolov5n.yaml")}
CONFIG["YOLOX"] = "yolox_tiny_8xb8-300e_coco.py"
"""The smallest network of its kind, where there are several."""


@pytest.mark.parametrize("name", DETECTORS)
def test_its_classes_are_cocos(name: str) -> None:
    assert load_model(LAYOUT, name).classes["detection_2d"] == CLASSES


def test_cocos_ids_are_those_of_its_categories() -> None:
    """The ids that cocodataset.org gives to the classes that are mixed up most."""
    known = {1: "person", 3: "car", 6: "bus", 8: "truck", 13: "stop sign", 44: "bottle", 67: "dining table"}
    assert {number: NAME_OF_ID[number] for number in known} == known
    assert NAME_OF_ID[90] == "toothbrush"
    assert len(CLASSES) == len(set(CLASSES)) == len(IDS) == 80
    assert not UNUSED_IDS & set(IDS)
    assert CLASSES.index("car") == 2


def test_the_classifiers_car_classes_are_named_in_the_catalogue() -> None:
    cars = load_module("EfficientNetB0").CARS
    assert load_model(LAYOUT, "EfficientNetB0").classes["car_presence"] == tuple(cars.values())
    assert len(cars) == 10


@pytest.mark.parametrize("name", NETWORKS)
def test_it_says_under_which_licences_it_is(name: str) -> None:
    model = load_model(LAYOUT, name)
    assert model.license.startswith("AGPL-3.0") == (name in AGPL)
    assert model.weights_license is not None


def _locked(name: str) -> set[str]:
    model = load_model(LAYOUT, name)
    text = model.variants[model.default_variant].requirements.read_text()
    return set(re.findall(r"^([\w.-]+)(?:==| @)", text, re.MULTILINE))


@pytest.mark.parametrize("name", NETWORKS)
def test_ultralytics_is_in_the_environments_of_agpl_models_alone(name: str) -> None:
    """One OpenCV, without a GUI; no pip, by which ultralytics would install what it misses, but to compile."""
    packages = _locked(name)
    assert any(package.startswith("ultralytics") for package in packages) == (name in AGPL)
    assert not packages & {"ultralytics", "opencv-python", "yolov5"}
    model = load_model(LAYOUT, name)
    assert ("pip" in packages) == bool(model.variants[model.default_variant].compiled)
    assert {"torch", "torchvision", "numpy", "pillow"} <= packages


@pytest.mark.parametrize("name", AGPL)
def test_nothing_but_the_adapter_imports_agpl_code(name: str) -> None:
    imports = re.compile(r"^\s*(from|import)\s+(ultralytics|models|utils)\b", re.MULTILINE)
    found = [path for path in (LAYOUT.checkout / "runners").rglob("*.py") if imports.search(path.read_text())]
    assert found == []
    text = load_module(name).__doc__ or ""
    assert "AGPL-3.0" in text


def test_the_switches_are_set_before_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the variables that ultralytics reads once; the number of threads is all cores, or what is set."""
    monkeypatch.setattr(switches, "_chosen", {})
    for name in (*switches.SWITCHES, *switches.FOLDERS, switches.THREADS):
        monkeypatch.setenv(name, "")
    chosen = switches.set_switches()
    expected = {"YOLO_AUTOINSTALL": "0", "YOLO_OFFLINE": "1", "YOLO_VERBOSE": "1", "ULTRALYTICS_SAFE_LOAD": "1"}
    assert expected.items() <= chosen.items()
    folder = Path(chosen["YOLO_CONFIG_DIR"])
    assert folder.is_dir()
    assert not folder.is_relative_to(Path.home() / ".config")
    assert chosen["YOLOV5_CONFIG_DIR"] == str(folder)
    assert int(chosen["OMP_NUM_THREADS"]) >= 1
    assert switches.set_switches() == chosen
    monkeypatch.setattr(switches, "_chosen", {})
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert switches.set_switches()["OMP_NUM_THREADS"] == "3"


def test_switches_after_the_import_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "_chosen", {})
    monkeypatch.setitem(sys.modules, "ultralytics", logging)
    with pytest.raises(RuntimeError, match="imported before its switches were set"):
        switches.set_switches()


def test_a_cut_suppression_fails_the_sample() -> None:
    """The warning as the library words it; the next sample is judged by itself."""
    logger = logging.getLogger("a library")
    limit = switches.NmsLimit(logger)
    logger.warning("another warning")
    limit.check()
    logger.warning("NMS time limit 2.050s exceeded")
    with pytest.raises(TimeoutError, match=r"NMS time limit 2\.050s exceeded: boxes were dropped"):
        limit.check()
    limit.check()


@pytest.mark.parametrize("name", DETECTORS)
def test_its_thresholds_are_those_of_the_catalogue(name: str) -> None:
    demo, stated = load_module(name), load_model(LAYOUT, name).detection_2d
    assert stated is not None
    assert (stated.nms_iou, stated.min_confidence) == (demo.NMS_IOU, demo.MIN_CONFIDENCE)


@pytest.mark.parametrize("name", NETWORKS)
def test_only_pictures_of_one_size_are_looked_at_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A companion of another size would move the boxes; each answer comes back to its own sample and camera."""
    monkeypatch.setattr(
        "worker.pictures.adapter.load_library", lambda _: types.SimpleNamespace(inference_mode=nullcontext)
    )
    adapter = getattr(load_module(name), name)()
    asked: list[list[str]] = []

    def call_together(given: list[str]) -> list[str]:
        asked.append(given)
        return [one.upper() for one in given]

    adapter.call_together, adapter.size_of = call_together, lambda given: (len(given),)
    samples = [{"A": "a", "B": "bb"}, {"A": "cc", "B": "d"}]
    assert adapter.forward_batch(samples) == [{"A": "A", "B": "BB"}, {"A": "CC", "B": "D"}]
    assert asked == [["a", "d"], ["bb", "cc"]]


def test_a_batch_that_took_too_long_is_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's limit is for the whole batch; a picture that is too slow by itself still fails."""
    stand_in = types.SimpleNamespace(inference_mode=nullcontext)
    monkeypatch.setattr("worker.pictures.adapter.load_library", lambda _: stand_in)
    adapter = load_module("YOLOv5").YOLOv5()

    def call_together(given: list[str]) -> list[str]:
        if len(given) > 1 or given == ["slow"]:
            raise TimeoutError("NMS time limit 0.600s exceeded")
        return [one.upper() for one in given]

    adapter.call_together, adapter.size_of = call_together, lambda given: (1,)
    assert adapter.forward_batch([{"A": "a"}, {"A": "b"}]) == [{"A": "A"}, {"A": "B"}]
    with pytest.raises(TimeoutError):
        adapter.forward_batch([{"A": "a"}, {"A": "slow"}])


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_batch_each_picture_is_fed_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call of the network gets more than one picture."""
    stand_in = types.SimpleNamespace(inference_mode=nullcontext)
    monkeypatch.setattr("worker.pictures.adapter.load_library", lambda _: stand_in)
    adapter = getattr(load_module(name), name)()
    asked: list[Any] = []

    def call(given: Any) -> Any:
        asked.append(given)
        return given

    adapter.call = call
    assert adapter.forward({"A": 1, "B": 2}) == {"A": 1, "B": 2}
    assert asked == [1, 2]


def test_records_of_pictures() -> None:
    found = detection_records({"A": [((1.0, 2.0, 3.0, 4.0), 0.5, "car")], "B": [((0, 0, 1, 1), 1, "bus")]})
    assert [one["id"] for one in found] == [0, 1]
    box = {"camera": "A", "class_name": "car", "bbox_xyxy": [1.0, 2.0, 3.0, 4.0], "confidence": 0.5}
    assert found[0] == {"id": 0, **box}
    scores = presence_records({"A": 1.0000001, "B": 0.25})
    assert scores == [{"camera": "A", "score": 1.0}, {"camera": "B", "score": 0.25}]


def test_pictures_that_cannot_be_read_are_the_datas_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    camera = {"path": str(path), "width": 4, "height": 3}
    with pytest.raises(DataError, match=r"a\.png of CAM is not there"):
        read_picture("CAM", camera)
    path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"a\.png of CAM cannot be read"):
        read_picture("CAM", camera)
    Image.new("L", (4, 3), 7).save(path)
    assert read_picture("CAM", camera).getpixel((0, 0)) == (7, 7, 7)
    with pytest.raises(DataError, match="has 4x3 pixels, and the sample says 3x4"):
        read_picture("CAM", {**camera, "width": 3, "height": 4})
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(DataError, match="cannot be read"):
        read_picture("CAM", camera)


def find_environment(name: str) -> Environment:
    """The network's environment, or a skip that says how to have it, or its source."""
    model = load_model(LAYOUT, name)
    source = LAYOUT.submodules / name
    if model.source.kind == "git" and not (source.is_dir() and any(source.iterdir())):
        pytest.skip(f"{name}'s source is not checked out: admlops sources fetch {name}")
    found = find_model(LAYOUT, model)
    if found is None:
        pytest.skip(f"{name}'s environment is not built: make setup-{name}")
    return found


def make_pictures(folder: Path) -> list[str]:
    """Pictures of three sizes, wide, tall and grey, with edges in them."""
    paths = []
    for number, (width, height) in enumerate(((640, 360), (300, 420), (500, 375))):
        y, x = np.mgrid[:height, :width]
        noise = np.random.default_rng(number).integers(0, 255, (height, width))
        planes = [(np.sin(x / 40) + 1) * 100, (np.cos(y / 30) + 1) * 100, noise]
        picture = Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))
        path = folder / ("0.jpg", "1.png", "2.png")[number]
        (picture.convert("L") if number == 2 else picture).save(path)
        paths.append(str(path))
    return paths


def turned(paths: list[str]) -> list[str]:
    """The same pictures upside down, of the same sizes."""
    others = []
    for path in map(Path, paths):
        other = path.with_name(f"turned-{path.name}")
        with Image.open(path) as picture:
            picture.rotate(180).save(other)
        others.append(str(other))
    return others


def look_both_ways(name: str, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the library's own call and the adapter say of the same pictures, all of which are one sample of cameras."""
    environment = find_environment(name)
    pictures = make_pictures(folder)[: 2 if name in TWO_STAGES else 3]
    checkpoint = folder / f"weights{SUFFIX.get(name, '.pth')}"
    common = {"model": name, "checkpoint": str(checkpoint)}
    run_inside(
        environment,
        "pictures_upstream.py",
        {
            **common,
            "other": str(folder / "other.pth"),
            "seed": SEED,
            "labels": list(load_module("EfficientNetB0").CARS),
            "pictures": pictures,
            "out": str(folder / "upstream.json"),
        },
    )
    seen = inspect(checkpoint, whole=True, form=load_model(LAYOUT, name).checkpoint_form)
    assert seen.tensors_sha256
    run_inside(
        environment,
        "pictures_ours.py",
        {
            **common,
            "config": CONFIG.get(name),
            "pictures": [pictures, turned(pictures[:1])],
            "out": str(folder / "ours.json"),
        },
    )
    return json.loads((folder / "upstream.json").read_text()), json.loads((folder / "ours.json").read_text())


def _rows(ours: dict[str, Any], camera: int) -> list[tuple[list[np.float32], str]]:
    return [
        ([np.float32(number) for number in (*one["bbox_xyxy"], one["confidence"])], one["class_name"])
        for one in ours["outputs"][0]["detections_2d"]
        if one["camera"] == f"CAM_{camera}"
    ]


def _library_rows(name: str, theirs: dict[str, Any], camera: int) -> list[tuple[list[np.float32], str]]:
    """What the library's own call found of the classes that the model reports."""
    rows = (
        ([np.float32(number) for number in row[:5]], _class_of(name, int(row[5]))) for row in theirs["rows"][camera]
    )
    return [(numbers, kind) for numbers, kind in rows if kind is not None]


def differences_of(name: str, theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, float]:
    """The largest difference of corners [pixels] and of scores; without end where another box was found."""
    if "scores" in theirs:
        scores = [one["score"] for one in ours["outputs"][0]["car_presence"]]
        return {"scores": largest(*(np.array(one, dtype=np.float32) for one in (scores, theirs["scores"])))}
    found = {"corners": 0.0, "scores": 0.0}
    for camera in range(len(theirs["rows"])):
        own, wanted = _rows(ours, camera), _library_rows(name, theirs, camera)
        if [kind for _, kind in own] != [kind for _, kind in wanted]:
            return dict.fromkeys(found, float("inf"))
        both = [np.array([numbers for numbers, _ in rows]).reshape(-1, 5) for rows in (own, wanted)]
        for key, part in (("corners", slice(4)), ("scores", slice(4, 5))):
            found[key] = max(found[key], largest(both[0][:, part], both[1][:, part]))
    return found


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1.0, 2.0, 30.0, 40.0, 0.5, 2.0], {"corners": 0.0, "scores": 0.0}),
        ([1.0, 2.25, 30.0, 40.0, 0.75, 2.0], {"corners": 0.25, "scores": 0.25}),
        ([1.0, 2.0, 30.0, 40.0, 0.5, 3.0], {"corners": float("inf"), "scores": float("inf")}),
    ],
)
def test_how_far_boxes_are_from_the_librarys_own(row: list[float], expected: dict[str, float]) -> None:
    car = {"camera": "CAM_0", "bbox_xyxy": [1.0, 2.0, 30.0, 40.0], "confidence": 0.5, "class_name": "car"}
    ours = {"outputs": [{"detections_2d": [car]}]}
    assert differences_of("YOLOX", {"rows": [[row]]}, ours) == expected
    assert set(differences_of("YOLOX", {"rows": [[row, row]]}, ours).values()) == {float("inf")}
    scores = {"outputs": [{"car_presence": [{"score": 0.5}]}]}
    assert differences_of("EfficientNetB0", {"scores": [0.25]}, scores) == {"scores": 0.25}


@full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_equals_its_librarys_own_call_to_the_last_bit(name: str, tmp_path: Path) -> None:
    """Weights as the library saved them, inspected by the host, read by the adapter without running them."""
    theirs, ours = look_both_ways(name, tmp_path)
    counts = []
    for camera in range(len(theirs["rows"])):
        wanted = _library_rows(name, theirs, camera)
        assert _rows(ours, camera) == wanted
        counts.append(len(wanted))
    assert min(counts) > 10, "boxes to compare"
    assert share_found_again(ours) > 0.95, "a picture's boxes do not depend on its companions, but for rounding"
    assert ours["threads"] == int(os.environ.get("OMP_NUM_THREADS") or ours["cores"])
    assert ours["after"]["CUBLAS_WORKSPACE_CONFIG"] == ours["before"]["CUBLAS_WORKSPACE_CONFIG"]
    assert ours["heard"] == (name in AGPL)
    if name in AGPL:
        together = [[row[:5] for row in rows] for rows in theirs["together"]]
        assert together != [[row[:5] for row in rows] for rows in theirs["rows"]], "companions move the boxes"


def share_found_again(ours: dict[str, Any]) -> float:
    """The share of the boxes that come again in a batch: the same class, within 0.01 pixels and 1e-5 of confidence.

    A batch adds up in another order; suppression between boxes that overlap by just the limit may then
    go the other way.
    """
    found, total = 0, 0
    for alone, together in zip(ours["outputs"], ours["batched"], strict=True):
        others: dict[tuple[str, str], list[list[float]]] = {}
        for one in together["detections_2d"]:
            others.setdefault((one["camera"], one["class_name"]), []).append(
                [*one["bbox_xyxy"], one["confidence"] * 1e3]
            )
        for one in alone["detections_2d"]:
            near = np.array(others.get((one["camera"], one["class_name"]), [[np.inf] * 5]))
            gaps = np.abs(near - np.array([*one["bbox_xyxy"], one["confidence"] * 1e3])).max(axis=1)
            found, total = found + bool(gaps.min() < 0.01), total + 1
    return found / total


def _class_of(name: str, label: int) -> str | None:
    return NAME_OF_ID.get(label) if name == "FasterRCNN" else CLASSES[label]


@full
@pytest.mark.timeout(1800)
def test_the_classifier_equals_timms_own_call_to_the_last_bit(tmp_path: Path) -> None:
    theirs, ours = look_both_ways("EfficientNetB0", tmp_path)
    found = [np.float32(one["score"]) for one in ours["outputs"][0]["car_presence"]]
    assert found == [np.float32(score) for score in theirs["scores"]]
    alone, together = (
        np.array([one["score"] for sample in ours[key] for one in sample["car_presence"]])
        for key in ("outputs", "batched")
    )
    assert np.abs(alone - together).max() < 1e-6
    cars = load_module("EfficientNetB0").CARS
    assert all(name in theirs["names"][str(number)].split(", ") for number, name in cars.items())


@full
@pytest.mark.timeout(1800)
def test_yolov5s_is_the_repositorys_network_and_refuses_ultralytics_one(tmp_path: Path) -> None:
    """ultralytics renames yolov5s to yolov5su, which has 9.15 M parameters, not 7.24 M, and no anchors."""
    environment = find_environment("YOLOv5")
    theirs, _ = look_both_ways("YOLOv5", tmp_path)
    assert theirs["parameters_of_yolov5s"] == 7_235_389
    assert theirs["parameters_of_ultralytics_yolov5s"] == 9_153_152
    request: dict[str, Any] = {
        "model": "YOLOv5",
        "config": None,
        "checkpoint": str(tmp_path / "other.pth"),
        "pictures": [],
        "out": str(tmp_path / "never.json"),
    }
    with pytest.raises(RuntimeError, match=r"does not fit the model"):
        run_inside(environment, "pictures_ours.py", request)


@full
@pytest.mark.timeout(1800)
def test_whole_networks_and_arrays_are_taken_for_their_models_alone(tmp_path: Path) -> None:
    look_both_ways("YOLOv8", tmp_path)
    with pytest.raises(CheckpointError, match="a whole network was saved, with its code"):
        inspect(tmp_path / "weights.pt")


@full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NETWORKS)
def test_it_runs_on_scenes_with_random_weights(
    name: str, admlops: Admlops, synthetic_data: NuScenes, tmp_path: Path
) -> None:
    find_environment(name)
    done = run_model(admlops, name, synthetic_data.root, "--limit", "1", "--weights", "random:0", "--run", name)
    assert "the weights are random" in done.stderr
    assert "1 sample ok" in done.stdout
