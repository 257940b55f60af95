"""Our nuScenes detection metrics against the devkit's, on the same boxes in the same test."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.evaluation.devkit_process import Devkit, largest_difference
from tests.evaluation.generated_boxes import VERSION, no_racks, predict, tokens_of, write_tables

from admlops.core.nuscenes_classes import CLASSES
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.environments import Environment
from admlops.evaluation.detection_3d.boxes import Boxes, GroundTruth, empty_boxes
from admlops.evaluation.detection_3d.filters import ranges_m
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.protocols import NUSCENES, VAD, DetectionProtocol
from admlops.evaluation.detection_3d.scores import match_boxes, score
from admlops.evaluation.detection_3d.ties import tie_range

EQUAL = 1e-9


@pytest.fixture(scope="module")
def devkit(official_environment: Environment) -> Iterator[Devkit]:
    with Devkit(official_environment.python) as process:
        yield process


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> GroundTruth:
    root = write_tables(tmp_path_factory.mktemp("generated") / "nuscenes", scenes=3, samples=6, seed=1)
    return make_ground_truth(read_annotations(root, VERSION, tokens_of(3, 6)))


def difference(devkit: Devkit, predictions: Boxes, truth: GroundTruth, protocol: DetectionProtocol = NUSCENES) -> float:
    return largest_difference(
        score(match_boxes(predictions, truth, protocol)), devkit.ask(predictions, truth, protocol)
    )


@pytest.mark.parametrize("protocol", [NUSCENES, VAD], ids=lambda protocol: str(protocol.name))
@pytest.mark.parametrize("skill", [0.3, 1.0])
def test_equal_on_generated_data(devkit: Devkit, truth: GroundTruth, protocol: DetectionProtocol, skill: float) -> None:
    predictions = predict(truth, per_sample=80, seed=5, skill=skill)
    result = score(match_boxes(predictions, truth, protocol))
    assert 0.005 < result.mean_ap < 0.9
    assert largest_difference(result, devkit.ask(predictions, truth, protocol)) < EQUAL


def test_the_filters_leave_out_what_they_should(truth: GroundTruth) -> None:
    """The generated data has something for each of them to do."""
    matching = match_boxes(predict(truth, per_sample=80), truth, NUSCENES)
    there = truth.boxes
    away = np.linalg.norm(there.center[:, :2] - truth.ego[there.sample, :2], axis=1)
    in_reach = (away < ranges_m(NUSCENES)[there.label]) & (truth.points != 0)
    assert 0 < len(matching.truth.boxes) < in_reach.sum() < len(there)
    assert (truth.points == 0).sum() > 10
    assert np.isnan(there.velocity).any()


@pytest.mark.parametrize("digits", [1, 2])
def test_ties_in_any_order_stay_in_the_range(devkit: Devkit, truth: GroundTruth, digits: int) -> None:
    """Our order is the devkit's; its numbers for other orders of the same boxes lie in the range that we report."""
    predictions = predict(truth, per_sample=60, seed=3, digits=digits)
    matching = match_boxes(predictions, truth, NUSCENES)
    own = score(matching)
    assert largest_difference(own, devkit.ask(predictions, truth, NUSCENES)) < EQUAL
    ranges = tie_range(matching, own)
    assert ranges is not None
    assert ranges.mean_ap[0] < own.mean_ap < ranges.mean_ap[1]
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(2):
        shuffled = predictions.take(np.lexsort((rng.random(len(predictions)), predictions.sample)))
        theirs = devkit.ask(shuffled, truth, NUSCENES)
        seen.add(theirs["mean_ap"])
        assert ranges.mean_ap[0] <= theirs["mean_ap"] <= ranges.mean_ap[1]
        assert ranges.nds[0] <= theirs["nd_score"] <= ranges.nds[1]
    assert len(seen) == 2


def test_without_ties_there_is_no_range(truth: GroundTruth) -> None:
    matching = match_boxes(predict(truth, per_sample=60), truth, NUSCENES)
    assert tie_range(matching, score(matching)) is None


def test_nothing_predicted_and_nothing_there(devkit: Devkit, truth: GroundTruth) -> None:
    nothing = truth.take(np.zeros(len(truth.boxes), np.bool_))
    some = predict(truth, per_sample=10)
    assert difference(devkit, empty_boxes(), truth) == 0.0
    assert difference(devkit, some, nothing) == 0.0
    assert difference(devkit, empty_boxes(), nothing) == 0.0
    assert score(match_boxes(some, nothing, NUSCENES)).nds == 0.0


def test_an_absent_class_counts_as_zero(devkit: Devkit, truth: GroundTruth) -> None:
    cars = truth.boxes.label == CLASSES.index("car")
    predictions = predict(truth, per_sample=60)
    assert difference(devkit, predictions, truth.take(~cars)) < EQUAL
    assert difference(devkit, predictions.take(predictions.label != CLASSES.index("car")), truth) < EQUAL
    result = score(match_boxes(predictions, truth.take(~cars), NUSCENES))
    assert result.classes["car"].mean_ap == 0.0
    assert result.classes["car"].errors["trans_err"] == 1.0


def test_unknown_velocities_and_duplicates(devkit: Devkit, truth: GroundTruth) -> None:
    predictions = predict(truth, per_sample=60, seed=9)
    velocity = predictions.velocity.copy()
    velocity[::3] = np.nan
    assert difference(devkit, dataclasses.replace(predictions, velocity=velocity), truth) < EQUAL
    velocity[:] = np.nan
    assert difference(devkit, dataclasses.replace(predictions, velocity=velocity), truth) < EQUAL
    twice = predictions.take(np.sort(np.repeat(np.arange(len(predictions)), 2)))
    assert difference(devkit, twice, truth) < EQUAL


