"""Weights in every form that trainers write are loaded whole under real torch, or refused with what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.checkpoints.torch_pythons import torch_pythons_or_skip

PROGRAM = Path(__file__).with_name("load_weights.py")
EQUAL: dict[str, list[str]] = {
    "zip": [],
    "legacy": [],
    "alone": [],
    "model": [],
    "net": [],
    "data parallel": [],
    "lightning": [],
    "compiled": [],
    "safetensors": [],
    "average beside": ["ema-left-aside"],
    "average asked for": ["ema-weights"],
    "average alone": ["ema-weights"],
    "hook's average": ["ema-left-aside"],
    "half": ["weights-from-float16"],
    "double": ["weights-from-float64"],
    "with attributes": [],
    "without counters": [],
}
REFUSED = {
    "without one": "1 missing (reference_points.weight)",
    "without a buffer": "1 missing (scale)",
    "other shape": "1 mismatched (reference_points.weight [9, 3] for [6, 3])",
    "NaN": "1 tensors hold NaN (head.weight)",
    "integers": "head.weight is of torch.int8, and the network takes floats",
    "other model": "The network has no bev",
    "optimizer": "no weights by name; it has tensors under optimizer",
    "no weights": "it holds a list of 2, not weights by name",
    "text": "cannot be read as a checkpoint",
}


@pytest.mark.full
def test_every_form_under_torch(tmp_path: Path) -> None:
    for python in torch_pythons_or_skip():
        done = subprocess.run(
            [python, PROGRAM, tmp_path],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        for name, notes in EQUAL.items():
            assert found[name] == {"notes": notes, "equal": True}, name
        for name, words in REFUSED.items():
            assert words in found[name].get("error", ""), name
        assert found["fitting"].endswith("It has 11 tensors")
        assert found["seeded"] is True
        assert found["random"] is True
        assert found["versions"] == dict.fromkeys(("random", "plain", "without counters", "old"), True)


FITTING = {
    # whose weights are loaded with the config small → what is said
    "small": "loaded []",
    "large": "1 mismatched (reference_points.weight [9, 3] for [6, 3]). Every tensor of the network must come from the "
    "checkpoint. Its tensors fit the config large and huge: pass --config large",
    "fusion": "The network has no lidar_backbone. Its tensors fit the config fusion: pass --config fusion",
    "none": "None of the catalogue's configs of Tiny that can be built here fits it (small, large, huge, fusion, ",
    "other": "None of the catalogue's configs of Tiny",
    "large by its config": "loaded []",
    "random": "loaded []",
}


@pytest.mark.full
def test_the_config_that_weights_fit_is_named(tmp_path: Path) -> None:
    program = Path(__file__).with_name("fitting_model") / "demo.py"
    for python in torch_pythons_or_skip():
        done = subprocess.run([python, program, tmp_path], check=True, capture_output=True, text=True)
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        assert set(found) == set(FITTING)
        for name, words in FITTING.items():
            assert words in found[name], name
        assert "broken.py cannot be built here: bev_pool_ext is a compiled operation" in done.stderr
