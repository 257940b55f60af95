"""Intervals over scenes and paired comparisons, held against the plain way: evaluating anew what was drawn."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.generated_boxes import VERSION, no_racks, predict, tokens_of, write_tables

from admlops.datasets.annotations import SampleScene
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.evaluation.detection_3d import resampling as nuscenes_resampling
from admlops.evaluation.detection_3d.boxes import Boxes, GroundTruth, join
from admlops.evaluation.detection_3d.evaluation import evaluate_detections
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.protocols import NUSCENES
from admlops.evaluation.detection_3d.resampling import resample_scores
from admlops.evaluation.detection_3d.scores import match_boxes, score
from admlops.evaluation.detection_3d.slices import slice_detections
from admlops.evaluation.statistics import bootstrap
from admlops.evaluation.statistics.bootstrap import MIN_SCENES, interval, p_value, resample_scenes

SCENES, SAMPLES = 12, 3
SCENE_OF = np.repeat(np.arange(SCENES), SAMPLES)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> GroundTruth:
    root = write_tables(tmp_path_factory.mktemp("generated") / "nuscenes", scenes=SCENES, samples=SAMPLES, objects=60)
    return make_ground_truth(read_annotations(root, VERSION, tokens_of(SCENES, SAMPLES)))


def repeated(truth: GroundTruth, predictions: Boxes, times: np.ndarray) -> tuple[GroundTruth, Boxes]:
    """The data set in which scene s is there `times[s]` times, confidences kept apart by next to nothing."""
    samples: list[int] = []
    boxes: list[Boxes] = []
    found: list[Boxes] = []
    points, visibility = [], []
    for scene in np.repeat(np.arange(SCENES), times):
        for sample in np.flatnonzero(scene == SCENE_OF):
            there = truth.boxes.sample == sample
            own = predictions.take(predictions.sample == sample)
            number = np.int32(len(samples))
            boxes.append(dataclasses.replace(truth.boxes.take(there), sample=np.full(there.sum(), number)))
            shift = 1e-12 * number
            found.append(dataclasses.replace(own, sample=np.full(len(own), number), score=own.score * (1 - shift)))
            points.append(truth.points[there])
            visibility.append(truth.visibility[there])
            samples.append(int(sample))
    whole = dataclasses.replace(
        truth,
        samples=[f"{index}-{sample}" for index, sample in enumerate(samples)],
        ego=truth.ego[samples],
        rotation=truth.rotation[samples],
        boxes=join(boxes),
        points=np.concatenate(points),
        visibility=np.concatenate(visibility),
        racks=no_racks(),
    )
    return whole, join(found)


@pytest.mark.parametrize("checkpoints", [10**9, nuscenes_resampling.CHECKPOINTS])
def test_a_resample_is_the_evaluation_of_what_it_drew(
    truth: GroundTruth, monkeypatch: pytest.MonkeyPatch, checkpoints: int
) -> None:
    monkeypatch.setattr(nuscenes_resampling, "CHECKPOINTS", checkpoints)
    predictions = predict(truth, per_sample=100, seed=1)
    bare = dataclasses.replace(truth, racks=no_racks())
    weights = np.random.default_rng(0).multinomial(SCENES, np.full(SCENES, 1 / SCENES), size=4).astype(np.int32)
    weights[0] = 1
    resampled = resample_scores(match_boxes(predictions, bare, NUSCENES), SCENE_OF, weights)
    for row, times in enumerate(weights):
        drawn, found = repeated(bare, predictions, times)
        expected = score(match_boxes(found, drawn, NUSCENES))
        # A scene drawn twice moves a curve in steps of two, its copies in two steps with an interpolation between.
        assert resampled.mean_ap[row] == pytest.approx(expected.mean_ap, abs=6e-3)
        assert resampled.nds[row] == pytest.approx(expected.nds, abs=6e-3)
    assert np.ptp(resampled.mean_ap) > 0.02  # far more than that
    exact = score(match_boxes(predictions, bare, NUSCENES))
    tolerance = 1e-12 if checkpoints > 10**6 else 2e-3
    assert resampled.mean_ap[0] == pytest.approx(exact.mean_ap, abs=tolerance)
    assert resampled.nds[0] == pytest.approx(exact.nds, abs=tolerance)


def test_an_interval_holds_its_value_and_narrows_with_scenes(truth: GroundTruth) -> None:
    scenes = [SampleScene(name=f"scene-{index}", description="", location="") for index in SCENE_OF]
    result = evaluate_detections(predict(truth, per_sample=60), truth, scenes, NUSCENES)
    metrics = {metric.name: metric for metric in result.metrics("d")}
    assert result.resampling.reason is None
    for metric in metrics.values():
        assert metric.interval is not None
        assert metric.value is not None
        assert metric.interval[0] < metric.interval[1]
        assert metric.interval[0] - 0.05 < metric.value < metric.interval[1] + 0.05
    again = evaluate_detections(predict(truth, per_sample=60), truth, scenes, NUSCENES)
    assert [metric.interval for metric in again.metrics("d")] == [metric.interval for metric in result.metrics("d")]


def test_too_few_scenes_have_no_interval(truth: GroundTruth) -> None:
    scenes = [
        SampleScene(name=f"scene-{min(index, MIN_SCENES - 2)}", description="", location="") for index in SCENE_OF
    ]
    result = evaluate_detections(predict(truth, per_sample=10), truth, scenes, NUSCENES)
    assert {metric.interval for metric in result.metrics("d")} == {None}
    assert result.resampling.to_json()["reason"] == (
        f"no intervals: too few scenes to resample: {MIN_SCENES - 1}, at least {MIN_SCENES} are needed"
    )


def test_better_predictions_are_found_better(truth: GroundTruth) -> None:
    """Paired differences separate two models whose intervals overlap; a model against itself is no difference."""
    scenes = [SampleScene(name=f"scene-{index}", description="", location="") for index in SCENE_OF]
    worse, better = (
        evaluate_detections(predict(truth, per_sample=60, skill=skill, seed=4), truth, scenes, NUSCENES)
        for skill in (0.6, 1.0)
    )
    differences = better.resamples()["mAP"] - worse.resamples()["mAP"]
    low, high = interval(differences) or (0.0, 0.0)
    assert 0 < low < high
    assert p_value(differences) < 0.01
    assert p_value(np.zeros(1000)) == 1.0
    assert p_value(-differences) == p_value(differences)


def test_the_bootstrap_draws_as_many_scenes_as_there_are() -> None:
    resampling = resample_scenes(30)
    assert resampling.weights is not None
    assert resampling.weights.shape == (bootstrap.RESAMPLES, 30)
    assert set(resampling.weights.sum(axis=1)) == {30}
    assert resampling.weights.mean() == pytest.approx(1.0)
    low, high = interval(np.arange(1001.0)) or (0.0, 0.0)
    assert (low, high) == pytest.approx((25.0, 975.0))
    assert interval(np.array([0.1, np.nan])) is None


def test_parts_add_up(truth: GroundTruth, tmp_path: Path) -> None:
    """Ground truth is in one ring, of one visibility, in one scene; a scene's part is its own evaluation."""
    root = write_tables(tmp_path / "nuscenes", scenes=4, samples=3, seed=2, objects=60)
    annotations = read_annotations(root, VERSION, tokens_of(4, 3))
    there = make_ground_truth(annotations)
    boxes = predict(there, per_sample=60)
    matching = match_boxes(boxes, there, NUSCENES)
    parts = slice_detections(matching, annotations.scenes, protocol="p")
    whole = len(matching.truth.boxes)
    for kind in ("scene", "distance", "visibility"):
        assert sum(part["ground_truth"] for part in parts[kind].values()) == whole
    conditions = parts["conditions"]
    assert conditions["night"]["samples"] == 3  # the fourth scene
    assert conditions["rain"]["samples"] == 3  # the third
    assert conditions["day"]["ground_truth"] + conditions["night"]["ground_truth"] == whole
    own = score(match_boxes(boxes.take(boxes.sample < 3), there.take(there.boxes.sample < 3), NUSCENES))
    first = parts["scene"]["scene-0000"]
    assert first["classes"] == {name: entry.mean_ap for name, entry in own.classes.items() if entry.truth}
    near, far = parts["distance"]["0-10 m"], parts["distance"]["40-50 m"]
    assert near["recall"] > far["recall"]
    assert parts["protocol"] == "p.present-classes"


