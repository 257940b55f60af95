"""Verdicts: who wins, what is a tie, what nobody can decide, and what does not compare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from admlops.core.errors import UsageError
from admlops.evaluation.detection_2d.car_detection import evaluate_cars
from admlops.evaluation.detection_2d.protocols import CAR
from admlops.evaluation.detection_2d.scores import ImagePrediction, ImageTruth
from admlops.evaluation.statistics.battle import Judgement, Side, judge_resource, judge_score, judge_times
from admlops.evaluation.statistics.bootstrap import resample_scenes
from admlops.evaluation.statistics.paired_bootstrap import EvaluatedRun

NAMES = ("first", "second")
Pairs = list[tuple[ImageTruth, ImagePrediction]]


def pictures(count: int, *, found: float, seed: int = 0, noise: int = 1) -> Pairs:
    """Pictures with three cars, of which a detector finds a share, and false alarms."""
    there = np.random.default_rng(seed)
    rng = np.random.default_rng(noise)
    pairs = []
    for _ in range(count):
        low = there.uniform(0, 800, (3, 2))
        boxes = np.concatenate([low, low + there.uniform(30, 90, (3, 2))], axis=1)
        seen = boxes[rng.uniform(size=3) < found]
        false = rng.uniform(900, 1200, (int(rng.poisson(0.3)), 2))
        everything = np.concatenate([seen, np.hstack([false, false + 40])])
        pairs.append(
            (
                ImageTruth(boxes=boxes, classes=["car"] * 3),
                ImagePrediction(
                    boxes=everything,
                    classes=["car"] * len(everything),
                    confidences=rng.uniform(0.4, 1, len(everything)),
                ),
            )
        )
    return pairs


def evaluated(name: str, pairs: Pairs, *, dataset: str = "d" * 64, threshold: float | None = 0.35) -> EvaluatedRun:
    result = evaluate_cars(pairs, CAR, threshold=threshold)
    resampling = resample_scenes(len(pairs))
    scenes = np.arange(len(pairs))
    values = {} if resampling.weights is None else result.resample(scenes, resampling.weights)
    return EvaluatedRun(
        name=name,
        model=name,
        metrics=tuple(result.metrics(dataset)),
        resamples={(result.protocol, metric): own for metric, own in values.items()},
        reason=resampling.reason,
    )


def judge(a: EvaluatedRun, b: EvaluatedRun, metric: str = "AP50") -> Judgement:
    return judge_score(NAMES, (a, b), "car_detection.car-iou0.5", metric)


def test_the_better_one_wins_from_either_side() -> None:
    good, bad = pictures(60, found=0.9), pictures(60, found=0.5, noise=2)
    one, other = evaluated("first", good), evaluated("second", bad)
    answer = judge(one, other)
    assert (answer.verdict, answer.winner) == ("winner", "first")
    assert answer.interval is not None
    assert answer.interval[1] < 0
    assert (judge(other, one).verdict, judge(other, one).winner) == ("winner", "second")
    # Of a number of which less is better the smaller one wins.
    fewer = judge(one, other, "count_error")
    assert (fewer.verdict, fewer.winner, fewer.higher_is_better) == ("winner", "first", False)


def test_equal_models_tie() -> None:
    run = evaluated("first", pictures(40, found=0.8))
    answer = judge(run, replace(run, name="second"))
    assert (answer.verdict, answer.winner, answer.difference) == ("tie", None, 0.0)
    assert answer.interval == (0.0, 0.0)


def test_nearly_equal_models_tie_although_one_value_is_higher() -> None:
    one, other = (evaluated(name, pictures(40, found=0.8, noise=n)) for name, n in (("first", 1), ("second", 2)))
    answer = judge(one, other)
    assert answer.difference != 0
    assert answer.verdict == "tie"
    assert "holds 0" in answer.reason


def test_the_order_of_the_pictures_does_not_change_the_verdict() -> None:
    good, bad = pictures(60, found=0.9), pictures(60, found=0.6, noise=2)
    order = np.random.default_rng(5).permutation(60)
    plain = judge(evaluated("first", good), evaluated("second", bad))
    mixed = judge(evaluated("first", [good[i] for i in order]), evaluated("second", [bad[i] for i in order]))
    assert (mixed.verdict, mixed.winner) == (plain.verdict, plain.winner) == ("winner", "first")
    assert mixed.difference == pytest.approx(plain.difference)
    assert mixed.interval == pytest.approx(plain.interval, abs=0.05)


def test_three_pictures_decide_nothing() -> None:
    one, other = evaluated("first", pictures(3, found=1.0)), evaluated("second", pictures(3, found=0.1, noise=2))
    answer = judge(one, other)
    assert (answer.verdict, answer.winner, answer.interval) == ("not decided", None, None)
    assert "3, at least 10 are needed" in answer.reason
    assert answer.difference is not None


def test_other_pictures_do_not_compare() -> None:
    one = evaluated("first", pictures(20, found=0.9))
    other = evaluated("second", pictures(20, found=0.9), dataset="e" * 64)
    answer = judge(one, other)
    assert (answer.verdict, answer.winner) == ("not comparable", None)
    assert "their data differ" in answer.reason


def test_other_ground_truth_does_not_compare() -> None:
    one = evaluated("first", pictures(20, found=0.9))
    other = replace(one, metrics=tuple(replace(metric, protocol=f"{metric.protocol}@0123") for metric in one.metrics))
    answer = judge_score(NAMES, (one, other), "car_detection.car-iou0.5", "AP50")
    assert answer.verdict == "not comparable"
    assert "their protocols differ" in answer.reason


def test_random_weights_and_numbers_that_are_not_defined_do_not_compare() -> None:
    one = evaluated("first", pictures(20, found=0.9))
    random = replace(one, metrics=tuple(replace(metric, weights="random:0") for metric in one.metrics))
    assert "random weights" in judge(one, random).reason
    undeclared = evaluated("second", pictures(20, found=0.9), threshold=None)
    answer = judge(one, undeclared, "F1")
    assert (answer.verdict, answer.reason) == ("not comparable", "F1 is not defined for second")


def test_a_metric_that_neither_has_is_refused_with_those_that_both_have() -> None:
    run = evaluated("first", pictures(12, found=0.9))
    with pytest.raises(UsageError, match="neither first nor second has NDS") as caught:
        judge(run, run, "NDS")
    assert "car_detection.car-iou0.5/AP50" in caught.value.hint


ALIKE = {"device": "cpu", "precision": "float32", "batch": "1"}


def side(name: str, value: float | None, **other: str | None) -> Side:
    return Side(name=name, value=value, conditions={**ALIKE, **other})


@pytest.mark.parametrize(
    ("a", "b", "verdict", "winner", "reason"),
    [
        (side("first", 100.0), side("second", 50.0), "winner", "second", "50% less than first"),
        (side("first", 100.0), side("second", 96.0), "tie", None, "differ by 4.0%"),
        (side("first", 0.0), side("second", 0.0), "tie", None, "0.0%"),
        (side("first", 1.0), side("second", 9.0, batch="8"), "not comparable", None, "different batch: 1 and 8"),
        (side("first", 1.0), side("second", 9.0, device="H200"), "not comparable", None, "different device"),
        (side("first", 1.0), side("second", 9.0, precision=None), "not comparable", None, "precision of second is not"),
        (side("first", None), side("second", 9.0), "not decided", None, "first: not measured"),
    ],
)
def test_resources(a: Side, b: Side, verdict: str, winner: str | None, reason: str) -> None:
    answer = judge_resource("energy", "energy", "J/sample", a, b)
    assert (answer.verdict, answer.winner) == (verdict, winner)
    assert reason in answer.reason


def test_speed() -> None:
    rng = np.random.default_rng(0)
    slow, fast = rng.normal(0.030, 0.003, 50), rng.normal(0.020, 0.003, 50)
    sides = side("first", None), side("second", None)
    answer = judge_times(*sides, list(zip(slow, fast, strict=True)))
    assert (answer.verdict, answer.winner, answer.n) == ("winner", "second", 50)
    assert answer.a == pytest.approx(slow.mean() * 1e3)
    same = judge_times(*sides, list(zip(slow, slow * 1.02, strict=True)))
    assert (same.verdict, same.winner) == ("tie", None)
    assert "2.0%" in same.reason
    few = judge_times(*sides, [(0.03, 0.02)] * 9)
    assert (few.verdict, "9, at least 10" in few.reason) == ("not decided", True)
    unlike = judge_times(sides[0], side("second", None, device="H200"), [(0.03, 0.02)] * 20)
    assert unlike.verdict == "not comparable"
