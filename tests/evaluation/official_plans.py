"""VAD's and UniAD's own numbers of generated samples, in a process of an environment of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.evaluation.generated_plans import Sample


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """The samples as envs/official/vad/evaluate.py reads them."""
    joined = ("boxes", "features", "labels", "found_boxes", "found_labels", "found_scores", "modes")
    arrays: dict[str, Any] = {name: np.concatenate([getattr(sample, name) for sample in samples]) for name in joined}
    arrays |= {name: np.stack([getattr(sample, name) for sample in samples]) for name in ("plan", "path", "known")}
    arrays["counts"] = np.array([len(sample.boxes) for sample in samples])
    arrays["found_counts"] = np.array([len(sample.found_boxes) for sample in samples])
    np.savez(path, **arrays)


def official_plans(
    samples: Sequence[Sample], *, python: str | Path, program: Path, vad: Path, uniad: Path, folder: Path
) -> dict[str, Any]:
    """`stp3`, `uniad` and `motion`: values by name; `stp3_s` and so on: the seconds they took."""
    given, result = folder / "samples.npz", folder / "official.json"
    write_samples(given, samples)
    command = [python, program, "--samples", given, "--vad", vad, "--uniad", uniad, "--out", result]
    subprocess.run([str(part) for part in command], check=True, timeout=3600)
    values: dict[str, Any] = json.loads(result.read_text())
    return values
