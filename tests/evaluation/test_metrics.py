"""What may be compared with what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admlops.catalog.protocols import LATENCY, PROTOCOLS
from admlops.core.errors import ComparabilityError
from admlops.core.nuscenes_classes import MAP_CLASSES
from admlops.evaluation.detection_3d.protocols import ERROR_NAMES, NUSCENES
from admlops.evaluation.metrics import Metric, comparable, metrics_of, require_comparable, subtract
from admlops.evaluation.vector_map.protocols import CHAMFER

BASE = Metric(name="mAP", protocol="nuscenes.detection_cvpr_2019", value=0.4, n=81, dataset="a" * 64)


def test_equal_conditions_compare() -> None:
    assert subtract(replace(BASE, value=0.5), BASE) == pytest.approx(0.1)
    assert subtract(replace(BASE, value=None), BASE) is None


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"protocol": "vad.detection-30x15"}, ("nuscenes.detection_cvpr_2019", "vad.detection-30x15")),
        ({"dataset": "b" * 64}, ("a" * 12, "b" * 12)),
        ({"name": "NDS"}, ("mAP", "NDS")),
        ({"device": "NVIDIA V100"}, ("None", "NVIDIA V100")),
    ],
)
def test_different_conditions_are_refused_by_name(change: dict[str, Any], names: tuple[str, str]) -> None:
    other = replace(BASE, **change)
    assert not comparable(BASE, other)
    with pytest.raises(ComparabilityError) as caught:
        subtract(BASE, other)
    assert all(name in caught.value.message for name in names)
    assert caught.value.hint


def test_json_and_back() -> None:
    full = replace(BASE, interval=(0.3, 0.5), device="cpu")
    for metric in (BASE, full):
        assert Metric.from_json(metric.to_json(), dataset=BASE.dataset) == metric
    summary = {"data": {"samples_sha256": BASE.dataset}, "metrics": [BASE.to_json(), full.to_json()]}
    assert metrics_of(summary) == [BASE, full]


names = st.sampled_from(["mAP", "NDS", "mATE"])
made = st.builds(
    Metric,
    name=names,
    protocol=st.sampled_from(["p", "q"]),
    value=st.floats(0, 1),
    n=st.integers(1, 5),
    dataset=st.sampled_from(["x", "y"]),
)


@given(made, made)
def test_comparable_is_what_is_not_refused(a: Metric, b: Metric) -> None:
    assert comparable(a, b) == comparable(b, a)
    if comparable(a, b):
        require_comparable(a, b)
    else:
        with pytest.raises(ComparabilityError):
            require_comparable(a, b)


def test_the_catalogue_knows_every_metric_that_is_measured() -> None:
    errors = set(ERROR_NAMES.values())
    assert {"mAP", "NDS"} | errors == set(PROTOCOLS[NUSCENES.name])
    assert {name for name in PROTOCOLS[NUSCENES.name] if not replace(BASE, name=name).higher_is_better} == errors
    measured = {"mAP", *(f"AP_{name}" for name in MAP_CLASSES)}
    assert measured == set(PROTOCOLS[CHAMFER.name])
    assert LATENCY in PROTOCOLS
