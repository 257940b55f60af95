"""Exported networks, where there are any: each `*.onnx` by ONNX Runtime on the CPU, and by TensorRT on the GPU.

They lie in the folder `engines` beside the scenes, with their manifests or without. Inputs are random, the same for
both. TensorRT's engine is built by the worker's own runtime, opened a second time from its cache, run, and held against
ONNX Runtime: the largest difference, over the output's own range. A GPU's arithmetic is another, so that 1e-2 is fair
for float32 with TF32 and for fp16; networks with GridSample are where TensorRT was wrong before.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import checkout  # noqa: F401  lets `worker` be imported
from measuring import measure, summarize
from reporting import Report, Skip, explain, run_stage

TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(bool)": "bool"}
SECONDS = 5.0
MOST = 700


def work(report: Report) -> None:
    folder = report.options.scenes / "engines"
    files = sorted(folder.glob("*.onnx"))
    if not files:
        raise Skip(f"there is no exported network in {folder}")
    for path in files:
        for title, run in ((path.name, run_onnx), (f"{path.name} by TensorRT", run_tensorrt)):
            try:
                report.add(title, run(path, report))
            except Skip as reason:
                report.add(title, {"skipped": str(reason)})
            except Exception as error:  # noqa: BLE001  one network that fails leaves the others to be measured
                report.add(title, {"failed": explain(error)})
    print_table(report.results)


def run_onnx(path: Path, report: Report) -> dict[str, Any]:
    """Times of one ONNX network by ONNX Runtime on the CPU."""
    session, inputs = open_reference(path)
    times = measure(
        lambda given: session.run(None, given),
        lambda: inputs,
        device="cpu",
        seconds=SECONDS,
        most=2 if report.options.tiny else MOST,
    )
    return {"provider": session.get_providers()[0], **summarize(times)}


def run_tensorrt(path: Path, report: Report) -> dict[str, Any]:
    """Seconds to build and to open again, times of calls, and the largest difference from ONNX Runtime."""
    if report.options.device == "cpu":
        raise Skip("TensorRT runs on NVIDIA GPUs, and the device is the CPU")
    try:
        importlib.import_module("tensorrt")
    except ImportError as error:
        raise Skip(f"TensorRT is not here: {error}") from error
    runtime = importlib.import_module("worker.runtimes.tensorrt").RUNTIME()
    reference, inputs = open_reference(path)
    dynamic = [one.name for one in reference.get_inputs() if not all(isinstance(size, int) for size in one.shape)]
    profile = {name: [list(inputs[name].shape)] * 3 for name in dynamic}
    seconds = []
    with tempfile.TemporaryDirectory() as cache:
        runtime.use_settings({"build": {"profile": profile}, "cache": cache})
        for _ in range(2):
            began = time.monotonic()
            session = runtime.open(str(path), device=report.options.device)
            seconds.append(round(time.monotonic() - began, 2))
    names = [one.name for one in reference.get_outputs()]
    wanted = dict(zip(names, reference.run(names, inputs), strict=True))
    found = session.run(inputs)
    times = measure(
        session.run,
        lambda: inputs,
        device="cpu",  # the copies to the GPU and back are part of a call, and it returns when all is done
        seconds=SECONDS,
        most=2 if report.options.tiny else MOST,
    )
    return {
        "provider": session.provider,
        "build_s": seconds[0],
        "open_s": seconds[1],
        "difference": {name: compare(found[name], wanted[name]) for name in names},
        **summarize(times),
    }


def open_reference(path: Path) -> tuple[Any, dict[str, Any]]:
    """ONNX Runtime's session on the CPU, and random inputs of one as the length of every axis that varies."""
    try:
        runtime, numpy = importlib.import_module("onnxruntime"), importlib.import_module("numpy")
    except ImportError as error:
        raise Skip(f"{path.name} needs ONNX Runtime: {error}") from error
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = numpy.random.default_rng(0)
    inputs = {}
    for one in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in one.shape]
        inputs[one.name] = generator.random(shape).astype(TYPES[one.type])
    return session, inputs


def compare(ours: Any, theirs: Any) -> float:
    """The largest difference over the reference's range; infinite where something is not finite."""
    numpy = importlib.import_module("numpy")
    if not (numpy.isfinite(ours).all() and numpy.isfinite(theirs).all()):
        return float("inf")
    ours, theirs = ours.astype("float64"), theirs.astype("float64")
    extent = float(theirs.max() - theirs.min()) if theirs.size else 0.0
    return float(numpy.abs(ours - theirs).max()) / (extent or 1.0) if theirs.size else 0.0


def print_table(results: dict[str, Any]) -> None:
    """One line a network and runtime."""
    print(f"{'network':44} {'ran on':24} {'build [s]':>9} {'p50 [ms]':>9} {'largest difference':>18}")
    for name, one in results.items():
        why = one.get("skipped") or one.get("failed")
        if why:
            print(f"{name:44} {why}")
            continue
        largest = max(one.get("difference", {}).values(), default=None)
        build, p50 = one.get("build_s"), one.get("p50_ms")
        cells = ["–" if value is None else f"{value:.3g}" for value in (build, p50, largest)]
        print(f"{name:44} {one['provider']:24} {cells[0]:>9} {cells[1]:>9} {cells[2]:>18}")


if __name__ == "__main__":
    sys.exit(run_stage("stage_6_engines", work))
