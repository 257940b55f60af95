"""VAD's 30 x 15 m detection protocol against VAD's own code, from records' boxes to NDS."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.evaluation.devkit_process import Oracle, largest_difference, truth_request
from tests.evaluation.generated_boxes import VERSION, no_racks, predict, tokens_of, write_tables
from tests.evaluation.upstream import checkout_or_skip

from admlops.core.nuscenes_classes import CLASSES
from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.environments import Environment
from admlops.evaluation.detection_3d.box_table import BoxTable
from admlops.evaluation.detection_3d.boxes import Boxes, GroundTruth, multiply, rotations
from admlops.evaluation.detection_3d.filters import submitted
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.protocols import VAD
from admlops.evaluation.detection_3d.scores import Matching, Score, match_boxes, score
from admlops.evaluation.detection_3d.ties import tie_range

EQUAL = 1e-9
PROGRAM = Path(__file__).with_name("vad_detection_oracle.py")

full = pytest.mark.full


class OwnVad(Oracle):
    """VAD's code; `ask` says what it says of one case."""

    def ask(self, run: BoxTable, truth: GroundTruth) -> dict[str, Any]:
        samples: list[dict[str, Any]] = [
            {"token": token, "ego2global_translation": ego, "ego2global_rotation": turn, "boxes": []}
            for token, ego, turn in zip(truth.samples, truth.ego.tolist(), truth.rotation.tolist(), strict=True)
        ]
        columns = np.split(run.geometry, [3, 6, 10], axis=1)
        rows = zip(run.sample, run.label, run.score.tolist(), *(column.tolist() for column in columns), strict=True)
        for sample, label, confidence, center, size, turn, velocity in rows:
            box = {"center": center, "size_wlh": size, "rotation_wxyz": turn, "velocity": velocity}
            samples[sample]["boxes"].append({**box, "class_name": CLASSES[label], "confidence": confidence})
        return self.answer({**truth_request(truth), "detections": samples})


@pytest.fixture(scope="module")
def vad(official_environment: Environment) -> Iterator[OwnVad]:
    folder = find_layout().envs / "official" / "nuscenes"
    with OwnVad(official_environment.python, PROGRAM, folder, checkout_or_skip("VAD")) as process:
        yield process


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> GroundTruth:
    """Three scenes of vehicles that stand a little tilted, and head wherever they do."""
    root = write_tables(tmp_path_factory.mktemp("generated") / "nuscenes", scenes=3, samples=6, seed=1)
    there = make_ground_truth(read_annotations(root, VERSION, tokens_of(3, 6)))
    tilt = np.array([np.cos(0.01), np.sin(0.01) * 0.6, np.sin(0.01) * 0.8, 0.0])
    return dataclasses.replace(there, rotation=multiply(there.rotation, np.tile(tilt, (len(there.rotation), 1))))


def as_run(boxes: Boxes, truth: GroundTruth) -> BoxTable:
    """Boxes of the global frame as a run has them: in the ego frame, upright there, without attributes."""
    turn = rotations(truth.rotation)[boxes.sample]
    center = np.einsum("nij,ni->nj", turn, boxes.center - truth.ego[boxes.sample])
    velocity = np.einsum("nij,ni->nj", turn[:, :2, :2], np.nan_to_num(boxes.velocity))
    heading = boxes.yaw - np.arctan2(turn[:, 1, 0], turn[:, 0, 0])
    zero = np.zeros(len(boxes))
    upright = np.stack([np.cos(heading / 2), zero, zero, np.sin(heading / 2)], axis=1)
    run = BoxTable()
    run.extend(
        {
            "counts": np.array([len(truth.samples), 0]),
            "sample": boxes.sample,
            "label": boxes.label,
            "number": boxes.number,
            "geometry": np.concatenate([center, boxes.size, upright, velocity], axis=1),
            "score": boxes.score,
            "attribute": np.zeros(len(boxes), np.int8),
            "given": np.zeros((0, 3)),
        }
    )
    return run


