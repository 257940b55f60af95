"""The page of a verification: whole by itself, with every verdict and number, and nothing taken for markup."""

from __future__ import annotations

import re
from typing import Any

from admlops.deployment.bounds import FP32, bounds_of
from admlops.deployment.verification import Step, Verification, judge_metrics, judge_tensors
from admlops.reports.verification import render_verification

ABOUT = {
    "model": "M<odel>",
    "engine": "onnx",
    "file": "/data/network.onnx",
    "sha256": "0" * 64,
    "size_bytes": 44_700_000,
    "precision": "fp32",
    "called": "auto",
    "artifact": "M/0123456789abcdef",
    "provider": "CPUExecutionProvider",
    "versions": {"onnxruntime": "1.24.4"},
    "device": "a CPU",
    "reference": "trained",
    "data": {"root": "/data/nuscenes", "version": "v1.0-mini", "scene": "scene-0103"},
    "runs": ["a", "b"],
    "created": "2026-01-02T03:04:05+00:00",
}


def tensor(rig: str, largest: float) -> dict[str, Any]:
    numbers = {"frames": 4, "range": 7.5, "largest": largest, "p999": largest / 2, "worst_frame": 2}
    return {"tensor": "logits", "rig": rig, "fault": None, **numbers}


def page(largest: float, *, bisect: dict[str, Any] | None = None) -> str:
    tensors = judge_tensors([tensor("given", 1e-6), tensor("moved", largest)], bounds_of(FP32), random_weights=False)
    difference = {
        "metric": "accuracy", "protocol": "calibration_status.seeded", "n": 72, "a": 0.95, "b": 0.95, "difference": 0.0,
        "interval": [-0.001, 0.001], "reason": None,
    }  # fmt: skip
    steps = (
        Step(name="file", verdict="passed", reason="opset 17"),
        tensors,
        Step(name="decoded", verdict="passed", reason="all matched"),
        judge_metrics([difference], bounds_of(FP32), why_not=None),
    )
    return render_verification(Verification(about=ABOUT, steps=steps, needs_metrics=False, bisect=bisect))


def test_a_verified_engine_says_so_and_why() -> None:
    text = page(3e-6)
    assert '<li class="chip good">Verified</li>' in text
    assert "largest |d| 3e-06 (bound 0.001)" in text
    assert "-0.0010 to +0.0010" in text
    assert "M&lt;odel&gt;" in text
    assert "M<odel>" not in text
    assert not re.search(r"https?://|<script", text)
    assert text == page(3e-6)


def test_a_failure_names_its_layer_and_the_module() -> None:
    module = {"module": "backbone.conv1", "kind": "Conv2d", "after": None, "modules": 9}
    text = page(0.4, bisect=module)
    assert '<li class="chip bad">Not verified</li>' in text
    assert "the step tensors failed: right on its own rig and wrong on another" in text
    assert "<code>baked_in</code>" in text
    assert "<code>backbone.conv1</code> (Conv2d)" in text
