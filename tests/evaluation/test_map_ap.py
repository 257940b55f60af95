"""Chamfer AP: numbers of MapTR's own evaluator, geometry by hand, and the shortcuts against the plain way."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.evaluation.oracle_records import elements_of, metadata, truth_record

from admlops.datasets.nuscenes import NuScenes
from admlops.datasets.vector_map import MAP_CLASSES, MapVector, sample_vectors
from admlops.errors import RecordError
from admlops.evaluation.vector_map import (
    THRESHOLDS_M,
    MapEvaluation,
    Predictions,
    SampleMatch,
    average_precision,
    evaluate_map,
    match_sample,
    pair_distances,
    precision_recall,
    resample,
)
from admlops.results.record import MapElement, Outputs, make_record

Points = NDArray[np.float64]
CLASSES = list(MAP_CLASSES)

GOLDEN = {
    "divider": (0.2756757140159607, 0.3243526518344879, 0.3367595970630646),
    "ped_crossing": (0.19297799468040466, 0.3069923520088196, 0.31606200337409973),
    "boundary": (0.19163687527179718, 0.278030127286911, 0.278030127286911),
}
"""AP at 0.5, 1.0 and 1.5 m of `golden_case`, from MapTR's evaluator (commit a6872d8, Shapely 1.8.5, NumPy 1.23.5)."""


def golden_case() -> tuple[list[list[tuple[str, Points, float]]], list[list[tuple[str, Points]]]]:
    """Predictions and ground truth of 30 samples: noise, reversed and shuffled points, dots, inventions, no ties."""
    rng = np.random.default_rng(20240229)
    predictions, truth = [], []
    for _ in range(30):
        there = [(str(rng.choice(CLASSES)), _random_line(rng)) for _ in range(rng.integers(0, 7))]
        found = [
            (kind, _spoil(line, rng), float(rng.uniform())) for kind, line in there for _ in range(rng.integers(0, 3))
        ]
        found += [
            (str(rng.choice(CLASSES)), _random_line(rng), float(rng.uniform())) for _ in range(rng.integers(0, 5))
        ]
        predictions.append(found)
        truth.append(there)
    return predictions, truth


def _random_line(rng: np.random.Generator) -> Points:
    count, length = int(rng.integers(2, 25)), rng.uniform(0.1, 30)
    line = np.stack([np.linspace(0, length, count), np.cumsum(rng.normal(0, 0.2, count))], axis=1)
    if rng.uniform() < 0.3:
        angle = np.linspace(0, 2 * math.pi, count + 2)
        line = np.stack([np.cos(angle), np.sin(angle)], axis=1) * rng.uniform(0.5, 6, 2)
    turn = rng.uniform(0, 2 * math.pi)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    moved: Points = line @ rotation + rng.uniform((-15, -30), (15, 30))
    return moved


def _spoil(line: Points, rng: np.random.Generator) -> Points:
    spoiled = line + rng.normal(0, 0.15, line.shape) + rng.normal(0, 0.5, 2)
    chance = rng.uniform()
    if chance < 0.1:
        return np.repeat(spoiled[:1], 2, axis=0)
    if chance < 0.2:
        return rng.permutation(spoiled)
    return spoiled[::-1] if chance < 0.5 else spoiled


def evaluate(
    predictions: list[list[tuple[str, Points, float]]], truth: list[list[tuple[str, Points]]]
) -> MapEvaluation:
    matches: dict[str, list[SampleMatch]] = {name: [] for name in MAP_CLASSES}
    for index, (found, there) in enumerate(zip(predictions, truth, strict=True)):
        vectors = [MapVector(type=kind, points=line) for kind, line in there]
        for name in MAP_CLASSES:
            own = [(line, confidence) for kind, line, confidence in found if kind == name]
            batch = Predictions(
                lines=resample([line for line, _ in own]),
                confidences=np.array([confidence for _, confidence in own], dtype=float),
                ids=tuple(range(len(own))),
            )
            matches[name].append(match_sample(str(index), batch, name, vectors))
    curves = {name: {t: precision_recall(matches[name], t) for t in THRESHOLDS_M} for name in MAP_CLASSES}
    return MapEvaluation(samples=len(truth), curves=curves, matches=matches)


def line(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=float)


def distance(a: Points, b: Points) -> float:
    return float(pair_distances(resample([a]), resample([b]))[0, 0])


def test_numbers_of_the_original_evaluator() -> None:
    result = evaluate(*golden_case())
    for name, expected in GOLDEN.items():
        np.testing.assert_allclose([result.curves[name][t].ap for t in THRESHOLDS_M], expected, atol=1e-6)
    values = {metric.name: metric.value for metric in result.metrics("d")}
    assert values["mAP"] == pytest.approx(np.mean(list(GOLDEN.values())), abs=1e-6)


def test_ground_truth_is_perfect_and_shuffled_is_not(data: NuScenes, tokens: list[str]) -> None:
    samples = {token: data.sample(token) for token in tokens}
    truth = {token: sample_vectors(data.root / "maps", data.location(token), samples[token]) for token in tokens}
    perfect = evaluate_map([truth_record(data, token) for token in tokens], truth, samples)
    assert [metric.value for metric in perfect.metrics("d")] == pytest.approx([1.0] * 4, abs=1e-6)
    far = {token: [MapVector(type=v.type, points=v.points + 9.0) for v in truth[token]] for token in tokens}
    wrong = evaluate_map([truth_record(data, token) for token in tokens], far, samples)
    assert wrong.metrics("d")[0].value is not None
    assert wrong.class_ap("divider") < 0.3