def change(run: BoxTable, **columns: Any) -> BoxTable:
    """The same boxes with other columns."""
    changed = BoxTable()
    changed.extend({**run.to_arrays(), **columns})
    return changed


def sure(boxes: Boxes) -> Boxes:
    """The same boxes, most of them above the confidence that VAD asks for."""
    return dataclasses.replace(boxes, score=boxes.score**0.4)


def measure(run: BoxTable, truth: GroundTruth) -> tuple[Matching, Score]:
    kept = submitted(run.geometry[:, :3], run.score, VAD)
    matching = match_boxes(run.in_global_frame(truth).take(kept), truth, VAD)
    return matching, score(matching)


def difference(vad: OwnVad, run: BoxTable, truth: GroundTruth) -> float:
    return largest_difference(measure(run, truth)[1], vad.ask(run, truth))


def reorder(run: BoxTable, order: Any) -> BoxTable:
    columns = ("sample", "label", "number", "geometry", "score", "attribute")
    return change(run, **{name: getattr(run, name)[order] for name in columns})


def test_what_is_handed_in() -> None:
    """Boxes of confidence 0.2 and more, and the border of 30 x 15 m with them."""
    center = np.array(
        [[30.0, -15.0, 0.0], [30.001, 0.0, 0.0], [0.0, 15.001, 0.0], [-30.0, 15.0, 99.0], [0.0, 0.0, 0.0]]
    )
    confidences = np.array([0.2, 0.9, 0.9, 0.9, 0.1999])
    assert submitted(center, confidences, VAD).tolist() == [True, False, False, True, False]


@full
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("skill", [0.3, 1.0])
def test_equal_on_generated_data(vad: OwnVad, truth: GroundTruth, seed: int, skill: float) -> None:
    run = as_run(sure(predict(truth, per_sample=80, seed=seed, skill=skill)), truth)
    kept = submitted(run.geometry[:, :3], run.score, VAD)
    assert 0.1 < kept.mean() < 0.8
    matching, own = measure(run, truth)
    assert 0.005 < own.mean_ap < 0.9
    # The two windows, along the vehicle's axes and along the map's, are not the same.
    assert len(matching.predictions) < kept.sum()
    assert largest_difference(own, vad.ask(run, truth)) < EQUAL


@full
@pytest.mark.parametrize("digits", [1, 2])
def test_ties_in_any_order_stay_in_the_range(vad: OwnVad, truth: GroundTruth, digits: int) -> None:
    boxes = predict(truth, per_sample=60, seed=3)
    run = as_run(dataclasses.replace(boxes, score=sure(boxes).score.round(digits)), truth)
    matching, own = measure(run, truth)
    assert largest_difference(own, vad.ask(run, truth)) < EQUAL
    ranges = tie_range(matching, own)
    assert ranges is not None
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(3):
        theirs = vad.ask(reorder(run, np.lexsort((rng.random(len(boxes)), run.sample))), truth)
        seen.add(theirs["mean_ap"])
        assert ranges.mean_ap[0] <= theirs["mean_ap"] <= ranges.mean_ap[1]
        assert ranges.nds[0] <= theirs["nd_score"] <= ranges.nds[1]
    assert len(seen) > 1


@full
def test_nothing_predicted_nothing_there_and_an_absent_class(vad: OwnVad, truth: GroundTruth) -> None:
    some = as_run(sure(predict(truth, per_sample=40)), truth)
    none = reorder(some, np.zeros(len(some.sample), bool))
    nothing = truth.take(np.zeros(len(truth.boxes), np.bool_))
    assert difference(vad, none, truth) == 0.0
    assert difference(vad, some, nothing) == 0.0
    assert difference(vad, none, nothing) == 0.0
    assert measure(some, nothing)[1].nds == 0.0
    for name in ("car", "pedestrian", "barrier"):
        there = truth.boxes.label == CLASSES.index(name)
        assert difference(vad, some, truth.take(~there)) < EQUAL
        assert difference(vad, reorder(some, some.label != CLASSES.index(name)), truth) < EQUAL
        assert measure(some, truth.take(~there))[1].classes[name].mean_ap == 0.0
    assert difference(vad, change(some, score=np.full(len(some.score), 0.1)), truth) == 0.0


