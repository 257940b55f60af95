"""Corruption errors and resilience rates: the definition gives the published values from the published tables."""

from __future__ import annotations

import numpy as np
import pytest

from admlops.evaluation.robustness.published import BASELINE_NDS, MAPBENCH_CLEAN_MAP, PUBLISHED, recompute
from admlops.evaluation.robustness.scores import difference, rate, resampled_mce, resampled_mrr
from admlops.worker.corruptions.fault import PICTURES, Fault, FaultError, parse_fault

ROUNDING = 0.012
"""Of a published rate [%]: the tables have four digits, and their means as well."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_definition_gives_the_published_rates(name: str) -> None:
    row = PUBLISHED[name]
    rates = recompute(name)
    assert rates.mrr is not None
    assert rates.mce is not None
    assert 100 * rates.mce == pytest.approx(row.mce, abs=ROUNDING)
    assert 100 * rates.mrr == pytest.approx(row.mrr, abs=ROUNDING)


def test_the_baseline_has_an_error_of_one() -> None:
    clean = PUBLISHED["DETR3D"].clean
    rates = rate(clean, BASELINE_NDS, BASELINE_NDS)
    assert rates.errors == dict.fromkeys(PICTURES, 1.0)
    for fault, row in BASELINE_NDS.items():
        assert np.mean(row) == pytest.approx(PUBLISHED["DETR3D"].by_fault[fault], abs=1e-4)


@pytest.mark.parametrize("name", MAPBENCH_CLEAN_MAP)
def test_resilience_of_maps_agrees(name: str) -> None:
    clean, means, mrr = MAPBENCH_CLEAN_MAP[name]
    rates = rate(clean, {fault: [mean] for fault, mean in zip(PICTURES, means, strict=True)})
    assert rates.errors == {}
    assert 100 * (rates.mrr or 0) == pytest.approx(mrr, abs=0.35), (
        "the benchmark's levels are not the mean of its table"
    )


def test_rates_are_resampled_in_pairs() -> None:
    generator = np.random.default_rng(0)
    clean = generator.uniform(0.4, 0.6, 1000)
    half = {"fog": [0.5 * clean, 0.5 * clean], "snow": [0.25 * clean, 0.75 * clean]}
    found = resampled_mrr(clean, half)
    assert found is not None
    np.testing.assert_allclose(found, 0.5)
    better = resampled_mrr(clean, {"fog": [0.6 * clean]})
    assert better is not None
    assert difference(found, better)["interval"] == pytest.approx([0.1, 0.1])
    assert resampled_mrr(clean * 0, half) is None


def test_corruption_errors_are_resampled_in_pairs() -> None:
    score = np.random.default_rng(1).uniform(0.2, 0.6, 1000)
    against_table = resampled_mce({"fog": [score, score]}, {"fog": [0.5, 0.3], "snow": [0.1, 0.1]})
    assert against_table is not None
    np.testing.assert_allclose(against_table, 2 * (1 - score) / 1.2)
    worse = 1 - 1.5 * (1 - score)
    in_pairs = resampled_mce({"fog": [worse]}, {"fog": [score]})
    assert in_pairs is not None
    np.testing.assert_allclose(in_pairs, 1.5)
    assert resampled_mce({"fog": [score]}, {"snow": [score]}) is None
    assert resampled_mce({"fog": [score]}, {"fog": [score[:10]]}) is None
    assert resampled_mce({"fog": [score]}, {"fog": [score * 0 + 1]}) is None


def test_faults_are_named_and_drawn_by_what_they_are() -> None:
    assert parse_fault("fog:2") == Fault("fog", 2)
    assert Fault("fog", 2).suffix == ".corrupted-fog-2-v1"
    assert Fault("fog", 2, 7).suffix == ".corrupted-fog-2-seed7-v1"
    for wrong in ("fog", "fog:4", "fog:x", "mist:1", ""):
        with pytest.raises(FaultError):
            parse_fault(wrong)
    seeds = {tuple(Fault(name, level).seeds("t", "c")) for name in PICTURES for level in (1, 2, 3)}
    assert len(seeds) == 24
