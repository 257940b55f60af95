"""Intervals of every task but boxes, held against evaluating anew what was drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import pytest
from tests.evaluation.generated_lanes import generate_lanes
from tests.evaluation.generated_maps import generate_maps
from tests.evaluation.generated_plans import generate_plans
from tests.evaluation.test_boxes_2d import CLASSES, images_of
from tests.evaluation.test_map_ap import evaluate

from admlops.evaluation.detection_2d.counting import evaluate_counting
from admlops.evaluation.detection_2d.protocols import SUMMARY
from admlops.evaluation.detection_2d.scores import ImagePrediction, ImageTruth, evaluate_boxes_2d
from admlops.evaluation.lane_graph.protocols import PROTOCOLS as LANE_PROTOCOLS
from admlops.evaluation.lane_graph.scores import evaluate_lane_graphs
from admlops.evaluation.metrics import Metric
from admlops.evaluation.motion.scores import evaluate_motion
from admlops.evaluation.planning.protocols import PROTOCOLS as PLAN_PROTOCOLS
from admlops.evaluation.planning.scores import evaluate_planning
from admlops.evaluation.statistics import ap_resampling
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.evaluation.vector_map.protocols import CHAMFER, IOU, MapProtocol

SCENES, SAMPLES = 5, 4
SCENE_OF = np.repeat(np.arange(SCENES), SAMPLES)


class Measured(Protocol):
    """What is compared of an evaluation."""

    def metrics(self, dataset: str) -> list[Metric]: ...
    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]: ...


def check(measure: Callable[[Sequence[int]], Measured], *, tolerance: float) -> dict[str, float]:
    """Resamples of a part against parts of the drawn samples; gives how much each metric moves."""
    weights = np.random.default_rng(1).multinomial(SCENES, np.full(SCENES, 1 / SCENES), size=3).astype(np.int32)
    weights[0] = 1
    values = measure(range(SCENES * SAMPLES)).resample(SCENE_OF, weights)
    moved = {}
    for row, times in enumerate(weights):
        drawn = [
            int(sample) for scene in np.repeat(np.arange(SCENES), times) for sample in np.flatnonzero(scene == SCENE_OF)
        ]
        expected = {metric.name: metric.value for metric in measure(drawn).metrics("d")}
        assert set(values) == set(expected)
        for name, value in expected.items():
            assert value is not None
            assert values[name][row] == pytest.approx(value, abs=tolerance), (name, times)
            moved[name] = float(np.ptp(values[name]))
    return moved


@pytest.mark.parametrize("places", [10**6, 24])
@pytest.mark.parametrize("protocol", [CHAMFER, IOU], ids=lambda protocol: protocol.name)
def test_maps(protocol: MapProtocol, places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ap_resampling, "PLACES", places)
    predictions, truth = generate_maps(SCENES * SAMPLES, seed=5)

    def measure(samples: Sequence[int]) -> Measured:
        return evaluate([predictions[index] for index in samples], [truth[index] for index in samples], protocol)

    moved = check(measure, tolerance=1e-6 if places > 1000 else 0.02)
    assert moved["mAP"] > (0.01 if protocol is CHAMFER else 0.001)


@pytest.mark.parametrize("protocol", LANE_PROTOCOLS)
def test_lane_graphs(protocol: str) -> None:
    frames = list(generate_lanes(SCENES * SAMPLES, seed=6, lanes=40, elements=30))
    # Where a graph is drawn twice, its predictions tie with themselves: the devkit's eleven points see that.
    moved = check(
        lambda samples: evaluate_lane_graphs([frames[index] for index in samples], protocol=protocol), tolerance=2e-3
    )
    assert moved["OLS"] > 5e-3


@pytest.mark.parametrize("protocol", PLAN_PROTOCOLS)
def test_plans(protocol: str) -> None:
    plans = [sample.for_planning() for sample in generate_plans(SCENES * SAMPLES, seed=7)]
    check(lambda samples: evaluate_planning([plans[index] for index in samples], protocol=protocol), tolerance=1e-6)


def test_motion() -> None:
    pairs = [sample.for_motion() for sample in generate_plans(SCENES * SAMPLES, seed=8)]
    moved = check(lambda samples: evaluate_motion(pairs[index] for index in samples), tolerance=1e-6)
    assert moved["EPA_car"] > 1e-3


def generate_images(count: int) -> list[tuple[ImageTruth, ImagePrediction]]:
    rng = np.random.default_rng(9)
    images = []
    for _ in range(count):
        there, found = (rng.uniform(0, 40, (int(rng.integers(1, 5)), 2)).repeat(2, axis=0).reshape(-1, 4) for _ in "ab")
        sizes = np.array([0.0, 0.0, 20.0, 20.0])
        truth = ImageTruth(boxes=there + sizes, classes=("car",) * len(there))
        sure = rng.uniform(0.3, 1, len(found))
        images.append((truth, ImagePrediction(boxes=found + sizes, classes=("car",) * len(found), confidences=sure)))
    return images


def test_counts() -> None:
    images = generate_images(SCENES * SAMPLES)
    moved = check(lambda samples: evaluate_counting(images[index] for index in samples), tolerance=1e-9)
    assert moved["count_score_car"] > 0.01


@pytest.mark.parametrize("places", [10**6, 24])
def test_coco(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PLACES", "FEW_PLACES"):
        monkeypatch.setattr(ap_resampling, name, places)
    images = images_of(SCENES * SAMPLES, seed=10)

    def measure(samples: Sequence[int]) -> Measured:
        return evaluate_boxes_2d([images[index] for index in samples], classes=CLASSES)

    moved = check(measure, tolerance=1e-9 if places > 1000 else 0.02)
    assert set(moved) == {*SUMMARY, "AP_car", "AP_person"}
    assert moved["AP"] > 0.01


def test_coco_counts_a_class_where_it_is() -> None:
    """Persons are in the first scene alone: a resample without it has the cars' precision."""
    images = images_of(SCENES * SAMPLES, seed=11)
    for index, (truth, found) in enumerate(images[SAMPLES:], start=SAMPLES):
        images[index] = (
            ImageTruth(boxes=truth.boxes, classes=("car",) * len(truth.boxes)),
            ImagePrediction(boxes=found.boxes, classes=("car",) * len(found.boxes), confidences=found.confidences),
        )
    weights = np.array([[0, 2, 1, 1, 1], [1, 1, 1, 1, 1]], dtype=np.int32)
    values = evaluate_boxes_2d(images, classes=CLASSES).resample(SCENE_OF, weights)
    assert np.isnan(values["AP_person"]).tolist() == [True, False]
    assert values["AP"][0] == values["AP_car"][0]
    assert values["AP"][1] == pytest.approx((values["AP_car"][1] + values["AP_person"][1]) / 2)
