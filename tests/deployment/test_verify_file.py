"""Faults of exported files, each caught by its name: real files, ONNX Runtime, and a reference in NumPy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from admlops.core.paths import find_layout
from admlops.core.processes import run
from admlops.deployment.bounds import FP16, FP32, INT8, bounds_of
from admlops.deployment.verification import judge_file, judge_tensors
from admlops.environments import Environment
from admlops.worker.network import PIXELS
from admlops.worker.parting import Seen, reached


@pytest.fixture(scope="module")
def found(onnx_tool: Environment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = Path(__file__).with_name("verify_checks.py")
    completed = run(
        [onnx_tool.python, program, find_layout().root / "runners", tmp_path_factory.mktemp("files")],
        variables=onnx_tool.variables,
        timeout_s=240,
    )
    assert completed.returncode == 0, completed.stderr
    answer: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize(
    ("case", "fault", "words"),
    [
        ("baked in", "baked_in", "does not depend on the input rig"),
        ("float64", "float64", "the constant double is float64"),
        ("opset", "opset", "declares opset 16, and 17 was asked for"),
        ("custom operator", "operator", "BevPool is of the domain autoware"),
        ("fp32 called fp16", "precision", "is called fp16, and its arithmetic is fp32"),
        ("fp16 called fp32", "precision", "is called auto, and its arithmetic is fp16"),
        ("provider", "provider", "has no CUDAExecutionProvider for cuda:0"),
        ("fell back", "provider", "has no CUDAExecutionProvider for cuda:0, only CPUExecutionProvider: nothing ran"),
        ("garbage", "checker", "no ONNX file"),
    ],
)
def test_a_file_with_a_fault_is_caught_by_name(found: dict[str, Any], case: str, fault: str, words: str) -> None:
    step = judge_file(found[case]["file"])
    assert (step.verdict, step.fault) == ("failed", fault)
    assert words in step.reason
    assert "tensors" not in found[case]


def judged(found: dict[str, Any], case: str, precision: str = FP32, *, random_weights: bool = False) -> Any:
    assert judge_file(found[case]["file"]).verdict == "passed"
    return judge_tensors(found[case]["tensors"], bounds_of(precision), random_weights=random_weights)


def test_a_right_file_passes_on_two_rigs_and_four_frames(found: dict[str, Any]) -> None:
    step = judged(found, "right")
    assert step.verdict == "passed"
    assert step.reason.endswith("4 calls, 2 rigs")
    assert {one["rig"] for one in step.facts["tensors"]} == {"given", "moved"}


def test_each_frame_begins_from_the_references_state(found: dict[str, Any]) -> None:
    # Run freely the engine would be off by 5e-4 more in each of four frames, and by 2e-3 in the last.
    step = judged(found, "a little off")
    assert step.verdict == "passed"
    assert all(abs(one["largest"] - 5e-4) < 1e-5 for one in step.facts["tensors"])
    assert judged(found, "too far off").fault == "apart"


def test_a_rig_that_hides_in_a_constant_shows_on_another_rig(found: dict[str, Any]) -> None:
    step = judged(found, "baked in unseen")
    assert (step.verdict, step.fault) == ("failed", "baked_in")
    assert "right on its own rig and wrong on another" in step.reason
    assert found["baked in unseen"]["worst"][0] == "moved"


def test_once_is_enough_for_a_network_that_gets_nothing_of_the_rig(found: dict[str, Any]) -> None:
    assert found["blind"] == ["given", "given"]


def test_rows_of_a_set_are_paired_before_they_are_compared(found: dict[str, Any]) -> None:
    turned = found["rows"]["another order"]
    assert turned == {"apart": pytest.approx(0.01, abs=1e-4), "scores": 0.0, "unpaired": turned["unpaired"], "rows": 6}
    assert turned["unpaired"] == {"boxes": 0.0, "scores": 0.0}
    assert found["rows"]["a pixel"]["unpaired"] == {"boxes": 1.0, "scores": 1.0}, "another box, not the same"
    lost = found["rows"]["one lost"]
    assert (lost["rows"], lost["scores"]) == (5, 0.0)
    assert lost["unpaired"]["scores"] == pytest.approx(1 / 6)
    assert found["rows"]["fewer"] == {"unpaired": {"boxes": pytest.approx(1 / 6)}, "rows": 5}


def test_a_set_that_lost_a_hundredth_of_its_rows_fails(found: dict[str, Any]) -> None:
    (first, *rest) = found["right"]["tensors"]
    for share, verdict in ((0.005, "passed"), (0.02, "failed")):
        step = judge_tensors([{**first, "unpaired": share}, *rest], bounds_of(FP32), random_weights=False)
        assert step.verdict == verdict
    assert (step.fault, "2 % of the rows of found have no counterpart" in step.reason) == ("unmatched", True)


def test_the_bound_grows_with_a_range_of_pixels_alone() -> None:
    bounds = bounds_of(FP32)
    assert (bounds.tensor_bound(1.0, PIXELS), bounds.tensor_bound(122.0, "m")) == (1e-3, 1e-3)
    assert bounds.tensor_bound(1333.0, PIXELS) == pytest.approx(0.1333)
    assert bounds_of(INT8).tensor_bound(1333.0, PIXELS) is None


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        ("a twentieth of a pixel", None),
        ("half a pixel", "unmatched"),
        ("half a pixel in three rows", "unmatched"),
        ("scores off", "apart"),
        ("a score off", "apart"),
        ("a row elsewhere", None),  # as suppression flips: what is decoded is matched whole
        ("three rows elsewhere", "unmatched"),
        ("a row that is no number", "not_finite"),
    ],
)
def test_no_bound_of_pixels_or_rows_hides_a_file_that_is_wrong(
    found: dict[str, Any], case: str, fault: str | None
) -> None:
    step = judge_tensors(found["proposals"][case], bounds_of(FP32), random_weights=False)
    assert (step.verdict, step.fault) == ("failed" if fault else "passed", fault), step.reason


def test_rows_without_a_counterpart_decide_nothing_of_half_precision(found: dict[str, Any]) -> None:
    for precision, verdict in ((FP16, "passed"), (INT8, "not judged")):
        lost = found["proposals"]["three rows elsewhere"]
        assert judge_tensors(lost, bounds_of(precision), random_weights=False).verdict == verdict


def test_what_is_not_finite_fails_whatever_the_bound(found: dict[str, Any]) -> None:
    for precision in (FP32, FP16, INT8):
        assert judged(found, "not finite", precision, random_weights=True).fault == "not_finite"


def test_a_half_precision_file_is_one(found: dict[str, Any]) -> None:
    assert found["half"]["file"]["precision"] == "fp16"
    assert judged(found, "half", FP16).verdict == "passed"


def test_quantised_tensors_have_no_bound(found: dict[str, Any]) -> None:
    assert judged(found, "too far off", INT8).verdict == "not judged"


def test_bisecting_names_the_first_module_that_parts(found: dict[str, Any]) -> None:
    wrong = found["parting"]["wrong"]
    # The convolution was folded into the normalisation behind it, and is in no file: that is no fault.
    assert (wrong["module"], wrong["after"]) == ("head.scale", "body.relu")
    assert found["parting"]["right"]["module"] is None


def test_a_module_that_no_input_reaches_is_not_looked_for() -> None:
    """Exporters fold it into a constant, so that no tensor of the file is its output."""
    first, second = np.zeros(3), np.ones(3)
    modules = [Seen("embedding", "Linear", first), Seen("layer", "Linear", first)]
    others = [Seen("embedding", "Linear", first.copy()), Seen("layer", "Linear", second)]
    assert [one.name for one in reached(modules, others)] == ["layer"]


def test_another_rig_is_turned_and_moved_and_stays_a_rotation(found: dict[str, Any]) -> None:
    moved = found["moved"]
    assert abs(sum(part * part for part in moved["rotation_wxyz"]) - 1) < 1e-9
    apart = sum((a - b) ** 2 for a, b in zip(moved["translation"], (1.5, 0.0, 1.6), strict=True)) ** 0.5
    assert 0.05 <= apart <= 0.3
