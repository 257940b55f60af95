"""What was right and wrong in a sample."""

from __future__ import annotations

import msgspec
import numpy as np

from admlops.datasets.nuscenes.tables import GroundTruthBox
from admlops.evaluation.detection_3d.error_analysis import match_sample
from admlops.evaluation.error_analysis import (
    DEFAULT_CONFIDENCE,
    ClassMatch,
    MatchedRun,
    TaskErrors,
    choose_confidences,
    find_errors,
    rank_samples,
)
from admlops.results.record import Box3D, Detection3D

RANGE = {"car": 50.0, "pedestrian": 40.0}


def truth(token: str, x: float, y: float = 0.0, name: str = "car", points: int = 5) -> GroundTruthBox:
    return GroundTruthBox(
        token=token,
        class_name=name,
        center=(x, y, 0.0),
        size_wlh=(2.0, 4.0, 1.5),
        rotation_wxyz=(1.0, 0.0, 0.0, 0.0),
        velocity=None,
        num_lidar_pts=points,
        num_radar_pts=0,
        visibility="4",
        attribute="",
    )


def found(id_: int, x: float, confidence: float, name: str = "car") -> Detection3D:
    box = Box3D(center=(x, 0.0, 0.0), size_wlh=(2.0, 4.0, 1.5), rotation_wxyz=(1.0, 0.0, 0.0, 0.0))
    return Detection3D(id=id_, class_name=name, confidence=confidence, bbox_3d=box)


def test_the_most_confident_takes_the_nearest() -> None:
    """Box 1 takes a; box 0, nearer to a, is left with b, which is 1.5 m away."""
    matches = match_sample([found(0, 10.1, 0.5), found(1, 10.4, 0.9)], [truth("a", 10.0), truth("b", 11.6)], RANGE)
    assert matches["car"].partners.tolist() == [1, 0]


def test_distance_class_range_and_points_decide() -> None:
    there = [truth("a", 10.0), truth("far", 50.0), truth("unseen", 20.0, points=0), truth("p", 30.0, name="pedestrian")]
    detections = [found(0, 12.0, 0.9), found(1, 51.0, 0.9), found(2, 20.0, 0.9), found(3, 30.0, 0.9)]
    matches = match_sample(detections, there, RANGE)
    assert matches["car"].truth == ("a",)
    assert matches["car"].ids == (0, 2, 3)
    assert matches["car"].partners.tolist() == [-1, -1, -1]  # 2.0 m is not within 2 m
    verdict = find_errors(matches, {"car": 0.5, "pedestrian": 0.5})
    assert verdict == TaskErrors(matched=(), missed=("a", "p"), false_alarms=(0, 2, 3))


def matches(*pairs: tuple[float, int], truth_count: int) -> ClassMatch:
    return ClassMatch(
        confidences=np.array([confidence for confidence, _ in pairs]),
        ids=tuple(range(len(pairs))),
        partners=np.array([partner for _, partner in pairs], dtype=np.intp),
        truth=tuple(range(truth_count)),
    )


def test_the_cutoff_has_the_largest_f1() -> None:
    """Three hits above 0.6 of four; below come six false alarms and the last hit."""
    sample = matches((0.9, 0), (0.8, 1), (0.6, 2), *((0.5, -1),) * 6, (0.1, 3), truth_count=4)
    assert choose_confidences([{"car": sample}]) == {"car": 0.6}
    assert find_errors({"car": sample}, {"car": 0.6}) == TaskErrors(matched=(0, 1, 2), missed=(3,), false_alarms=())


def test_equal_confidences_stand_or_fall_together() -> None:
    sample = matches((0.5, 0), *((0.5, -1),) * 3, (0.4, 1), truth_count=2)
    assert choose_confidences([{"car": sample}])["car"] == 0.4
    only = matches((0.5, 0), *((0.5, -1),) * 9, truth_count=1)
    assert find_errors({"car": only}, choose_confidences([{"car": only}])).false_alarms == tuple(range(1, 10))


def test_a_class_that_is_never_found_gets_the_default() -> None:
    sample = matches((0.9, -1), (0.3, -1), truth_count=1)
    cutoffs = choose_confidences([{"car": sample}])
    assert cutoffs == {"car": DEFAULT_CONFIDENCE}
    assert find_errors({"car": sample}, cutoffs) == TaskErrors(matched=(), missed=(0,), false_alarms=(0,))
    assert choose_confidences([]) == {}


def run_of(*samples: tuple[int, int]) -> MatchedRun:
    """Samples with so many missed and so many wrong outputs, and one that is right."""
    found = [{"car": matches((0.9, 0), *((0.9, -1),) * wrong, truth_count=1 + missed)} for missed, wrong in samples]
    return MatchedRun(found, np.ones(len(found), np.bool_))


def test_the_samples_with_most_errors_come_first_and_flawless_ones_not_at_all() -> None:
    names = [(token, "s") for token in "abcde"]
    boxes = run_of((1, 0), (2, 0), (0, 0), (1, 0), (5, 0))
    elements = run_of((0, 0), (0, 3), (0, 0), (0, 0), (0, 0))
    ordered = rank_samples(names, {"": boxes, "map_": elements}, limit=3)
    assert [entry.sample_token for entry in ordered] == ["b", "e", "a"]
    shape = ordered[0].to_json()
    assert (shape["cost"], shape["misses"], shape["map_false_alarms"]) == (5, 2, 3)
    assert (shape["missed"], shape["matched"], shape["map_false_alarm_ids"]) == ([1, 2], [0], [1, 2, 3])
    assert msgspec.json.decode(msgspec.json.encode(shape)) == shape
    assert "misses" not in rank_samples(names, {"map_": elements}, limit=1)[0].to_json()


def test_a_failed_sample_has_no_errors() -> None:
    found = [{"car": matches(truth_count=4)}, {"car": matches((0.9, -1), truth_count=1)}]
    run = MatchedRun(found, np.array([False, True]))
    assert run.counts.tolist() == [0, 2]
    assert [entry.sample_token for entry in rank_samples([("x", "s"), ("y", "s")], {"": run}, limit=5)] == ["y"]
