"""What tables call a run by an engine, and with whose times its own compare."""

from __future__ import annotations

from typing import Any

import pytest
from tests.execution.execution_bench import make_header

from admlops.results.labels import find_engine_precision, label_run

ONNX = {"kind": "onnx", "precision": "auto", "artifact": "Own/aaaa", "sha256": "0123456789", "verified": True}


@pytest.mark.parametrize(
    ("engine", "precision", "label"),
    [
        (None, None, "Own"),
        (ONNX, None, "Own@onnx"),
        ({**ONNX, "verified": False}, None, "Own@onnx, not verified"),
        ({**ONNX, "precision": "int8"}, "int8", "Own@onnx:int8"),
        ({**ONNX, "precision": "fp16"}, "fp16", "Own@onnx:fp16"),
        ({**ONNX, "precision": "unknown", "artifact": None}, "unknown, file 012345", "Own@onnx:unknown"),
        ({**ONNX, "kind": "tensorrt", "build": {"tf32": True}}, "float32, TF32", "Own@tensorrt"),
        ({**ONNX, "kind": "tensorrt", "precision": "fp32", "build": {"tf32": False}}, None, "Own@tensorrt"),
    ],
)
def test_a_run_by_an_engine_is_called_by_it_and_has_its_precision(
    engine: dict[str, Any] | None, precision: str | None, label: str
) -> None:
    header = make_header({"a": 1}, model="Own", settings={} if engine is None else {"engine": engine})
    assert (find_engine_precision(header), label_run(header)) == (precision, label)


def test_random_weights_are_in_the_label() -> None:
    header = make_header({"a": 1}, model="Own", settings={"engine": ONNX, "options": {"weights": "random:0"}})
    assert label_run(header) == "Own@onnx, random weights"
