"""Whether a picture shows a car against the plain definitions, and numbers of cars without boxes."""

from __future__ import annotations

import numpy as np
import pytest

from admlops.evaluation.car_presence.scores import evaluate_presence
from admlops.evaluation.detection_2d.car_counts import evaluate_counts


def plain_ap(scores: list[float], truth: list[bool]) -> float:
    """The sum over distinct scores of precision times what recall gains."""
    total, before = 0.0, 0.0
    for cut in sorted(set(scores), reverse=True):
        kept = [there for score, there in zip(scores, truth, strict=True) if score >= cut]
        recall = sum(kept) / sum(truth)
        total += (recall - before) * sum(kept) / len(kept)
        before = recall
    return total


def plain_auc(scores: list[float], truth: list[bool]) -> float:
    """The share of pairs that are in order; equal scores count half."""
    pairs = [
        (a > b) + (a == b) / 2
        for a, has in zip(scores, truth, strict=True)
        if has
        for b, other in zip(scores, truth, strict=True)
        if not other
    ]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize("seed", range(20))
def test_equal_to_the_plain_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(4, 60))
    truth = rng.uniform(size=count) < 0.5
    truth[:2] = True, False
    scores = (rng.uniform(size=count) + 0.3 * truth).round(1 if seed % 2 else 9)
    result = evaluate_presence(scores, truth, threshold=0.6)
    listed = scores.tolist(), truth.tolist()
    assert result.values["AP"] == pytest.approx(plain_ap(*listed), abs=1e-12)
    assert result.values["ROC_AUC"] == pytest.approx(plain_auc(*listed), abs=1e-12)
    right = int((truth & (scores >= 0.6)).sum())
    assert result.values["F1"] == pytest.approx(2 * right / ((scores >= 0.6).sum() + truth.sum()), abs=1e-12)
    best = max(2 * (truth & (scores >= cut)).sum() / ((scores >= cut).sum() + truth.sum()) for cut in scores)
    assert result.values["best_F1"] == pytest.approx(best, abs=1e-12)
    twice = np.array([[2] * count], np.int32)
    drawn = result.resample(np.arange(count), twice)
    assert {name: own[0] for name, own in drawn.items()} == pytest.approx(dict(result.values), abs=1e-12)


def test_pictures_of_one_kind_have_no_roc() -> None:
    result = evaluate_presence(np.array([0.2, 0.9]), np.array([True, True]), threshold=None)
    assert result.values["ROC_AUC"] is None
    assert result.values["F1"] is None
    reasons = result.details()["not_applicable"]
    assert reasons["ROC_AUC"] == "every picture shows a car"
    assert "declares no operating threshold" in reasons["F1"]
    assert evaluate_presence(np.array([0.2]), np.array([False]), threshold=0.5).values["AP"] is None


def test_a_number_alone_bounds_f1() -> None:
    result = evaluate_counts(np.array([[3, 3], [0, 2], [4, 1]]), threshold=0.35)
    assert result.values == pytest.approx(
        {"count_score": (1 + 0 + 0.25) / 3, "count_error": 5 / 3, "F1_bound": 2 * (3 + 0 + 1) / (7 + 6)}
    )
    assert result.details() == {"operating_threshold": 0.35, "there": 7, "found": 6}
    undeclared = evaluate_counts(np.array([[3, 0]]), threshold=None)
    assert set(undeclared.values.values()) == {None}
    assert "operating_threshold" in undeclared.details()["not_applicable"]["F1_bound"]
