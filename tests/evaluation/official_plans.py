"""VAD's and UniAD's own numbers of generated samples, in a process of an environment of their own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tests.evaluation.generated_plans import Sample

from admlops.evaluation.trajectories.vad_files import VadSample, write_samples


def official_plans(
    samples: Sequence[Sample], *, python: str | Path, program: Path, vad: Path, uniad: Path, folder: Path
) -> dict[str, Any]:
    """`stp3`, `uniad` and `motion`: values by name; `stp3_s` and so on: the seconds they took."""
    given, result = folder / "samples.npz", folder / "official.json"
    write_samples(given, cast("Sequence[VadSample]", samples))
    command = [python, program, "--samples", given, "--vad", vad, "--uniad", uniad, "--out", result]
    subprocess.run([str(part) for part in command], check=True, timeout=3600)
    values: dict[str, Any] = json.loads(result.read_text())
    return values
