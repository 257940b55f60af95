"""Planning and motion at the size of nuScenes' validation set: our metrics and those of VAD and UniAD.

The originals run from their checkouts (submodules/VAD and submodules/UniAD, or under $ADMLOPS_UPSTREAM), by default on
the first 300 samples: every sample costs them the same. UniAD's time leaves out drawing the traffic, which its data
pipeline does; ours includes it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.evaluation_row import Row, Timing, best_of, describe_share, official_timing
from tests.evaluation.generated_plans import Sample, generate_plans
from tests.evaluation.official_plans import official_plans
from tests.evaluation.upstream import find_checkout, how_to_get, official_python

from admlops.core.paths import find_layout
from admlops.evaluation.motion.scores import evaluate_motion
from admlops.evaluation.planning.protocols import STP3, UNIAD
from admlops.evaluation.planning.scores import evaluate_planning

OFFICIAL_SAMPLES = 300
NAMES = {"stp3": "planning (ST-P3, VAD)", "uniad": "planning (UniAD)", "motion": "motion (VAD)"}


def run(samples: int, folder: Path, *, official: bool = True, official_samples: int | None = None) -> list[Row]:
    """One line for each protocol; what the official side takes goes to `folder`."""
    data = generate_plans(samples, seed=40)
    ours = _ours(data)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    part = data[: official_samples or OFFICIAL_SAMPLES]
    load = os.getloadavg()[0]
    theirs, note = _theirs(part, folder) if official else (None, "")
    if theirs is None:
        return [Row(name=NAMES[key], ours=timing, peak_mb=peak_mb, note=note) for key, (timing, _) in ours.items()]
    values = {key: found for key, (_, found) in _ours(part).items()}
    return [
        Row(
            name=NAMES[key],
            ours=timing,
            official=official_timing(theirs, prefix=f"{key}_", load=load, factor=len(data) / len(part)),
            measured=describe_share(len(part), len(data), "samples"),
            max_abs_difference=max(abs(values[key][name] - value) for name, value in theirs[key].items()),
            peak_mb=peak_mb,
            note=f"official: {theirs[f'{key}_seconds']:.1f} s",
        )
        for key, (timing, _) in ours.items()
    ]


def _ours(data: Sequence[Sample]) -> dict[str, tuple[Timing, dict[str, Any]]]:
    plans, motion = [sample.for_planning() for sample in data], [sample.for_motion() for sample in data]
    measured: dict[str, tuple[Timing, dict[str, Any]]] = {}
    for key, protocol in (("stp3", STP3), ("uniad", UNIAD)):
        timing, result = best_of(partial(evaluate_planning, plans, protocol=protocol))
        measured[key] = timing, dict(result.values)
    timing, result = best_of(lambda: evaluate_motion(motion))
    measured["motion"] = timing, dict(result.values)
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
