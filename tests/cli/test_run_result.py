"""The exit code of `admlops run`: 2 where the user's files are at fault, 1 where the model is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.execution.execution_bench import make_header

from admlops.cli.run import _raise_for
from admlops.core.errors import AdmlopsError
from admlops.execution.failures import WorkerFailure, diagnose_failure
from admlops.execution.scene_job import Summary
from admlops.results.record import FailureClass


@pytest.mark.parametrize(("kind", "code"), [("data", 2), ("model", 1), ("crash", 1)])
def test_what_stops_a_start_decides_the_exit_code(kind: FailureClass, code: int) -> None:
    failure = WorkerFailure(kind=kind, message="half.pth does not fit the model", starting=True)
    summary = Summary(state="failed", ok=0, failed=0, remaining=3, retries=0, stopped_by=failure)
    with pytest.raises(AdmlopsError, match=r"half\.pth does not fit the model; 3 samples remain") as caught:
        _raise_for(summary, make_header({"a": 3}, model="PETR"))
    assert caught.value.exit_code == code
    assert failure.hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("said", "goes_on"),
    [
        ("InvalidProtobuf: Load model from c.onnx failed:Protobuf parsing failed.", False),
        ("Fail: Load model from c.onnx failed: ModelProto does not have a graph.", False),
        ("NetworkError: c.onnx lacks the input image: it is no export of this model's network", False),
        ("ImportError: No module named 'onnx'", True),
    ],
)
def test_a_run_of_a_file_that_does_not_serve_is_not_to_be_gone_on_with(said: str, goes_on: bool) -> None:
    failure = WorkerFailure(kind="model", message=said, starting=True)
    failure = diagnose_failure(failure, model="CalibrationStatus", python=Path(sys.executable))
    summary = Summary(state="failed", ok=0, failed=0, remaining=3, retries=0, stopped_by=failure)
    with pytest.raises(AdmlopsError) as caught:
        _raise_for(summary, make_header({"a": 3}, model="CalibrationStatus"))
    assert failure.diagnosis is not None
    assert ("--resume" in caught.value.hint) is goes_on
    assert caught.value.hint.startswith(failure.diagnosis.hint)
