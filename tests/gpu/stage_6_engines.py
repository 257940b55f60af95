"""Exported networks, where there are any: `*.onnx` through ONNX Runtime, and TensorRT's `*.engine`, from random inputs.

They lie in the folder `engines` beside the scenes. Their outputs are not compared here: a network is exported with its
comparison.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from measuring import measure, summarize
from reporting import Report, Skip, explain, run_stage

TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(bool)": "bool"}
SECONDS = 5.0
MOST = 700


def work(report: Report) -> None:
    folder = report.options.scenes / "engines"
    files = sorted([*folder.glob("*.onnx"), *folder.glob("*.engine")])
    if not files:
        raise Skip(f"there is no exported network in {folder}")
    for path in files:
        run = run_onnx if path.suffix == ".onnx" else refuse_engine
        try:
            report.add(path.name, run(path, report))
        except Skip as reason:
            report.add(path.name, {"skipped": str(reason)})
        except Exception as error:  # noqa: BLE001  one network that fails leaves the others to be measured
            report.add(path.name, {"failed": explain(error)})


def run_onnx(path: Path, report: Report) -> dict[str, Any]:
    """Times of one ONNX network, and on what it ran."""
    try:
        runtime, numpy = importlib.import_module("onnxruntime"), importlib.import_module("numpy")
    except ImportError as error:
        raise Skip(f"{path.name} needs ONNX Runtime: {error}") from error
    wanted = ["CPUExecutionProvider"] if report.options.device == "cpu" else runtime.get_available_providers()
    session = runtime.InferenceSession(str(path), providers=wanted)
    generator = numpy.random.default_rng(0)
    inputs = {}
    for one in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in one.shape]
        inputs[one.name] = generator.random(shape).astype(TYPES[one.type])
    times = measure(
        lambda given: session.run(None, given),
        lambda: inputs,
        device="cpu",  # ONNX Runtime waits for its device itself
        seconds=SECONDS,
        most=2 if report.options.tiny else MOST,
    )
    return {"provider": session.get_providers()[0], **summarize(times)}


def refuse_engine(path: Path, report: Report) -> dict[str, Any]:
    """TensorRT's engines run where TensorRT is: its own program measures them."""
    raise Skip(f"{path.name} is measured by TensorRT's own program: trtexec --loadEngine={path.name}")


if __name__ == "__main__":
    sys.exit(run_stage("stage_6_engines", work))
