"""Compile mmcv 2.1.0's operations for the card, and hold its sparse convolutions and voxels against the stand-ins.

It takes as long as the compilation of mmcv-full, so that it is for a call of its own: `run.sh .gpu --only 8`. On a CPU
mmcv is taken as it is installed, and its voxels alone are compared: it has sparse convolutions for GPUs only.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from checkout import CHECKOUT
from reporting import Report, Skip, run_stage
from stage_1_compile import BUILT, build_variables, compile_in_place

MMCV = CHECKOUT / "mmcv"
OPERATIONS = CHECKOUT / "tests" / "gpu" / "mmcv2_operations.py"
RESERVE_S = 60.0
"""Kept back of the stage's time for the comparison."""


def work(report: Report) -> None:
    try:
        importlib.import_module("torch")
    except ImportError as error:
        raise Skip(f"this Python has no torch: {error}") from error
    device = report.options.device
    path: list[Path] = []
    if device != "cpu":
        if not MMCV.is_dir():
            raise Skip(f"mmcv's source is not in {MMCV}: tests/gpu/pack.py puts it there")
        report.add("mmcv", compile_in_place(MMCV, BUILT / "mmcv", build_variables(device), report.left_s - RESERVE_S))
        if not report.results["mmcv"]["ok"]:
            raise RuntimeError("mmcv was not compiled: see results.mmcv.said")
        path = [BUILT / "mmcv"]
    report.add("operations", compare(device, path, report.left_s))
    if not report.results["operations"]["ok"]:
        raise RuntimeError(f"differ: {report.results['operations']}")


def compare(device: str, path: list[Path], limit_s: float) -> dict[str, Any]:
    """What mmcv2_operations.py finds, in a process that has this mmcv first. Raises Skip where there is none of 2."""
    command = [sys.executable, OPERATIONS, "--device", device, *(f"--path={one}" for one in path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=max(limit_s, 1.0), check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if "skipped" in found:
        raise Skip(found["skipped"])
    return found


if __name__ == "__main__":
    sys.exit(run_stage("stage_8_mmcv2", work))