@pytest.mark.parametrize("offset", [0.25, 0.7, 1.2])
def test_parallel_lines_are_their_offset_apart(offset: float) -> None:
    a, b = line((0, 0), (20, 0)), line((0, offset), (20, offset))
    assert distance(a, b) == pytest.approx(offset)
    assert distance(a, b[::-1]) == pytest.approx(offset)


def test_lines_whose_buffers_do_not_meet_are_no_pair() -> None:
    assert distance(line((0, 0), (0.5, 0)), line((0.6, 0), (1.1, 0))) == math.inf
    assert distance(line((0, 0), (0, 0)), line((0, 0), (1, 0))) == math.inf


def test_each_prediction_has_one_choice_only() -> None:
    """Both predictions are nearest to the first line; the second one is not moved on to the line beside it."""
    truth = [[("divider", line((0, 0), (20, 0))), ("divider", line((0, 1), (20, 1)))]]
    found = [[("divider", line((0, 0.1), (20, 0.1)), 0.9), ("divider", line((0, 0.2), (20, 0.2)), 0.8)]]
    match = evaluate(found, truth).matches["divider"][0]
    assert match.true_positives(1.5).tolist() == [True, False]


def test_the_threshold_itself_counts() -> None:
    truth = [[("divider", line((0, 0), (16, 0)))]]
    result = evaluate([[("divider", line((0, 0.5), (16, 0.5)), 0.9)]], truth)
    assert [result.curves["divider"][t].ap for t in THRESHOLDS_M] == [1.0, 1.0, 1.0]


def test_average_precision_by_hand() -> None:
    """Hit, miss, hit of two: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1 → 1/2 · 1 + 1/2 · 2/3."""
    recall, precision = np.array([0.5, 0.5, 1.0], np.float32), np.array([1, 0.5, 2 / 3], np.float32)
    assert average_precision(recall, precision) == pytest.approx(5 / 6, abs=1e-7)
    assert average_precision(np.zeros(0, np.float32), np.zeros(0, np.float32)) == 0.0


def test_a_class_without_ground_truth_counts_as_zero() -> None:
    perfect = line((0, 0), (20, 0))
    result = evaluate([[("divider", perfect, 0.9)]], [[("divider", perfect)]])
    values = {metric.name: metric.value for metric in result.metrics("d")}
    assert values["AP_divider"] == 1.0
    assert values["AP_boundary"] == 0.0
    assert values["mAP"] == pytest.approx(1 / 3)


def test_equal_confidences_keep_their_order() -> None:
    good, bad = line((0, 0), (20, 0)), line((0, 20), (20, 20))
    truth = [[("divider", good)]]
    first = evaluate([[("divider", good, 0.5), ("divider", bad, 0.5)]], truth)
    last = evaluate([[("divider", bad, 0.5), ("divider", good, 0.5)]], truth)
    assert (first.class_ap("divider"), last.class_ap("divider")) == (1.0, 0.5)


def test_curves_are_thinned_and_end_at_the_last_hit() -> None:
    lines = [line((0, 100.0 * index), (20, 100.0 * index)) for index in range(300)]
    truth = [[("divider", one) for one in lines]]
    found = [[("divider", one, 1.0 - index / 1000) for index, one in enumerate(lines)]]
    curve = evaluate(found, truth).details()["curves"]["divider"]["1.0"]
    assert len(curve["recall"]) == 100
    assert (curve["recall"][-1], curve["precision"][-1], curve["confidence"][-1]) == (1.0, 1.0, 0.701)


def test_unknown_types_are_named_and_centerlines_left_alone(data: NuScenes, tokens: list[str]) -> None:
    token = tokens[0]
    samples = {token: data.sample(token)}
    odd = MapElement(id=3, type="kerb", points=[(0.0, 0.0), (1.0, 1.0)], confidence=0.5)
    record = make_record(metadata(data, token), Outputs(map_elements=[odd]))
    with pytest.raises(RecordError, match="map element 3 of type 'kerb'"):
        evaluate_map([record], {token: []}, samples)
    centre = msgspec.structs.replace(odd, type="centerline")
    record = make_record(metadata(data, token), Outputs(map_elements=[*elements_of(data, token), centre]))
    truth = {token: sample_vectors(data.root / "maps", data.location(token), samples[token])}
    assert evaluate_map([record], truth, samples).metrics("d")[0].value == pytest.approx(1.0, abs=1e-6)


coordinates = st.tuples(st.floats(-10, 10), st.floats(-10, 10))
polylines = st.lists(coordinates, min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(polylines, min_size=1, max_size=4), st.lists(polylines, min_size=1, max_size=3))
def test_shortcuts_change_nothing(
    first: list[list[tuple[float, float]]], second: list[list[tuple[float, float]]]
) -> None:
    """Against the plain way: every distance, every buffer, no bounds. Beyond 1.5 m both are no match."""
    a, b = resample([np.array(points) for points in first]), resample([np.array(points) for points in second])
    plain = np.full((len(a), len(b)), math.inf)
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            apart = np.sqrt(((p[:, np.newaxis] - q) ** 2).sum(axis=-1))
            chamfer = (apart.min(axis=0).mean() + apart.min(axis=1).mean()) / 2
            style = {"quad_segs": 16, "cap_style": "flat", "join_style": "mitre"}
            meet = shapely.LineString(p).buffer(2.0, **style).intersects(shapely.LineString(q).buffer(2.0, **style))
            if meet and chamfer <= 1.5:
                plain[i, j] = chamfer
    np.testing.assert_allclose(pair_distances(a, b), plain, atol=1e-12)
