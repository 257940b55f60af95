"""What is here: the card, its driver, the compilers, the libraries, cores, memory and disk."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from typing import Any

from reporting import Report, run_stage

LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "opencv-python-headless", "mmcv-full", "mmdet", "triton", "onnx")
CARD = "name,driver_version,memory.total,power.limit,clocks.max.sm,compute_cap"


def work(report: Report) -> None:
    report.add("python", platform.python_version())
    report.add("system", platform.platform())
    report.add("cores", len(os.sched_getaffinity(0)))
    report.add("memory_mb", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6)
    report.add("disk_free_mb", shutil.disk_usage(report.options.out).free / 1e6)
    report.add("libraries", {name: version for name in LIBRARIES if (version := version_of(name)) is not None})
    for name, command in (("nvcc", ["nvcc", "--version"]), ("gcc", ["gcc", "--version"])):
        report.add(name, first_line(command))
    report.add("nvidia_smi", first_line(["nvidia-smi", f"--query-gpu={CARD}", "--format=csv,noheader"]))
    report.add("torch", describe_torch(report.options.device))


def version_of(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def first_line(command: list[str]) -> str | None:
    """What a program says of itself in one line: nvcc in its last, the others in their first; None without it."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1 if command[0] == "nvcc" else 0] if lines else None


def describe_torch(device: str) -> dict[str, Any] | None:
    """What torch was built for, and the card that it sees; None without torch."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    found: dict[str, Any] = {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
    }
    if device != "cpu" and torch.cuda.is_available():
        card = torch.cuda.get_device_properties(device)
        found.update(card=card.name, capability=f"{card.major}.{card.minor}", memory_mb=card.total_memory / 1e6)
    return found


if __name__ == "__main__":
    sys.exit(run_stage("stage_0_machine", work))
