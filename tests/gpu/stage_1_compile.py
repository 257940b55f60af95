"""Compile mmcv-full's operations and MapTR's kernel attention for the card that is here.

The tree's copies are compiled in place; run.sh puts both on the path of the later stages. On a CPU mmcv-full is taken
as it is installed: its compilation there is `admlops env install`'s.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkout import CHECKOUT
from reporting import Report, Skip, run_stage

MMCV = CHECKOUT / "mmcv-full"
ATTENTION = CHECKOUT / "submodules" / "MapTR" / "projects" / "mmdet3d_plugin" / "maptr" / "modules" / "ops"
TORCH_2 = {"TYPES(value.type()": "TYPES(value.scalar_type()", ".data<": ".data_ptr<"}
"""What MapTR's kernel attention calls → what torch 2 calls it."""
BUILT = Path(os.environ.get("ADMLOPS_GPU_BUILD", "/tmp/admlops-gpu-build"))
TAIL_LINES = 15


def work(report: Report) -> None:
    if report.options.device == "cpu":
        report.add("mmcv_full", installed_mmcv())
        return
    if not MMCV.is_dir():
        raise Skip(f"mmcv-full's source is not in {MMCV}: tests/gpu/pack.py puts it there")
    variables = build_variables(report.options.device)
    report.add("variables", {name: variables[name] for name in ("TORCH_CUDA_ARCH_LIST", "MAX_JOBS", "CPATH")})
    report.add("mmcv_full", compile_in_place(MMCV, BUILT / "mmcv-full", variables, report.left_s - 40))
    source = ATTENTION / "geometric_kernel_attn"
    if source.is_dir():
        report.add("kernel_attention", compile_in_place(source, BUILT / "attention", variables, report.left_s, TORCH_2))
    if not report.results["mmcv_full"]["ok"]:
        raise RuntimeError("mmcv-full was not compiled: see results.mmcv_full.said")


def installed_mmcv() -> dict[str, Any]:
    """The compiled module of the environment. Raises Skip where it has none."""
    try:
        compiled = importlib.import_module("mmcv._ext")
    except ImportError as error:
        raise Skip(f"no compiled mmcv-full in this Python ({error}): admlops env install MapTR --device cpu") from error
    path = Path(str(compiled.__file__))
    return {"ok": True, "seconds": 0.0, "size_mb": path.stat().st_size / 1e6, "said": "as it is installed"}


def build_variables(device: str) -> dict[str, str]:
    """The environment of the compilers: for the card's own architecture, with the headers of torch's own packages."""
    torch = importlib.import_module("torch")

    major, minor = torch.cuda.get_device_capability(device)
    return {
        **os.environ,
        "MMCV_WITH_OPS": "1",
        "FORCE_CUDA": "1",
        "TORCH_CUDA_ARCH_LIST": f"{major}.{minor}",
        "MAX_JOBS": str(len(os.sched_getaffinity(0))),
        "CPATH": ":".join(header_folders()),
    }


def rename(text: str, renamed: Mapping[str, str]) -> str:
    """The text with every old name as the new one."""
    for old, new in renamed.items():
        text = text.replace(old, new)
    return text


def header_folders() -> list[str]:
    """The `include` folders of the packages nvidia-*, which torch's wheels bring their headers in."""
    roots = [Path(entry) / "nvidia" for entry in sys.path if entry]
    return sorted({str(folder) for root in roots if root.is_dir() for folder in root.glob("*/include")})


def compile_in_place(
    source: Path, target: Path, variables: dict[str, str], limit_s: float, renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Compile a copy of `source` in `target`, which outlives the next carrying of the tree."""
    began = time.monotonic()
    if not target.is_dir():
        shutil.copytree(source, target)
        for path in target.rglob("*.cu") if renamed else ():
            path.write_text(rename(path.read_text(), renamed or {}))
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    try:
        done = subprocess.run(
            command, cwd=target, env=variables, capture_output=True, text=True, timeout=max(limit_s, 1.0), check=False
        )
        said, code = done.stdout + done.stderr, done.returncode
    except subprocess.TimeoutExpired:
        said, code = f"not compiled within {limit_s:.0f} s", 1
    modules = [path for path in target.rglob("*.so") if "build" not in path.relative_to(target).parts]
    return {
        "ok": code == 0 and bool(modules),
        "seconds": round(time.monotonic() - began, 1),
        "size_mb": sum(path.stat().st_size for path in modules) / 1e6,
        "said": "" if code == 0 else "\n".join(said.splitlines()[-TAIL_LINES:]),
    }


if __name__ == "__main__":
    sys.exit(run_stage("stage_1_compile", work))
