"""Planning and motion at the size of nuScenes' validation set: our metrics and those of VAD and UniAD.

The originals run from their checkouts (submodules/VAD and submodules/UniAD, or under $ADMLOPS_UPSTREAM) on the first
300 samples, and their time is scaled: it grows linearly with the samples. UniAD's time leaves out drawing the traffic,
which its data pipeline does; ours includes it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.evaluation_row import Row
from tests.evaluation.generated_plans import Sample, generate_plans
from tests.evaluation.official_plans import official_plans
from tests.evaluation.upstream import find_checkout, how_to_get, official_python

from admlops.evaluation.motion import evaluate_motion
from admlops.evaluation.planning import STP3, UNIAD, evaluate_planning
from admlops.paths import find_layout

OFFICIAL_SAMPLES = 300
NAMES = {"stp3": "planning (ST-P3, VAD)", "uniad": "planning (UniAD)", "motion": "motion (VAD)"}


def run(samples: int, folder: Path, *, official: bool = True) -> list[Row]:
    """One line for each protocol; what the official side takes goes to `folder`."""
    data = generate_plans(samples, seed=40)
    ours = _ours(data)
    part = data[:OFFICIAL_SAMPLES]
    theirs, note = _theirs(part, folder) if official else (None, "")
    if theirs is None:
        return [Row(name=NAMES[key], ours_s=seconds, note=note) for key, (seconds, _) in ours.items()]
    values = {key: found for key, (_, found) in _ours(part).items()}
    return [
        Row(
            name=NAMES[key],
            ours_s=seconds,
            official_s=theirs[f"{key}_s"] * len(data) / len(part),
            max_abs_difference=max(abs(values[key][name] - value) for name, value in theirs[key].items()),
            note=f"official: {theirs[f'{key}_s']:.1f} s for {len(part)} samples, scaled",
        )
        for key, (seconds, _) in ours.items()
    ]


def _ours(data: Sequence[Sample]) -> dict[str, tuple[float, dict[str, Any]]]:
    plans, motion = [sample.for_planning() for sample in data], [sample.for_motion() for sample in data]
    measured: dict[str, tuple[float, dict[str, Any]]] = {}
    for key, protocol in (("stp3", STP3), ("uniad", UNIAD)):
        start = time.perf_counter()
        values = dict(evaluate_planning(plans, protocol=protocol).values)
        measured[key] = time.perf_counter() - start, values
    start = time.perf_counter()
    values = dict(evaluate_motion(motion).values)
    measured["motion"] = time.perf_counter() - start, values
    return measured


def _theirs(part: Sequence[Sample], folder: Path) -> tuple[dict[str, Any] | None, str]:
    checkouts = {name: find_checkout(name) for name in ("VAD", "UniAD")}
    vad, uniad = checkouts["VAD"], checkouts["UniAD"]
    if vad is None or uniad is None:
        return None, "; ".join(how_to_get(name) for name, checkout in checkouts.items() if checkout is None)
    python, why_not = official_python("vad")
    if python is None:
        return None, why_not
    program = find_layout().envs / "official" / "vad" / "evaluate.py"
    return official_plans(part, python=python, program=program, vad=vad, uniad=uniad, folder=folder), ""
