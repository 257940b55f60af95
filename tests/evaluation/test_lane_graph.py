"""OpenLane-V2's metrics against the plain formula and the official devkits, and what ties and odd frames do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.evaluation.generated_lanes import generate_lanes
from tests.evaluation.plain_lane_scores import plain_lane_scores

from admlops.core.errors import EnvError, RecordError
from admlops.core.paths import find_layout
from admlops.environments import ensure_official
from admlops.evaluation.lane_graph.lanes import LanePrediction, LaneTruth, pair_frames, prediction_of
from admlops.evaluation.lane_graph.matching import frechet
from admlops.evaluation.lane_graph.official_files import OFFICIAL_NAMES, official_lane_graphs
from admlops.evaluation.lane_graph.protocols import OPENLANE_1_0, OPENLANE_1_1, PROTOCOLS
from admlops.evaluation.lane_graph.scores import evaluate_lane_graphs
from admlops.results.record import Lane, LaneGraph, Metadata, Outputs, Record, TrafficElement
from admlops.results.record_json import make_record

Frames = list[tuple[LaneTruth, LanePrediction]]


def small_frames(count: int, *, seed: int, decimals: int | None = None) -> Frames:
    return list(generate_lanes(count, seed=seed, lanes=60, elements=25, decimals=decimals))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equal_to_the_plain_formula(protocol: str) -> None:
    frames = small_frames(5, seed=2)
    result = evaluate_lane_graphs(frames, protocol=protocol)
    expected = plain_lane_scores(frames, old=protocol == OPENLANE_1_0)
    assert dict(result.values) == pytest.approx(expected, abs=1e-6)
    assert all(0.005 < value < 0.9 for value in expected.values())
    for name, (low, high) in result.tie_ranges.items():
        assert low == pytest.approx(result.values[name])
        assert high == pytest.approx(result.values[name])
    assert {(m.name, m.protocol, m.n) for m in result.metrics("d")} == {(name, protocol, 5) for name in expected}


def test_the_protocols_differ_in_the_topology_alone() -> None:
    frames = small_frames(5, seed=3)
    old, new = (evaluate_lane_graphs(frames, protocol=protocol).values for protocol in PROTOCOLS)
    assert (old["DET_l"], old["DET_t"]) == (new["DET_l"], new["DET_t"])
    assert old["TOP_ll"] < new["TOP_ll"] - 0.01
    assert old["TOP_lt"] < new["TOP_lt"] - 0.01


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_order_of_ties_lies_in_the_range(protocol: str) -> None:
    frames = small_frames(6, seed=4, decimals=1)
    result = evaluate_lane_graphs(frames, protocol=protocol)
    rng = np.random.default_rng(0)
    orders = [[_shuffled(frame, rng) for frame in frames] for _ in range(4)]
    seen = [evaluate_lane_graphs(order, protocol=protocol) for order in orders]
    for other in seen:
        for name, (low, high) in result.tie_ranges.items():
            assert low - 1e-9 <= other.values[name] <= high + 1e-9, name
    assert len({other.values["OLS"] for other in seen}) > 1
    det = [result.tie_ranges["DET_l"], *(other.tie_ranges["DET_l"] for other in seen)]
    assert all(ends == pytest.approx(det[0]) for ends in det)


def _shuffled(frame: tuple[LaneTruth, LanePrediction], rng: np.random.Generator) -> tuple[LaneTruth, LanePrediction]:
    truth, found = frame
    lanes, elements = rng.permutation(len(found.lanes)), rng.permutation(len(found.elements))
    mixed = LanePrediction(
        lanes=np.asarray(found.lanes)[lanes],
        elements=found.elements[elements],
        attributes=found.attributes[elements],
        lane_to_lane=np.asarray(found.lane_to_lane)[np.ix_(lanes, lanes)],
        lane_to_traffic=np.asarray(found.lane_to_traffic)[np.ix_(lanes, elements)],
        lane_confidences=found.lane_confidences[lanes],
        element_confidences=found.element_confidences[elements],
    )
    return truth, mixed


def line(y: float, count: int = 11, length: float = 20.0) -> NDArray[np.float64]:
    return np.stack([np.linspace(0, length, count), np.full(count, y), np.zeros(count)], axis=1)


def truth_of(*lanes: NDArray[np.float64], edges: list[tuple[int, int]] | None = None) -> LaneTruth:
    matrix = np.zeros((len(lanes), len(lanes)), np.int8)
    for i, j in edges or ():
        matrix[i, j] = 1
    return LaneTruth(
        lanes=lanes,
        elements=np.zeros((0, 4)),
        attributes=np.zeros(0, np.intp),
        lane_to_lane=matrix,
        lane_to_traffic=np.zeros((len(lanes), 0), np.int8),
    )


def found_of(*lanes: NDArray[np.float64], edges: float = 0.0) -> LanePrediction:
    return LanePrediction(
        **vars(truth_of(*lanes)) | {"lane_to_lane": np.full((len(lanes), len(lanes)), edges)},
        lane_confidences=np.linspace(0.9, 0.5, len(lanes)),
        element_confidences=np.zeros(0),
    )


def test_by_hand() -> None:
    """Two lanes 5 m apart; found 0.5 m beside, and nothing else: half the recall at every threshold, 6 of 11 points."""
    truth = truth_of(line(0.0), line(5.0), edges=[(0, 1)])
    result = evaluate_lane_graphs([(truth, found_of(line(0.5)))])
    assert result.lane_ap == pytest.approx({1.0: 6 / 11, 2.0: 6 / 11, 3.0: 6 / 11})
    # No attribute on either side: 13 times 1. Where a lane was not taken, an edge that is there is missed, and one that
    # is not is false: no vertex has a right edge, and each has a false one or misses one.
    assert result.values["DET_t"] == 1.0
    assert result.values["TOP_ll"] == pytest.approx(0.0)
    assert result.values["TOP_lt"] == 0.0


def test_a_distance_shrinks_with_the_distance_from_the_vehicle() -> None:
    """1.1 m beside a lane that is 40 m away at its nearest: 1.1 · (1 - 0.005 · 40) = 0.88 m, below 1 m."""
    near, far = line(0.0), line(0.0) + np.array([40.0, 0.0, 0.0])
    for lane, expected in ((near, 0.0), (far, 1.0)):
        result = evaluate_lane_graphs([(truth_of(lane), found_of(lane + np.array([0.0, 1.1, 0.0])))])
        assert result.lane_ap[1.0] == pytest.approx(expected)


def test_the_distance_has_a_direction_and_lanes_any_number_of_points() -> None:
    a, b = line(0.0), line(1.0)
    np.testing.assert_allclose(
        frechet([a, a, a], [b, b[::-1], line(1.0, count=3)]), [1.0, np.hypot(20, 1), np.hypot(4, 1)]
    )
    assert frechet([a[:1]], [a[-1:]])[0] == pytest.approx(20.0)


points = st.tuples(*[st.sampled_from([-1.0, 0.0, 0.5, 4.0])] * 3)
lane_lists: st.SearchStrategy[Any] = st.lists(st.lists(points, min_size=1, max_size=3).map(np.array), max_size=4)
box_lists = st.lists(st.sampled_from([(0, 0, 4, 4), (1, 0, 5, 4), (0, 0, 40, 40)]), max_size=3)
shares = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def odd_frames(draw: Callable[..., Any]) -> tuple[LaneTruth, LanePrediction]:
    """Lanes of one point, closed ones, ones without length, duplicates; nothing on one side or both; ties, 0 and 1."""
    sides: list[dict[str, Any]] = []
    edges: list[st.SearchStrategy[Any]] = [st.sampled_from([0, 1]), shares]
    for edge in edges:
        lanes, boxes = draw(lane_lists), draw(box_lists)
        sides.append(
            {
                "lanes": lanes,
                "elements": np.array(boxes, dtype=float).reshape(-1, 4),
                "attributes": np.array(
                    draw(st.lists(st.integers(0, 2), min_size=len(boxes), max_size=len(boxes))), int
                ),
                "lane_to_lane": _drawn(draw, edge, len(lanes), len(lanes)),
                "lane_to_traffic": _drawn(draw, edge, len(lanes), len(boxes)),
            }
        )
    truth, found = sides
    # Each confidence once: the plain way knows no range.
    confidences = {
        "lane_confidences": np.array(draw(st.permutations([1.0, 0.0, 0.5, 0.25])))[: len(found["lanes"])],
        "element_confidences": np.array(draw(st.permutations([1.0, 0.0, 0.5])))[: len(found["elements"])],
    }
    return LaneTruth(**truth), LanePrediction(**found, **confidences)


def _drawn(draw: Callable[..., Any], edge: st.SearchStrategy[Any], rows: int, columns: int) -> NDArray[np.generic]:
    values = draw(st.lists(edge, min_size=rows * columns, max_size=rows * columns))
    return np.array(values).reshape(rows, columns) if rows * columns else np.zeros((rows, columns))


@settings(max_examples=80, deadline=None)
@given(st.lists(odd_frames(), min_size=1, max_size=3), st.sampled_from(PROTOCOLS))
def test_degenerate_frames_follow_the_formula(frames: Frames, protocol: str) -> None:
    result = evaluate_lane_graphs(frames, protocol=protocol)
    expected = plain_lane_scores(frames, old=protocol == OPENLANE_1_0)
    for name in ("DET_l", "DET_t"):
        assert result.values[name] == pytest.approx(expected[name], abs=1e-6)
    for name, value in expected.items():  # edges may tie, so the topology may differ within its range
        low, high = result.tie_ranges[name]
        assert low - 1e-6 <= value <= high + 1e-6, name


def test_frames_may_come_from_anywhere_once() -> None:
    """The generator is read once, in chunks, and the order of frames does not matter without ties."""
    frames = small_frames(3, seed=6)
    assert evaluate_lane_graphs(iter(frames)).values == pytest.approx(evaluate_lane_graphs(frames[::-1]).values)
    assert evaluate_lane_graphs([]).values["DET_t"] == 1.0
    with pytest.raises(ValueError, match=r"openlanev2\.1\.0, openlanev2\.1\.1"):
        evaluate_lane_graphs(frames, protocol="openlanev2.2.0")


def record_of(token: str, found: LanePrediction | None) -> Record:
    metadata = Metadata(
        model_name="TopoMLP",
        variant="r50",
        run="lanes-1",
        sample_token=token,
        scene="s",
        index_in_scene=0,
        status="ok" if found else "failed",
    )
    if found is None:
        return make_record(metadata, Outputs())
    graph = LaneGraph(
        lanes=[
            Lane(id=i, points=[(float(x), float(y), float(z)) for x, y, z in lane], confidence=float(confidence))
            for i, (lane, confidence) in enumerate(zip(found.lanes, found.lane_confidences, strict=True))
        ],
        traffic_elements=[
            TrafficElement(
                id=i,
                attribute=int(kind),
                bbox_xyxy=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                confidence=float(confidence),
            )
            for i, (box, kind, confidence) in enumerate(
                zip(found.elements, found.attributes, found.element_confidences, strict=True)
            )
        ],
        lane_to_lane=np.asarray(found.lane_to_lane, float).tolist(),
        lane_to_traffic=np.asarray(found.lane_to_traffic, float).tolist(),
    )
    return make_record(metadata, Outputs(lane_graph=graph))


def test_records_are_the_same_as_arrays() -> None:
    frames = small_frames(3, seed=7)
    truths = {f"frame-{index}": truth for index, (truth, _) in enumerate(frames)}
    records = [record_of(f"frame-{index}", found) for index, (_, found) in enumerate(frames)]
    records = [msgspec.json.decode(msgspec.json.encode(record), type=Record) for record in records]
    ours = evaluate_lane_graphs(pair_frames(truths, records))
    assert ours.values == pytest.approx(evaluate_lane_graphs(frames).values, abs=1e-6)
    failed = evaluate_lane_graphs(pair_frames(truths, [record_of(token, None) for token in truths]))
    assert failed.values["DET_l"] == 0.0
    assert len(prediction_of(records[0]).lanes) == 60


def test_records_and_frames_must_be_the_same() -> None:
    truths = {token: truth_of(line(0.0)) for token in ("a", "b")}
    for tokens, said in (
        (["a"], "no record of 1 of 2 frames, such as b"),
        (["a", "a", "b"], "frame a has two records"),
        (["a", "b", "c"], "frame c is not among the frames evaluated"),
    ):
        with pytest.raises(RecordError, match=said):
            evaluate_lane_graphs(pair_frames(truths, [record_of(token, None) for token in tokens]))


@pytest.mark.full
@pytest.mark.parametrize("decimals", [None, 1], ids=["untied", "tied"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equal_to_the_official_devkit(protocol: str, decimals: int | None, tmp_path: Path) -> None:
    layout = find_layout()
    try:
        environment = ensure_official(layout, OFFICIAL_NAMES[protocol], say=print)
    except EnvError as error:
        pytest.skip(f"the official devkit cannot be installed: {error}")
    frames = list(generate_lanes(6, seed=9, lanes=150, elements=60, decimals=decimals))
    official = official_lane_graphs(frames, protocol=protocol, environment=environment, layout=layout, folder=tmp_path)
    ours = evaluate_lane_graphs(frames, protocol=protocol)
    for name, value in ours.values.items():
        low, high = ours.tie_ranges[name]
        assert low - 1e-6 <= official[name] <= high + 1e-6, name
        if decimals is None:
            assert value == pytest.approx(official[name], abs=1e-6)
    if protocol == OPENLANE_1_1 and decimals is None:
        other = evaluate_lane_graphs(frames, protocol=OPENLANE_1_0)
        assert other.values["TOP_ll"] != pytest.approx(official["TOP_ll"], abs=1e-3)
