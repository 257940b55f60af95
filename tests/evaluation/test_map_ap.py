"""Chamfer AP: numbers of MapTR's own evaluator, geometry by hand, and the shortcuts against the plain way."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.evaluation.generated_maps import found_of, generate_maps, truth_of
from tests.evaluation.oracle_records import elements_of, metadata, truth_record
from tests.evaluation.plain_map_ap import plain_map_ap
from tests.evaluation.upstream import checkout_or_skip, run_maptr

from admlops.core.errors import EnvError, RecordError
from admlops.core.nuscenes_classes import CENTERLINE, MAP_CLASSES
from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.datasets.nuscenes.vector_map import MapVector, sample_vectors
from admlops.environments import ensure_official
from admlops.evaluation.vector_map.curves import average_precision
from admlops.evaluation.vector_map.polylines import pair_distances, resample
from admlops.evaluation.vector_map.protocols import CHAMFER, CHAMFER_WITH_CENTERLINES, IOU, THRESHOLDS_M, MapProtocol
from admlops.evaluation.vector_map.scores import MapEvaluation, evaluate_elements, evaluate_map
from admlops.results.record import MapElement, Outputs
from admlops.results.record_json import make_record

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
    predictions: list[list[tuple[str, Points, float]]],
    truth: list[list[tuple[str, Points]]],
    protocol: MapProtocol = CHAMFER,
) -> MapEvaluation:
    return evaluate_elements(found_of(predictions, protocol.classes), truth_of(truth), protocol=protocol)


def line(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=float)


def distance(a: Points, b: Points) -> float:
    first = np.zeros(1, dtype=np.intp)
    return float(pair_distances(resample([a]), resample([b]), first, first, limit_m=max(THRESHOLDS_M))[0])


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


def test_elements_beyond_measure_are_named(data: NuScenes, tokens: list[str]) -> None:
    near = MapElement(id=3, type="divider", points=[(0.0, 0.0), (1.0, 1.0)], confidence=0.5)
    far = MapElement(id=4, type="divider", points=[(0.0, 0.0), (1e200, 1.0), (1.0, 1.0)], confidence=0.5)
    record = make_record(metadata(data, tokens[0]), Outputs(map_elements=[near, far]))
    with pytest.raises(RecordError, match=r"map element 4 with a coordinate larger than 1,000,000 m"):
        evaluate_map([record], {tokens[0]: []}, {tokens[0]: data.sample(tokens[0])})


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
    first_of, second_of = (axis.ravel() for axis in np.indices(plain.shape))
    ours = pair_distances(a, b, first_of, second_of, limit_m=max(THRESHOLDS_M)).reshape(plain.shape)
    np.testing.assert_allclose(ours, plain, atol=1e-12)


def test_resampling_is_that_of_geos() -> None:
    _, truth = generate_maps(40, seed=3)
    lines = [points for own in truth for _, points in own]
    strings = [shapely.LineString(points) for points in lines]
    expected = [
        [shapely.get_coordinates(string.interpolate(step))[0] for step in np.linspace(0, string.length, 100)]
        for string in strings
    ]
    np.testing.assert_allclose(resample(lines), expected, atol=1e-12)


@pytest.mark.parametrize("protocol", [CHAMFER, IOU, CHAMFER_WITH_CENTERLINES], ids=lambda one: one.name)
@pytest.mark.parametrize("case", ["generated", "golden"])
def test_equal_to_the_plain_formula(protocol: MapProtocol, case: str) -> None:
    predictions, truth = golden_case() if case == "golden" else generate_maps(6, seed=5)
    if CENTERLINE in protocol.classes:
        predictions = [[(CENTERLINE if k == "divider" else k, p, c) for k, p, c in own] for own in predictions]
        truth = [[(CENTERLINE if k == "divider" else k, p) for k, p in own] for own in truth]
    result = evaluate(predictions, truth, protocol)
    expected = plain_map_ap(predictions, truth, protocol.classes, protocol.thresholds, iou=protocol is IOU)
    ours = {(name, t): curve.ap for name, curves in result.curves.items() for t, curve in curves.items()}
    assert ours == pytest.approx(expected, abs=1e-6)
    values = {metric.name: metric.value for metric in result.metrics("d")}
    assert values["mAP"] == pytest.approx(np.mean(list(expected.values())), abs=1e-6)
    assert {metric.protocol for metric in result.metrics("d")} == {protocol.name}
    assert 0.05 < np.mean(list(expected.values())) < 0.95


def test_ties_range_over_all_orders() -> None:
    """Confidences of one decimal: whatever order the samples come in, the number lies in the range, and it moves."""
    predictions, truth = generate_maps(30, seed=8)
    rounded = [[(kind, points, round(c, 1)) for kind, points, c in own] for own in predictions]
    ranges = evaluate(rounded, truth).tie_ranges()
    rng = np.random.default_rng(1)
    values = []
    for _ in range(5):
        order = rng.permutation(len(rounded))
        shuffled = [[rounded[i][k] for k in rng.permutation(len(rounded[i]))] for i in order]
        result = evaluate(shuffled, [truth[i] for i in order])
        for name, ends in result.tie_ranges().items():
            assert ends == pytest.approx(ranges[name])
        for metric in result.metrics("d"):
            low, high = ranges[metric.name]
            assert metric.value is not None
            assert low - 1e-9 <= metric.value <= high + 1e-9
        values.append(result.metrics("d")[0].value)
    assert len(set(values)) > 1
    untied = evaluate(predictions, truth)
    for metric in untied.metrics("d"):
        assert untied.tie_ranges()[metric.name] == pytest.approx((metric.value, metric.value))


def test_records_and_ground_truth_must_be_of_the_same_samples(data: NuScenes, tokens: list[str]) -> None:
    samples = {token: data.sample(token) for token in tokens}
    truth = {token: sample_vectors(data.root / "maps", data.location(token), samples[token]) for token in tokens}
    records = [truth_record(data, token) for token in tokens]
    with pytest.raises(RecordError, match=f"no record of 1 of {len(tokens)} samples, such as {tokens[0]}"):
        evaluate_map(records[1:], truth, samples)
    with pytest.raises(RecordError, match=f"sample {tokens[0]} has two records"):
        evaluate_map([records[0], *records], truth, samples)
    del truth[tokens[0]]
    with pytest.raises(RecordError, match=f"sample {tokens[0]} is not among the samples evaluated"):
        evaluate_map(records, truth, samples)


odd_coordinates = st.tuples(st.sampled_from([-10.0, 0.0, 0.5, 1e-9, 3.0]), st.sampled_from([0.0, 1.5, 29.0]))
odd_lines = st.one_of(
    odd_coordinates.map(lambda point: [point, point]),
    st.lists(odd_coordinates, min_size=2, max_size=5).map(lambda points: [*points, points[0]]),
    st.lists(odd_coordinates, min_size=2, max_size=5),
)
odd_elements = st.lists(st.tuples(st.sampled_from(CLASSES), odd_lines.map(lambda points: np.array(points))), max_size=4)
odd_predictions = st.lists(
    st.tuples(
        st.sampled_from(CLASSES), odd_lines.map(lambda points: np.array(points)), st.sampled_from([0.0, 0.5, 1.0])
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(odd_predictions, odd_elements), min_size=1, max_size=3), st.sampled_from([CHAMFER, IOU]))
def test_degenerate_elements_follow_the_formula(
    samples: list[tuple[list[tuple[str, Points, float]], list[tuple[str, Points]]]], protocol: MapProtocol
) -> None:
    """No predictions, no ground truth, one class absent, duplicates, no length, closed, confidence 0 and 1, ties."""
    predictions, truth = [found for found, _ in samples], [there for _, there in samples]
    result = evaluate(predictions, truth, protocol)
    expected = plain_map_ap(predictions, truth, protocol.classes, protocol.thresholds, iou=protocol is IOU)
    ours = {(name, t): curve.ap for name, curves in result.curves.items() for t, curve in curves.items()}
    assert ours == pytest.approx(expected, abs=1e-6)
    for name, curves in result.curves.items():
        for curve in curves.values():
            assert curve.ap_low - 1e-7 <= curve.ap <= curve.ap_high + 1e-7, name


@pytest.mark.full
@pytest.mark.parametrize("protocol", [CHAMFER, IOU], ids=lambda one: one.name)
@pytest.mark.parametrize("shapely_version", [1, 2])
def test_equal_to_maptr_itself(protocol: MapProtocol, shapely_version: int, tmp_path: Path) -> None:
    """With shapely 1 in an environment of its own, and with shapely 2 in this one; tied scores stay in the range."""
    checkout = checkout_or_skip("MapTR")
    python: str | Path = sys.executable
    if shapely_version == 1:
        try:
            python = ensure_official(find_layout(), "maptr", say=print).python
        except EnvError as error:
            pytest.skip(f"MapTR's evaluator cannot be installed: {error}")
    predictions, truth = generate_maps(25, seed=11)
    expected = run_maptr(predictions, truth, protocol, python=python, checkout=checkout, folder=tmp_path)
    assert expected.shapely.startswith(f"{shapely_version}.")
    result = evaluate(predictions, truth, protocol)
    for name, curves in result.curves.items():
        for threshold, curve in curves.items():
            assert curve.ap == pytest.approx(expected.ap[name][str(threshold)], abs=1e-6)
    rounded = [[(kind, points, round(c, 1)) for kind, points, c in own] for own in predictions]
    tied = run_maptr(rounded, truth, protocol, python=python, checkout=checkout, folder=tmp_path)
    for name, curves in evaluate(rounded, truth, protocol).curves.items():
        for threshold, curve in curves.items():
            assert curve.ap_low - 1e-6 <= tied.ap[name][str(threshold)] <= curve.ap_high + 1e-6