def test_a_prediction_across_a_border_is_not_wrong_in_either_ring() -> None:
    """A box at 9.9 m found at 10.1 m: right in the inner ring, and nothing in the outer."""
    base = Boxes(
        sample=np.zeros(1, np.int32),
        label=np.zeros(1, np.int8),
        center=np.array([[9.9, 0.0, 0.0]]),
        size=np.ones((1, 3)),
        yaw=np.zeros(1),
        velocity=np.zeros((1, 2)),
        attribute=np.array([6], np.int8),
        score=np.zeros(1),
        number=np.zeros(1, np.int32),
    )
    truth = GroundTruth(
        samples=["a"],
        ego=np.zeros((1, 3)),
        rotation=np.array([[1.0, 0.0, 0.0, 0.0]]),
        boxes=base,
        points=np.ones(1, np.int32),
        visibility=np.array([4], np.int8),
        tokens=["t"],
        racks=no_racks(),
    )
    found = dataclasses.replace(base, center=np.array([[10.1, 0.0, 0.0]]), score=np.array([0.9]))
    scene = SampleScene(name="s", description="Rain", location="")
    parts = slice_detections(match_boxes(found, truth, NUSCENES), [scene], protocol="p")
    inner, outer = parts["distance"]["0-10 m"], parts["distance"]["10-20 m"]
    assert (inner["predictions"], inner["recall"], inner["mAP"]) == (1, 1.0, pytest.approx(1.0))
    assert (outer["predictions"], outer["recall"], outer["mAP"]) == (0, None, None)
    assert parts["visibility"]["80-100 %"]["recall"] == 1.0
    assert parts["conditions"]["rain"]["mAP"] == pytest.approx(1.0)
    assert parts["conditions"]["dry"]["mAP"] is None
