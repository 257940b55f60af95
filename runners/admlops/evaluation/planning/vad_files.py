"""Files for VAD's own metrics, as the programs in envs/official read them.

For plans and futures (envs/official/vad): all samples one after another, `counts` and `found_counts` of them each:
annotated objects as VAD's files have them (`boxes`, `features`, `labels`), predicted ones above any score
(`found_boxes`, `found_labels`, `found_scores`, `modes`), and for each sample the steps of the `plan` and of the driven
`path` and which of these are `known`. For boxes: see envs/official/nuscenes/vad_detection.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.environments import Environment
from admlops.evaluation.detection_3d.nuscenes_submission import most_confident
from admlops.evaluation.official.program import ask_program
from admlops.results.record import Record

OFFICIAL_NAME = "vad"
BOXES_OFFICIAL_NAME = "nuscenes"
"""The folder of envs/official whose environment measures VAD's boxes."""

CHECKOUT = "VAD"
"""The folder of submodules/ that its code comes from."""

JOINED = ("boxes", "features", "labels", "found_boxes", "found_labels", "found_scores", "modes")
STACKED = ("plan", "path", "known")

Array = NDArray[Any]


class Sample(Protocol):
    """One sample as VAD has it: A annotated objects and P predicted ones with M possible futures."""

    @property
    def boxes(self) -> Array:
        """(A, 9) x, y, z, width, length, height, yaw of mmdet3d 0.17, velocity."""

    @property
    def features(self) -> Array:
        """(A, 34), `gt_attr_labels`."""

    @property
    def labels(self) -> Array: ...
    @property
    def found_boxes(self) -> Array: ...
    @property
    def found_labels(self) -> Array: ...
    @property
    def found_scores(self) -> Array: ...
    @property
    def modes(self) -> Array:
        """(P, M, 6, 2) steps [m]."""

    @property
    def plan(self) -> Array:
        """(6, 2) steps [m]."""

    @property
    def path(self) -> Array: ...
    @property
    def known(self) -> Array: ...


@dataclass(frozen=True, kw_only=True)
class VadSample:
    """A `Sample`."""

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


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples for the official program."""
    arrays: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in samples]) for name in JOINED}
    arrays |= {name: np.stack([getattr(one, name) for one in samples]) for name in STACKED}
    arrays["counts"] = np.array([len(one.boxes) for one in samples])
    arrays["found_counts"] = np.array([len(one.found_boxes) for one in samples])
    np.savez(path, **arrays)


def official_vad(
    samples: Sequence[Sample],
    *,
    environment: Environment,
    checkout: Path,
    layout: Layout,
    folder: Path,
    timeout_s: float = 4 * 3600.0,
) -> Mapping[str, Any]:
    """What VAD's code says: `stp3` and `motion`, values by name, None where nothing was there to measure.

    Args:
        environment: `environments.ensure_official(layout, OFFICIAL_NAME)`.
        checkout: VAD's code.
        folder: where what goes in and comes out stays.

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


def official_vad_boxes(
    records: Iterable[Record],
    samples: Mapping[str, Mapping[str, Any]],
    *,
    dataroot: Path,
    version: str,
    environment: Environment,
    checkout: Path,
    layout: Layout,
    folder: Path,
    timeout_s: float = 4 * 3600.0,
) -> Mapping[str, Any]:
    """What VAD's code says of the boxes: `summary`, as nuscenes-devkit's `DetectionMetrics`, and `numpy`'s version.

    Args:
        samples: by token, each sample in the shape of docs/architecture.md.
        environment: `environments.ensure_official(layout, BOXES_OFFICIAL_NAME)`.
        checkout, folder: as for `official_vad`.

    Raises:
        EnvError: the program failed; the message ends with what it said last.
    """
    given, result = folder / "vad_detection.json", folder / "vad_detection_result.json"
    content = msgspec.json.encode([_boxes_of(record, samples[record.metadata.sample_token]) for record in records])
    write_atomically(given, content)
    program = layout.envs / "official" / BOXES_OFFICIAL_NAME / "vad_detection.py"
    command: list[str | Path] = [environment.python, program, "--vad", checkout, "--samples", given]
    answer = ask_program(
        "VAD's detection metrics",
        [*command, "--dataroot", dataroot, "--version", version],
        result=result,
        variables={**environment.variables, "MPLBACKEND": "agg"},
        timeout_s=timeout_s,
    )
    values: Mapping[str, Any] = msgspec.json.decode(answer)
    return values


def _boxes_of(record: Record, sample: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "token": record.metadata.sample_token,
        "ego2global_translation": sample["ego2global"]["translation"],
        "ego2global_rotation": sample["ego2global"]["rotation_wxyz"],
        "boxes": [
            {
                "center": one.bbox_3d.center,
                "size_wlh": one.bbox_3d.size_wlh,
                "rotation_wxyz": one.bbox_3d.rotation_wxyz,
                "velocity": one.bbox_3d.velocity,
                "class_name": one.class_name,
                "confidence": one.confidence,
            }
            for one in most_confident(record.detections_3d or [])
        ],
    }