@pytest.mark.parametrize("score_of_all", [0.0, 1.0, None])
def test_confidences_of_zero_and_one(devkit: Devkit, truth: GroundTruth, score_of_all: float | None) -> None:
    predictions = predict(truth, per_sample=30, seed=2)
    scores = predictions.score.round() if score_of_all is None else np.full(len(predictions), score_of_all)
    assert difference(devkit, dataclasses.replace(predictions, score=scores), truth) < EQUAL


def test_samples_without_predictions_or_ground_truth(devkit: Devkit, truth: GroundTruth) -> None:
    predictions = predict(truth, per_sample=60)
    few = predictions.take(predictions.sample % 3 != 0)
    part = truth.take(truth.boxes.sample % 4 != 1)
    assert difference(devkit, few, part) < EQUAL


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=st.data())
def test_small_cases_with_every_kind_of_coincidence(devkit: Devkit, case: st.DataObject) -> None:
    """Positions on a coarse grid and few confidences: equal distances, borders of thresholds and ranges, ties."""
    predictions, truth = _draw(case)
    for protocol in (NUSCENES, VAD):
        matching = match_boxes(predictions, truth, protocol)
        own = score(matching)
        assert largest_difference(own, devkit.ask(predictions, truth, protocol)) < EQUAL
        ranges = tie_range(matching, own)
        if ranges is not None:
            backwards = predictions.take(np.lexsort((-predictions.number, predictions.sample)))
            theirs = devkit.ask(backwards, truth, protocol)
            assert ranges.mean_ap[0] - EQUAL <= theirs["mean_ap"] <= ranges.mean_ap[1] + EQUAL
            assert ranges.nds[0] - EQUAL <= theirs["nd_score"] <= ranges.nds[1] + EQUAL


def _draw(case: st.DataObject) -> tuple[Boxes, GroundTruth]:
    samples = case.draw(st.integers(1, 3))
    boxes = [_draw_boxes(case, samples, case.draw(st.integers(0, 14))) for _ in range(2)]
    predictions, there = boxes
    points = np.array([case.draw(st.sampled_from([0, 1, 5])) for _ in range(len(there))], dtype=np.int32)
    truth = GroundTruth(
        samples=[f"sample-{index}" for index in range(samples)],
        ego=np.tile([100.0, 50.0, 0.0], (samples, 1)),
        rotation=np.tile([1.0, 0.0, 0.0, 0.0], (samples, 1)),
        boxes=dataclasses.replace(there, score=np.zeros(len(there))),
        points=points,
        visibility=np.ones(len(there), np.int8),
        tokens=[f"box-{index}" for index in range(len(there))],
        racks=no_racks(),
    )
    return predictions, truth


def _draw_boxes(case: st.DataObject, samples: int, count: int) -> Boxes:
    def column(strategy: st.SearchStrategy[Any], dtype: Any) -> Any:
        return np.array([case.draw(strategy) for _ in range(count)], dtype=dtype)

    near = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 4.0])
    far = st.sampled_from([14.5, 15.0, 29.5, 30.0, 30.5, 39.5, 40.0, 49.5, 50.0])
    speed = st.sampled_from([0.0, 1.0, float("nan")])
    heading = st.sampled_from([-np.pi, -np.pi / 2, 0.0, 0.1, np.pi / 2, np.pi])
    center = np.stack([column(st.one_of(near, far), float) + 100, column(near, float) + 50, np.zeros(count)], axis=1)
    return Boxes(
        sample=np.sort(column(st.integers(0, samples - 1), np.int32)),
        label=column(st.sampled_from([0, 0, 5, 7, 8, 9]), np.int8),
        center=center,
        size=np.ones((count, 3)) * column(st.sampled_from([0.5, 1.0, 2.0]), float)[:, np.newaxis],
        yaw=column(heading, float),
        velocity=np.stack([column(speed, float), column(speed, float)], axis=1),
        attribute=column(st.sampled_from([0, 6, 7]), np.int8),
        score=column(st.sampled_from([0.0, 0.25, 0.5, 0.5, 1.0]), float),
        number=np.arange(count, dtype=np.int32),
    )


def test_the_reader_agrees_with_the_table_reader(tmp_path: Path) -> None:
    """Positions, velocities and points are those that `NuScenes` gives for single samples, moved to the ego frame."""
    from admlops.datasets.nuscenes.tables import NuScenes, rotation_matrix

    root = write_tables(tmp_path / "nuscenes", scenes=2, samples=5, seed=4, objects=30)
    tokens = tokens_of(2, 5)[::-1]
    truth = make_ground_truth(read_annotations(root, VERSION, tokens))
    data = NuScenes(root, VERSION)
    for index, token in enumerate(tokens):
        rows = np.flatnonzero(truth.boxes.sample == index)
        expected = data.ground_truth(token)
        assert [truth.tokens[number] for number in truth.boxes.number[rows]] == [box.token for box in expected]
        turn = rotation_matrix(truth.rotation[index])
        moved = (truth.boxes.center[rows] - truth.ego[index]) @ turn
        np.testing.assert_allclose(moved, [box.center for box in expected], atol=1e-9)
        assert truth.points[rows].tolist() == [box.num_lidar_pts + box.num_radar_pts for box in expected]
        for row, box in zip(rows, expected, strict=True):
            known = box.velocity is not None
            assert np.isnan(truth.boxes.velocity[row]).any() != known
            if box.velocity is not None:
                np.testing.assert_allclose(truth.boxes.velocity[row] @ turn[:2, :2], box.velocity, atol=1e-5)
