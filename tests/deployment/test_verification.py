"""Matching of decoded outputs as sets, and the verdicts on them."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from admlops.deployment.bounds import FP16, FP32, INT8, bounds_of
from admlops.deployment.matching import match_runs
from admlops.deployment.verification import (
    Step,
    Verification,
    judge_decoded,
    judge_metrics,
    judge_tensors,
)
from admlops.results.record import Record
from admlops.results.record_json import decode_record

NOTHING_FAILED = {"PyTorch": 0, "the engine": 0}


def record(token: str = "a", **outputs: Any) -> Record:
    metadata = {
        "model_name": "M",
        "variant": "modern",
        "run": "r",
        "sample_token": token,
        "scene": "s",
        "index_in_scene": 0,
        "status": "ok",
    }
    return decode_record(msgspec.json.encode({"schema": 1, "metadata": metadata, **outputs}), where="test")


def box(number: int, x: float, *, score: float = 0.9, name: str = "car", yaw: float = 0.0, **more: Any) -> Any:
    return {
        "id": number,
        "class_name": name,
        "confidence": score,
        "bbox_3d": {
            "center": [x, 2.0 * number, 0.5],
            "size_wlh": [2.0, 4.5, 1.6],
            "rotation_wxyz": [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)],
            "velocity": [1.0, 0.0],
            **more,
        },
    }


def judge(first: Any, second: Any, precision: str = FP32) -> Step:
    return judge_decoded(match_runs([first], [second]), NOTHING_FAILED, bounds_of(precision))


def test_boxes_are_matched_whatever_their_rows() -> None:
    boxes = [box(i, 10.0 * i, score=0.9 - 0.01 * i, name=("car", "truck")[i % 2]) for i in range(40)]
    mixed = [{**one, "confidence": one["confidence"] + 1e-5} for one in boxes]
    random.Random(0).shuffle(mixed)
    step = judge(record(detections_3d=boxes), record(detections_3d=mixed))
    assert step.verdict == "passed", step.reason
    (task,) = step.facts["tasks"]
    assert (task["outputs"], task["matched"], task["unmatched"]) == (80, 40, 0)
    assert task["largest"]["centre_m"] == 0.0
    assert task["largest"]["score"] == pytest.approx(1e-5)


def test_boxes_on_each_other_are_told_apart_by_their_scores() -> None:
    pair = [box(0, 5.0, score=0.9), box(0, 5.0, score=0.3)]
    step = judge(record(detections_3d=pair), record(detections_3d=pair[::-1]))
    assert step.verdict == "passed", step.reason


def test_an_output_beside_the_last_kept_score_is_a_tie_and_any_other_is_a_fault() -> None:
    kept = [box(0, 0.0), box(1, 30.0, score=0.2)]
    other = [box(0, 0.0), box(2, 60.0, score=0.2001)]
    step = judge(record(detections_3d=kept), record(detections_3d=other))
    assert step.verdict == "passed"
    assert step.facts["tasks"][0]["ties"] == 2
    lost = judge(record(detections_3d=[*kept, box(3, 90.0, score=0.5)]), record(detections_3d=kept))
    assert (lost.verdict, lost.fault) == ("failed", "unmatched")


def test_another_class_is_no_counterpart() -> None:
    last = box(5, -40.0, score=0.05)
    step = judge(record(detections_3d=[box(0, 1.0), last]), record(detections_3d=[box(0, 1.0, name="bus"), last]))
    assert step.fault == "unmatched"


@pytest.mark.parametrize(
    ("changed", "quantity"),
    [
        ({"center": [1.02, 0.0, 0.5]}, "centre_m"),
        ({"size_wlh": [2.0, 4.6, 1.6]}, "size_m"),
        ({"velocity": [1.0, 0.5]}, "velocity_m_s"),
        ({"rotation_wxyz": [math.cos(0.05), 0.0, 0.0, math.sin(0.05)]}, "yaw_rad"),
    ],
)
def test_a_quantity_beyond_its_bound_is_named(changed: dict[str, Any], quantity: str) -> None:
    first, second = record(detections_3d=[box(0, 1.0)]), record(detections_3d=[box(0, 1.0, **changed)])
    step = judge(first, second)
    assert (step.verdict, step.fault) == ("failed", "apart")
    assert quantity in step.reason
    assert judge(first, second, FP16).verdict == "not judged"


def test_a_yaw_of_pi_and_of_minus_pi_are_one() -> None:
    step = judge(
        record(detections_3d=[box(0, 1.0, yaw=math.pi - 1e-4)]), record(detections_3d=[box(0, 1.0, yaw=1e-4 - math.pi)])
    )
    assert step.verdict == "passed"
    assert step.facts["tasks"][0]["largest"]["yaw_rad"] == pytest.approx(2e-4, rel=1e-3)


def test_boxes_in_images_are_matched_by_overlap_within_a_camera() -> None:
    def flat(camera: str, x: float) -> dict[str, Any]:
        return {"id": 0, "camera": camera, "class_name": "car", "bbox_xyxy": [x, 0, x + 100, 50], "confidence": 0.8}

    first = record(detections_2d=[flat("CAM_FRONT", 0), flat("CAM_BACK", 300)])
    near = record(detections_2d=[flat("CAM_BACK", 300.2), flat("CAM_FRONT", 0)])
    assert judge(first, near).verdict == "passed"
    shifted = record(detections_2d=[flat("CAM_BACK", 310), flat("CAM_FRONT", 0)])
    assert "iou_lost" in judge(first, shifted).reason


def test_slivers_of_a_picture_are_compared_by_their_corners() -> None:
    def sliver(width: float, x: float = 0.0) -> dict[str, Any]:
        box = [x, 0, x + width, 50]
        return {"id": 0, "camera": "CAM_FRONT", "class_name": "car", "bbox_xyxy": box, "confidence": 0.8}

    last = {**sliver(90.0, 100.0), "id": 1, "confidence": 0.05}
    first = record(detections_2d=[sliver(0.02), last])
    assert judge(first, record(detections_2d=[sliver(0.0205), last])).verdict == "passed"
    assert judge(first, record(detections_2d=[sliver(0.02, 0.2), last])).fault == "unmatched"


def pictured(number: int, score: float, *, off: float = 0.0, side: float = 12.0) -> dict[str, Any]:
    x = 20.0 * number + off
    corners = [x, 5.0 + off, x + side, 5.0 + off + side]
    return {"id": number, "camera": "CAM_FRONT", "class_name": "car", "bbox_xyxy": corners, "confidence": score}


def test_a_box_that_a_hundredth_of_the_rows_may_hide_shows_when_decoded() -> None:
    boxes = [pictured(i, 0.9 - 0.008 * i) for i in range(100)]
    for lost in (0, 50):
        step = judge(record(detections_2d=boxes), record(detections_2d=[*boxes[:lost], *boxes[lost + 1 :]]))
        assert (step.verdict, step.fault) == ("failed", "unmatched")
    elsewhere = [pictured(0, 0.9, off=9.0), *boxes[1:]]
    assert judge(record(detections_2d=boxes), record(detections_2d=elsewhere)).fault == "unmatched"


@pytest.mark.parametrize(("off", "verdict"), [(0.04, "passed"), (0.2, "failed"), (0.5, "failed")])
def test_corners_that_are_one_hide_no_fraction_of_a_pixel_that_counts(off: float, verdict: str) -> None:
    boxes = [pictured(i, 0.9 - 0.008 * i) for i in range(10)]
    step = judge(
        record(detections_2d=boxes), record(detections_2d=[pictured(i, 0.9 - 0.008 * i, off=off) for i in range(10)])
    )
    assert step.verdict == verdict, step.reason


def test_vectors_plans_and_judgements_are_compared() -> None:
    line = {"id": 0, "type": "divider", "points": [[0, 0], [1, 0], [2, 0]], "confidence": 0.7}
    bent = {**line, "points": [[0, 0], [1, 0.2], [2, 0]]}
    assert judge(record(map_elements=[line]), record(map_elements=[line])).verdict == "passed"
    assert "points_m 0.2" in judge(record(map_elements=[line]), record(map_elements=[bent])).reason
    plan = {"command": "left", "interval_s": 0.5, "waypoints": [[1, 0], [2, 0]]}
    assert judge(record(plan=plan), record(plan={**plan, "command": "right"})).fault == "unmatched"
    said = {"camera": "CAM_FRONT", "form": "given", "score": 0.4}
    flipped = judge(record(calibration_status=[said]), record(calibration_status=[{**said, "score": 0.6}]))
    assert flipped.facts["tasks"][0]["largest"] == {"score": pytest.approx(0.2), "label": 1.0}
    assert flipped.fault == "apart"


def test_samples_that_the_engine_fails_on_are_a_fault() -> None:
    step = judge_decoded([], {"PyTorch": 0, "the engine": 2}, bounds_of(FP32))
    assert (step.verdict, step.fault) == ("failed", "failed_samples")


def test_nothing_to_compare_is_no_success() -> None:
    assert judge(record(detections_3d=[]), record(detections_3d=[])).verdict == "not judged"


def difference(value: float) -> dict[str, Any]:
    return {
        "metric": "mAP",
        "protocol": "p",
        "n": 10,
        "a": 0.4,
        "b": 0.4 + value,
        "difference": value,
        "interval": [value - 0.01, value + 0.01],
        "p_value": 0.5,
        "reason": None,
    }


@pytest.mark.parametrize(("precision", "bound"), [(FP32, 0.001), (FP16, 0.002), (INT8, 0.005)])
def test_metrics_are_held_against_the_bound_of_the_arithmetic(precision: str, bound: float) -> None:
    below, above = (judge_metrics([difference(-bound * by)], bounds_of(precision), why_not=None) for by in (0.9, 1.1))
    assert (below.verdict, above.verdict, above.fault) == ("passed", "failed", "metric")
    assert judge_metrics([difference(0.0)], bounds_of(precision), why_not="random weights").verdict == "not judged"


def verification(*verdicts: Any, needs_metrics: bool = False) -> Verification:
    names = ("file", "tensors", "decoded", "metrics")
    steps = [Step(name=name, verdict=verdict, reason="r") for name, verdict in zip(names, verdicts, strict=True)]
    return Verification(about={}, steps=tuple(steps), needs_metrics=needs_metrics)


def test_what_decides_for_each_arithmetic_must_have_passed() -> None:
    assert verification("passed", "passed", "passed", "not judged").passed
    assert not verification("passed", "passed", "passed", "not judged", needs_metrics=True).passed
    assert verification("passed", "not judged", "not judged", "passed", needs_metrics=True).passed
    assert not verification("passed", "not judged", "passed", "passed").passed
    failed = verification("passed", "failed", "not run", "not run")
    assert failed.failed is not None
    assert (failed.failed.name, failed.passed) == ("tensors", False)
    assert failed.outcome == "not verified: the step tensors failed: r"


def test_half_precision_is_measured_over_the_range_and_not_with_random_weights() -> None:
    one = {
        "tensor": "t", "rig": "given", "frames": 4, "range": 10.0, "largest": 9.0, "p999": 0.4, "worst_frame": 1,
        "fault": None,
    }  # fmt: skip
    assert judge_tensors([one], bounds_of(FP16), random_weights=False).verdict == "passed"
    far = {**one, "p999": 0.6}
    assert judge_tensors([far], bounds_of(FP16), random_weights=False).verdict == "failed"
    assert judge_tensors([far], bounds_of(FP16), random_weights=True).verdict == "not judged"


def test_the_bounds_of_a_float32_file_hold_whatever_it_is_called() -> None:
    assert bounds_of("auto") == bounds_of("fp32_tf32") == bounds_of(FP32)
    assert replace(bounds_of(FP32)) != bounds_of(FP16)
