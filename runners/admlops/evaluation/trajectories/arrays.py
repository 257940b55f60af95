"""What plans and possible futures are as arrays, at 0.5 s steps up to 3 s, in the LiDAR frame (x right, y forward)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from admlops.core.nuscenes_classes import MMDET3D_CLASSES

STEPS = 6
STEP_S = 0.5
LABELS = {name: label for label, name in enumerate(MMDET3D_CLASSES)}
"""VAD's numbers of nuScenes' ten detection classes."""

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class MotionTruth:
    """Objects of a sample: `centers` (G, 2) [m], `labels` (G,), `steps` (G, 6, 2) [m] from each position to the next.

    `known` (G, 6) says which steps are known, the first ones without a gap.
    """

    centers: Floats
    labels: NDArray[np.integer]
    steps: Floats
    known: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class MotionPrediction:
    """Predicted objects: `centers` (P, 2) [m], `labels` and `scores` (P,), `steps` (P, modes, 6, 2) [m]."""

    centers: Floats
    labels: NDArray[np.integer]
    scores: Floats
    steps: Floats


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Where A others will be: `positions` (A, 6, 2) [m], `yaws` (A, 6) [rad] from the x axis, `sizes_lw` (A, 2) [m].

    `present` (A, 6) says at which steps they are there; `vehicle` and `person` (A,) what they are; a cycle is a
    vehicle, as in VAD.
    """

    positions: Floats
    yaws: Floats
    sizes_lw: Floats
    present: Bools
    vehicle: Bools
    person: Bools


@dataclass(frozen=True, kw_only=True)
class PlanTruth:
    """The driven path of a sample, (6, 2) [m], the steps at which it is known, and the traffic."""

    path: Floats
    known: Bools
    traffic: Traffic

    @property
    def is_whole(self) -> bool:
        """Tell whether all six steps are known."""
        return bool(self.known.all())


def no_futures() -> MotionPrediction:
    """Return the prediction of a sample in which nothing is predicted."""
    return MotionPrediction(
        centers=np.zeros((0, 2)), labels=np.zeros(0, np.int64), scores=np.zeros(0), steps=np.zeros((0, 1, STEPS, 2))
    )


def positions(steps: Floats) -> Floats:
    """Add up steps along the last but one axis to positions [m]: in double precision, rounded after, as in torch."""
    return np.cumsum(steps, axis=-2, dtype=np.float64).astype(np.float32)
