"""The GPU checks' stage for exported networks, in its form for a CPU."""

from __future__ import annotations

import json
from pathlib import Path

from tests.deployment.conftest import MakeFile

from admlops.core.processes import run
from admlops.environments import Environment

STAGE = Path(__file__).parents[1] / "gpu" / "stage_6_engines.py"


def test_exported_networks_run_and_tensorrt_says_why_it_does_not(
    tmp_path: Path, onnx_tool: Environment, small_classifier: MakeFile
) -> None:
    engines = tmp_path / "scenes" / "engines"
    engines.mkdir(parents=True)
    small_classifier("small.onnx").rename(engines / "small.onnx")
    program, out = STAGE, tmp_path / "out"
    options: list[str | Path] = [
        "--device",
        "cpu",
        "--tiny",
        "--limit-s",
        "60",
        "--out",
        out,
        "--scenes",
        tmp_path / "scenes",
    ]
    done = run([onnx_tool.python, program, *options], variables=onnx_tool.variables, timeout_s=120)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "stage_6_engines.json").read_text())["results"]
    assert (found["small.onnx"]["provider"], found["small.onnx"]["n"]) == ("CPUExecutionProvider", 2)
    assert found["small.onnx by TensorRT"] == {"skipped": "TensorRT runs on NVIDIA GPUs, and the device is the CPU"}
    assert "small.onnx by TensorRT" in done.stdout
    assert "largest difference" in done.stdout
