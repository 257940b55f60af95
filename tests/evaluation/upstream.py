"""Where the sources of the original evaluators are, for the tests and benchmarks that run them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.evaluation.generated_maps import Element, Prediction

from admlops.environments import ensure_official
from admlops.errors import EnvError
from admlops.evaluation.vector_map import MapProtocol
from admlops.paths import find_layout

REPOSITORIES = {
    "MapTR": "https://github.com/hustvl/MapTR",
    "VAD": "https://github.com/hustvl/VAD",
    "UniAD": "https://github.com/OpenDriveLab/UniAD",
}


def find_checkout(name: str) -> Path | None:
    """The folder `name` under $ADMLOPS_UPSTREAM, else under submodules/; None where it is not, or is empty."""
    root = Path(os.environ.get("ADMLOPS_UPSTREAM") or find_layout().root / "submodules")
    folder = root / name
    return folder if (folder / "projects").is_dir() else None


def how_to_get(name: str) -> str:
    return f"{name} is not checked out: git clone {REPOSITORIES[name]} submodules/{name}"


def checkout_or_skip(name: str) -> Path:
    folder = find_checkout(name)
    if folder is None:
        pytest.skip(how_to_get(name))
    return folder


def run_maptr(
    predictions: Sequence[Sequence[Prediction]],
    truth: Sequence[Sequence[Element]],
    protocol: MapProtocol,
    *,
    python: str | Path,
    checkout: Path,
    folder: Path,
) -> dict[str, Any]:
    """`ap` by class and threshold as MapTR's evaluator has it, run by the given Python, and its `seconds`."""
    index = {name: number for number, name in enumerate(protocol.classes)}
    given = {
        "classes": protocol.classes,
        "metric": "iou" if "iou" in protocol.name else "chamfer",
        "thresholds": protocol.thresholds,
        "predictions": [[[index[k], line.tolist(), c] for k, line, c in sample] for sample in predictions],
        "ground_truth": [[[index[k], line.tolist()] for k, line in sample] for sample in truth],
    }
    vectors, out = folder / "vectors.json", folder / "maptr.json"
    vectors.write_text(json.dumps(given))
    program = find_layout().envs / "official" / "maptr" / "evaluate.py"
    command = [python, program, "--vectors", vectors, "--maptr", checkout, "--out", out]
    subprocess.run([str(part) for part in command], check=True, timeout=6 * 3600, stdout=subprocess.DEVNULL)
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def official_python(name: str) -> tuple[Path | None, str]:
    """The Python of envs/official/<name>, built if it must be; or None and why not."""
    try:
        return ensure_official(find_layout(), name, say=lambda _: None).python, ""
    except EnvError as error:
        return None, f"envs/official/{name} cannot be installed: {error.message}"
