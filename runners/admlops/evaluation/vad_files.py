"""Plans and futures in a file, as the program in envs/official/vad reads them for VAD's own metrics.

All samples one after another, `counts` and `found_counts` of them each: annotated objects as VAD's files have them
(`boxes`, `features`, `labels`), predicted ones above any score (`found_boxes`, `found_labels`, `found_scores`,
`modes`), and for each sample the steps of the `plan` and of the driven `path` and which of these are `known`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from admlops.environments import Environment
from admlops.errors import EnvError
from admlops.paths import Layout
from admlops.processes import run

OFFICIAL_NAME = "vad"
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
    result.unlink(missing_ok=True)  # of an earlier evaluation, so that a failure leaves no old answer behind
    program = layout.envs / "official" / OFFICIAL_NAME / "evaluate.py"
    command: list[str | Path] = [environment.python, program, "--samples", given, "--vad", checkout, "--out", result]
    completed = run(command, variables=environment.variables, timeout_s=timeout_s)
    if completed.returncode != 0:
        said = completed.stderr.strip().splitlines()
        raise EnvError(
            f"VAD's metrics failed ({completed.returncode}): {said[-1] if said else 'no message'}",
            hint="to see all of it: " + " ".join(str(argument) for argument in command),
        )
    values: Mapping[str, Any] = msgspec.json.decode(result.read_bytes())
    return values