@full
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=st.data())
def test_small_cases_at_every_border(vad: OwnVad, case: st.DataObject) -> None:
    """Boxes on the borders of range, distance and confidence, with ties; the vehicle heads along the map's axes."""
    truth = _draw_truth(case)
    run = _draw_run(case, truth)
    matching, own = measure(run, truth)
    assert largest_difference(own, vad.ask(run, truth)) < EQUAL
    ranges = tie_range(matching, own)
    if ranges is not None:
        theirs = vad.ask(reorder(run, np.lexsort((-run.number, run.sample))), truth)
        assert ranges.mean_ap[0] - EQUAL <= theirs["mean_ap"] <= ranges.mean_ap[1] + EQUAL
        assert ranges.nds[0] - EQUAL <= theirs["nd_score"] <= ranges.nds[1] + EQUAL


def _draw_truth(case: st.DataObject) -> GroundTruth:
    samples = case.draw(st.integers(1, 3))
    there = _draw_boxes(case, samples, case.draw(st.integers(0, 12)), speeds=[0.0, 1.0, float("nan")])
    ego = np.tile([100.0, 50.0, 0.0], (samples, 1))
    moved = there.center + ego[there.sample]
    return GroundTruth(
        samples=[f"sample-{index}" for index in range(samples)],
        ego=ego,
        rotation=np.tile([1.0, 0.0, 0.0, 0.0], (samples, 1)),
        boxes=dataclasses.replace(there, center=moved, score=np.zeros(len(there))),
        points=np.array([case.draw(st.sampled_from([0, 1, 5])) for _ in range(len(there))], dtype=np.int32),
        visibility=np.ones(len(there), np.int8),
        tokens=[f"box-{index}" for index in range(len(there))],
        racks=no_racks(),
    )


def _draw_run(case: st.DataObject, truth: GroundTruth) -> BoxTable:
    count = case.draw(st.integers(0, 12))
    found = _draw_boxes(case, len(truth.samples), count, speeds=[0.0, 0.2, 1.0])
    return as_run(dataclasses.replace(found, center=found.center + truth.ego[found.sample]), truth)


def _draw_boxes(case: st.DataObject, samples: int, count: int, *, speeds: list[float]) -> Boxes:
    """Boxes in the ego frame."""

    def column(strategy: st.SearchStrategy[Any], dtype: Any = float) -> Any:
        return np.array([case.draw(strategy) for _ in range(count)], dtype=dtype)

    along = st.sampled_from([0.0, 0.5, 2.0, 4.0, 15.0, 29.5, 30.0, -30.0, 30.5])
    aside = st.sampled_from([0.0, 0.5, 1.0, 14.5, 15.0, -15.0, 15.5])
    heading = st.sampled_from([-np.pi / 2, 0.0, 0.1, np.pi / 2, np.pi])
    return Boxes(
        sample=np.sort(column(st.integers(0, samples - 1), np.int32)),
        label=column(st.sampled_from([0, 0, 5, 7, 8, 9]), np.int8),
        center=np.stack([column(along), column(aside), np.zeros(count)], axis=1),
        size=np.ones((count, 3)) * column(st.sampled_from([0.5, 1.0, 2.0]))[:, np.newaxis],
        yaw=column(heading),
        velocity=np.stack([column(st.sampled_from(speeds)), column(st.sampled_from(speeds))], axis=1),
        attribute=column(st.sampled_from([0, 6, 7]), np.int8),
        score=column(st.sampled_from([0.1999, 0.2, 0.5, 0.5, 1.0])),
        number=np.arange(count, dtype=np.int32),
    )
