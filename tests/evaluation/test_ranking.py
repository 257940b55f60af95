"""Rankings and radar axes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from admlops.core.errors import ComparabilityError
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.ranking import radar_axes, rank, rankings

MAP = Metric(name="mAP", protocol="p", value=0.4, n=81, dataset="d")


def test_scores_rank_from_the_top_and_errors_from_the_bottom() -> None:
    ranked = rank({"a": MAP, "b": replace(MAP, value=0.6), "c": replace(MAP, value=0.5)})
    assert [place.model for place in ranked.places] == ["b", "c", "a"]
    error = replace(MAP, name="mATE")
    ranked = rank({"a": error, "b": replace(error, value=0.6)})
    assert [place.model for place in ranked.places] == ["a", "b"]


def test_equal_values_share_a_place_and_undefined_ones_have_none() -> None:
    ranked = rank({"b": MAP, "a": MAP, "c": replace(MAP, value=0.1), "d": replace(MAP, value=None)})
    assert [(place.place, place.model) for place in ranked.places] == [(1, "a"), (1, "b"), (3, "c")]


def test_other_protocols_and_data_are_refused() -> None:
    for other in (replace(MAP, protocol="q"), replace(MAP, dataset="e")):
        with pytest.raises(ComparabilityError):
            rank({"a": MAP, "b": other})


def test_speeds_of_different_precision_are_not_ranked_against_each_other() -> None:
    speed = replace(MAP, name="FPS", device="NVIDIA H200", precision="float32")
    half = replace(speed, precision="half, TF32 convolutions")
    assert len(rank({"a": speed, "b": speed}).places) == 2
    assert [len(ranking.places) for ranking in rankings({"a": [speed], "b": [half]})] == [1, 1]
    with pytest.raises(ComparabilityError, match="precisions differ, float32 and half, TF32 convolutions"):
        rank({"a": speed, "b": half})
    assert Metric.from_json(half.to_json(), dataset="d") == half


def test_rankings_group_what_is_comparable() -> None:
    found = rankings(
        {"a": [MAP, replace(MAP, name="NDS")], "b": [replace(MAP, protocol="q"), replace(MAP, name="NDS")]}
    )
    assert [(r.name, r.protocol, len(r.places)) for r in found] == [("mAP", "p", 1), ("NDS", "p", 2), ("mAP", "q", 1)]


def test_axes_run_from_zero_to_one() -> None:
    error, rate = replace(MAP, name="mATE", value=1.4), replace(MAP, name="FPS", value=20.0, device="cpu")
    axes = {
        axis.name: axis
        for axis in radar_axes(
            {
                "a": [MAP, error, rate],
                "b": [replace(MAP, value=0.9), replace(error, value=0.3), replace(rate, value=5.0)],
            },
            anchors={("p", "mAP"): 0.8},
        )
    }
    assert axes["mAP"].values == {"b": 1.0, "a": pytest.approx(0.5)}
    assert axes["mATE"].values == {"a": 0.0, "b": pytest.approx(0.7)}
    assert axes["FPS"].values == {"a": 1.0, "b": 0.25}
    assert radar_axes({"a": [MAP]})[0].values == {"a": 0.4}
    assert radar_axes({"a": [replace(MAP, value=None)]}) == []


def test_random_weights_have_no_place() -> None:
    trained = MAP
    drawn = replace(trained, value=0.9, weights="random:0")
    (ranking,) = rankings({"A": [trained], "B": [drawn]})
    assert [place.model for place in ranking.places] == ["A"]
    assert rankings({"B": [drawn]}) == []
    for metrics in ({"A": trained, "B": drawn}, {"B": drawn}):
        with pytest.raises(ComparabilityError, match=r"random weights \(random:0\)"):
            rank(metrics)
