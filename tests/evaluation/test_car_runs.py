"""Runs on single pictures: every protocol of cars from records to metrics.json, and battles between them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.evaluation.picture_runs import (
    IMAGE,
    cars_of,
    finder,
    write_counted,
    write_picture_run,
    write_pictures,
)

from admlops.core.errors import UsageError
from admlops.core.paths import find_layout
from admlops.datasets.base import Dataset, open_data
from admlops.datasets.images.pictures import Images
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.statistics.bootstrap import MAX_UNITS, number_units
from admlops.pipeline.battle import battle_runs
from admlops.results.record import CarPresence, Outputs
from admlops.results.run_folder import RunFolder

COUNT = 24
CAR, MERGED = "car_detection.car-iou0.5", "car_detection.car+truck+bus-iou0.5-nms0.6"


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return write_pictures(tmp_path / "pictures", COUNT)


def evaluate(run: RunFolder, data: Dataset) -> dict[str, Any]:
    metrics = evaluate_run(run, data, layout=find_layout(), say=lambda _line: None)
    run.write_manifest()
    return metrics


def values(metrics: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(one["protocol"].partition("@")[0], one["name"]): one["value"] for one in metrics["metrics"]}


def test_a_detector_is_judged_by_every_class_set_and_by_presence(data: Dataset, tmp_path: Path) -> None:
    run = write_picture_run(tmp_path / "runs" / "one", data, finder(1.0, seed=1, as_truck=0.3))
    metrics = evaluate(run, data)
    found = values(metrics)
    details = metrics["details"]
    assert details["cars"]["operating_threshold"] == 0.35
    there = sum(len(cars_of(index)) for index in range(COUNT))
    assert sum(details["cars"]["at_threshold"][key] for key in ("right", "missed")) == there
    assert details["cars_merged"]["at_threshold"]["missed"] == 0
    assert found[CAR, "recall"] < found[MERGED, "recall"] == 1.0
    assert found[MERGED, "AP50"] == pytest.approx(1.0, abs=0.05)
    assert found["coco.bbox", "AP_truck"] is None
    assert found["car_presence.car", "AP"] > 0.9
    assert details["car_presence"]["scored_by"] == "the surest car of a detector"
    assert metrics["intervals"]["method"] == "percentile bootstrap over pictures"
    assert metrics["intervals"]["scenes"] == COUNT
    interval = next(
        one["interval"] for one in metrics["metrics"] if one["name"] == "AP50" and "truck" not in one["protocol"]
    )
    assert interval[0] <= found[CAR, "AP50"] <= interval[1]


def test_every_picture_of_the_gallery_has_its_boxes(data: Dataset, tmp_path: Path) -> None:
    run = write_picture_run(tmp_path / "runs" / "one", data, finder(0.5, seed=2))
    metrics = evaluate(run, data)
    worst = metrics["details"]["cars"]["worst"]
    assert len(worst) == COUNT
    errors = [len(one["wrong"]) + len(one["missed"]) for one in worst]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0
    totals = metrics["details"]["cars"]["at_threshold"]
    assert {key: sum(len(one[key]) for one in worst) for key in totals} == totals
    assert all(len(one["found"]) == len(one["right"]) for one in worst)
    first = metrics["worst"][0]
    assert first["car_misses"] + first["car_false_alarms"] == first["cost"] == errors[0]
    assert all(name.startswith(f"{IMAGE}/") for name in first["car_missed"])


def test_a_classifier_has_no_boxes_to_be_judged_by(data: Dataset, tmp_path: Path, admlops: Admlops) -> None:
    def classify(index: int) -> Outputs:
        return Outputs(car_presence=[CarPresence(camera=IMAGE, score=0.9 - 0.01 * index if cars_of(index) else 0.05)])

    runs = tmp_path / "repository" / "runs"
    classifier = write_picture_run(runs / "classifier", data, classify, model="Classifier")
    detector = write_picture_run(runs / "detector", data, finder(0.6, seed=1))
    metrics = evaluate(classifier, data)
    evaluate(detector, data)
    assert {protocol for protocol, _ in values(metrics)} == {"car_presence.car"}
    assert values(metrics)["car_presence.car", "ROC_AUC"] == 1.0
    assert values(metrics)["car_presence.car", "F1"] is None
    assert "no operating threshold" in metrics["details"]["car_presence"]["not_applicable"]["F1"]
    fought = battle_runs(classifier, detector)
    assert (fought.primary.metric, fought.primary.protocol.partition("@")[0]) == ("AP", "car_presence.car")
    boxes = battle_runs(classifier, detector, metric="AP50")
    assert boxes.verdict == "not comparable"
    assert f"Classifier has no AP50 of {CAR}" in boxes.primary.reason
    shown = json.loads(admlops("battle", "classifier", "detector", "--metric", "AP50", "--json").stdout)
    assert (shown["verdict"], shown["primary"]["a"]) == ("not comparable", None)


def test_a_better_detector_wins_over_pictures(data: Dataset, tmp_path: Path) -> None:
    good = write_picture_run(tmp_path / "runs" / "good", data, finder(1.0, seed=1), time_s=0.04)
    bad = write_picture_run(tmp_path / "runs" / "bad", data, finder(0.3, seed=2), time_s=0.01)
    for run in (good, bad):
        evaluate(run, data)
    fought = battle_runs(good, bad)
    assert (fought.verdict, fought.winner, fought.primary.metric) == ("winner", "good", "AP50")
    assert fought.primary.protocol.startswith(CAR)
    speed = fought.further[0]
    assert (speed.verdict, speed.winner) == ("winner", "bad")


def test_without_ground_truth_a_comparison_measures_times_and_evaluate_says_what_is_missing(tmp_path: Path) -> None:
    (root := tmp_path / "bare").mkdir()
    for name in write_pictures(tmp_path / "pictures", 4).root.rglob("*.png"):
        shutil.copy(name, root)
    data = open_data(root)
    run = write_picture_run(tmp_path / "runs" / "one", data, finder(1.0, seed=1))
    with pytest.raises(UsageError, match="--boxes-2d FILE"):
        evaluate(run, data)
    metrics = evaluate_run(run, data, layout=find_layout(), say=lambda _line: None, without_truth=True)
    assert metrics["latency"]["inference"]["n"] > 0
    assert not [one for one in metrics["metrics"] if not one["protocol"].startswith("latency")]
    assert any("has no ground truth" in note for note in metrics["notes"])


def test_three_pictures_decide_nothing(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "pictures", 3)
    runs = [write_picture_run(tmp_path / name, data, finder(share, seed=1)) for name, share in (("a", 1.0), ("b", 0.1))]
    for run in runs:
        evaluate(run, data)
    fought = battle_runs(*runs)
    assert fought.verdict == "not decided"
    assert "too few pictures to resample: 3, at least 10" in fought.primary.reason


def test_a_number_of_cars_alone_bounds_f1(tmp_path: Path) -> None:
    data = write_counted(tmp_path / "pictures", COUNT)
    run = write_picture_run(tmp_path / "runs" / "one", data, finder(1.0, seed=1))
    found = values(evaluate(run, data))
    assert {protocol for protocol, _ in found} == {"car_count.car", "car_presence.car"}
    pairs = [
        (len(cars_of(index)), sum(confidence >= 0.35 for _, confidence, _ in finder(1.0, seed=1)(index)))
        for index in range(COUNT)
    ]
    bound = 2 * sum(min(pair) for pair in pairs) / sum(map(sum, pairs))
    assert found["car_count.car", "F1_bound"] == pytest.approx(bound)
    assert found["car_count.car", "count_error"] == pytest.approx(sum(abs(a - b) for a, b in pairs) / COUNT)


def test_a_model_without_a_threshold_has_ap_and_the_best_f1_alone(
    data: Dataset, tmp_path: Path, admlops: Admlops
) -> None:
    run = write_picture_run(tmp_path / "repository" / "runs" / "one", data, finder(0.9, seed=1), model="Nobody")
    shown = admlops("evaluate", "one").stdout
    assert next(line.split()[:2] for line in shown.splitlines() if line.startswith("F1 ")) == ["F1", "n/a"]
    assert "n/a: the model declares no operating threshold" in shown
    metrics = json.loads(run.metrics_path.read_text())
    found = values(metrics)
    assert found[CAR, "best_F1"] is not None
    assert found[CAR, "F1"] is None
    details = metrics["details"]["cars"]
    assert "operating_threshold" in details["not_applicable"]["F1"]
    assert details["shown_threshold"] == details["best_threshold"]


def test_ground_truth_without_cars_is_refused_by_name(data: Dataset, tmp_path: Path) -> None:
    file = Path(data.root) / "annotations.json"
    content = json.loads(file.read_text())
    content["categories"][0]["name"] = "auto"
    file.write_text(json.dumps(content))
    run = write_picture_run(tmp_path / "runs" / "one", data, finder(1.0, seed=1))
    metrics = evaluate(run, open_data(Path(data.root)))
    reasons = {one["protocol"]: one["reason"] for one in metrics["not_evaluated"]}
    assert "the ground truth has no car: its classes are auto, truck" in reasons[CAR]
    assert MERGED not in reasons


def test_a_scene_of_a_sequence_is_drawn_as_one_and_single_pictures_are_drawn_alone(data: Dataset) -> None:
    assert isinstance(data, Images)
    (scene,) = data.scenes()
    assert [data.resampling_unit(token) for token in scene.samples] == list(scene.samples)
    pictures = data.contents.scenes[scene.name]
    moving = [replace(picture, timestamp_us=500_000 * index) for index, picture in enumerate(pictures)]
    data.__dict__["contents"] = replace(data.contents, scenes={scene.name: moving})
    data.__dict__.pop("_sequences", None)
    assert {data.resampling_unit(token) for token in scene.samples} == {scene.name}


def test_many_pictures_are_drawn_in_groups_that_do_not_depend_on_their_order() -> None:
    units = [f"picture-{index}" for index in range(1000)]
    numbers, count = number_units(units)
    assert count == MAX_UNITS == len(set(numbers.tolist()))
    assert np.bincount(numbers).tolist() == [5] * MAX_UNITS
    again, _ = number_units(units[::-1])
    assert again[::-1].tolist() == numbers.tolist()
    assert number_units(["b", "a", "b"])[0].tolist() == [1, 0, 1]
