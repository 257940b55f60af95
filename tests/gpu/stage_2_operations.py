"""Every compiled operation against its plain twin: the worker's smoke test, and MapTR's kernel attention."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any

from checkout import CHECKOUT
from reporting import Report, Skip, run_stage

SMOKE = CHECKOUT / "runners" / "worker" / "smoke.py"
MARK = "admlops-smoke "
MODULES = ("torch", "mmcv", "mmdet", "mmseg")
TOLERANCE = 1e-4


def work(report: Report) -> None:
    try:
        importlib.import_module("torch")
    except ImportError as error:
        raise Skip(f"this Python has no torch: {error}") from error
    kind = report.options.device.partition(":")[0]
    wanted = json.dumps({"modules": MODULES, "compiled": ["mmcv-full"], "device": kind})
    done = subprocess.run(
        [sys.executable, SMOKE], input=wanted, capture_output=True, text=True, timeout=report.left_s, check=False
    )
    checks = [json.loads(line[len(MARK) :]) for line in done.stdout.splitlines() if line.startswith(MARK)]
    report.add("checks", checks)
    report.add("kernel_attention", check_attention(report.options.device))
    failed = [check["check"] for check in checks if not check["ok"]]
    if failed or done.returncode:
        raise RuntimeError(f"failed: {', '.join(failed) or done.stderr[-500:]}")


def check_attention(device: str) -> dict[str, Any]:
    """MapTR's compiled attention against the PyTorch formulation, from the same random tensors."""
    torch = importlib.import_module("torch")

    plain = importlib.import_module("worker.mmlab.v1.geometric_kernel_attention")
    if device == "cpu":
        return {"skipped": "MapTR's kernel attention has CUDA kernels alone"}
    try:
        compiled = importlib.import_module("GeometricKernelAttention")
    except ImportError as error:
        return {"skipped": f"MapTR's kernel attention is not compiled here: {error}"}
    generator = torch.Generator().manual_seed(0)
    shapes, starts = torch.tensor([[20, 30], [10, 15]]), torch.tensor([0, 600])
    value = torch.randn(2, 750, 4, 32, generator=generator)
    places = torch.randint(-3, 33, (2, 50, 4, 2, 6, 2), generator=generator)
    weights = torch.rand(2, 50, 4, 2, 6, generator=generator)
    expected = plain.attend(value, shapes, starts, places, weights)
    inputs = [tensor.to(device) for tensor in (value, shapes, starts, places, weights)]
    got = compiled.geometric_kernel_attn_cuda_forward(*inputs, 64).cpu()
    difference = float((got - expected).abs().max())
    return {"ok": difference < TOLERANCE, "difference": difference, "largest": float(expected.abs().max())}


if __name__ == "__main__":
    sys.exit(run_stage("stage_2_operations", work))
