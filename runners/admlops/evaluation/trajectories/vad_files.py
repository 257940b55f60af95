"""Files for VAD's own metrics, as the programs in envs/official read them.

For plans and futures (envs/official/vad): all samples one after another, `counts` and `found_counts` of them each:
annotated objects as VAD's files have them (`boxes`, `features`, `labels`), predicted ones above any score
(`found_boxes`, `found_labels`, `found_scores`, `modes`), and for each sample the steps of the `plan` and of the driven
`path` and which of these are `known`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from admlops.core.paths import Layout
from admlops.environments import Environment
from admlops.evaluation.official.program import ask_program

OFFICIAL_NAME = "vad"
CHECKOUT = "VAD"
"""The folder of submodules/ that its code comes from."""

JOINED = ("boxes", "features", "labels", "found_boxes", "found_labels", "found_scores", "modes")
STACKED = ("plan", "path", "known")

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class VadSample:
    """One sample in VAD's array layout: A annotated objects and P predicted ones with M possible futures.

    Attributes:
        boxes: (A, 9) x, y, z, width, length, height, yaw of mmdet3d 0.17, velocity.
        features: (A, 34), `gt_attr_labels`. labels: (A,).
        found_boxes: (P, 9). found_labels, found_scores: (P,). modes: (P, M, 6, 2) steps [m].
        plan, path: (6, 2) steps [m]. known: (6,) which steps of the path are.
    """

    boxes: Array
    features: Array
    labels: Array
    found_boxes: Array
    found_labels: Array
    found_scores: Array
    modes: Array
    plan: Array
    path: Array
    known: Array


def write_samples(path: Path, samples: Sequence[VadSample]) -> None:
    """Write samples for the official program."""
    arrays: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in samples]) for name in JOINED}
    arrays |= {name: np.stack([getattr(one, name) for one in samples]) for name in STACKED}
    arrays["counts"] = np.array([len(one.boxes) for one in samples])
    arrays["found_counts"] = np.array([len(one.found_boxes) for one in samples])
    np.savez(path, **arrays)


def official_vad(
    samples: Sequence[VadSample],
    *,
    environment: Environment,
    checkout: Path,
    layout: Layout,
    folder: Path,
    timeout_s: float = 4 * 3600.0,
) -> Mapping[str, Any]:
    """Return what VAD's code says: `stp3` and `motion`, values by name, None where nothing was there to measure.

    Args:
        environment: `environments.ensure_official(layout, OFFICIAL_NAME)`.
        checkout: VAD's code.
        folder: where the input and output files stay.

    Raises:
        EnvError: the program failed; the message ends with what it said last.
    """
    given, result = folder / "vad_samples.npz", folder / "vad_result.json"
    write_samples(given, samples)
    program = layout.envs / "official" / OFFICIAL_NAME / "evaluate.py"
    answer = ask_program(
        "VAD's metrics",
        [environment.python, program, "--samples", given, "--vad", checkout],
        result=result,
        variables=environment.variables,
        timeout_s=timeout_s,
    )
    values: Mapping[str, Any] = msgspec.json.decode(answer)
    return values
