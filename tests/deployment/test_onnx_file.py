"""What is checked of an exported file, with files that are wrong in one way each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from admlops.core.paths import find_layout
from admlops.core.processes import run
from admlops.environments import Environment


@pytest.fixture(scope="module")
def found(onnx_tool: Environment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    program = Path(__file__).with_name("onnx_checks.py")
    folder = tmp_path_factory.mktemp("files")
    completed = run(
        [onnx_tool.python, program, find_layout().root / "runners", folder],
        variables=onnx_tool.variables,
        timeout_s=240,
    )
    assert completed.returncode == 0, completed.stderr
    answer: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
    return answer


def test_a_right_file_has_its_opset_and_operators(found: dict[str, Any]) -> None:
    assert found["right"] == {"checker": "passed", "opset": 17, "operators": {"MatMul": 1}}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("opset", "declares opset 18, and 17 was asked for"),
        ("baked in", "does not depend on the input lidar2img: its value was baked in"),
        ("unused", "does not depend on the input lidar2img"),
        ("float64", "the constant rig is float64"),
        ("custom", "BevPool is of the domain autoware"),
        ("too large", "the float64 constant rig is too large for float32"),
        ("no gpu", "has no CUDAExecutionProvider for cuda:0, only"),
    ],
)
def test_what_is_wrong_is_named(found: dict[str, Any], case: str, words: str) -> None:
    assert words in found[case]


def test_a_harmless_float64_becomes_float32(found: dict[str, Any]) -> None:
    places, verdict = found["rounded"]
    assert places == 1
    assert verdict["checker"] == "passed"


def test_state_is_carried_through_a_scene_and_no_further(found: dict[str, Any]) -> None:
    carried = found["carried"]
    assert carried["scene a"] == [[[1.0, 2.0]], [[11.0, 22.0], [111.0, 222.0]]]
    assert carried["scene b"] == [[5.0, 5.0]]
    assert carried["after a failure"] == ["InvalidArgument", [[7.0, 7.0]]]
    assert carried["wrong"] == "Numbers: the network's input: new has shape (3,), not (2,)"


def test_a_file_is_slimmed_without_changing_a_bit(found: dict[str, Any]) -> None:
    assert found["slimmed"] == "yes: 1 of 2 nodes stay, every output bit for bit the same"
