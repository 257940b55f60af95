"""Where a run's samples lie: how near to a place that models were trained on, and in which town.

More than four fifths of nuScenes' validation and test samples lie within 5 m of a training sample (arXiv 2312.06420),
and a map can be remembered. The map metrics of samples further away say what a model makes of streets that it has not
seen. No retraining and no other split is needed: the ego poses of the training samples of the same map decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from admlops.core.errors import DataError
from admlops.datasets.base import HasTrainingPlaces
from admlops.evaluation.base import Result
from admlops.evaluation.context import Context

BOUNDS_M = (5.0, 20.0)
NAMES = ("< 5 m", "5–20 m", "> 20 m")
NEAR_SHARE = 0.1
"""The share of near samples from which on a reader is warned."""
UNKNOWN = "the data set has no training samples to measure distances to"

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def distances_to_training(context: Context) -> Floats | None:
    """Return the distance of each sample of a run to the nearest training sample of its map [m], (S,).

    Samples of a map without any training sample are infinitely far. None where the data set has no training samples, or
    the run is over these itself.
    """
    return context.share("geography.distances", lambda: _measure(context))


def _measure(context: Context) -> Floats | None:
    data = context.data
    if not isinstance(data, HasTrainingPlaces):
        return None
    scenes = {entry.scene for entry in context.metadata}
    try:
        places = data.training_places()
    except DataError:
        return None
    trained = {name: np.concatenate(list(rows.values())) for name, rows in places.items() if rows}
    if not trained or any(scenes & set(rows) for rows in places.values()):
        return None
    found = np.full(len(context.tokens), np.inf)
    towns = np.array([scene.location for scene in context.scenes])
    own = np.array([context.samples[token]["ego2global"]["translation"][:2] for token in context.tokens])
    for town, positions in trained.items():
        rows = np.flatnonzero(towns == town)
        if len(rows):
            found[rows] = cKDTree(positions).query(own[rows])[0]
    return found


def slice_places(result: Result, context: Context) -> dict[str, Any]:
    """Return the slices `geography` and `town` of a result that is resampled by samples."""
    towns = [scene.location or "unknown" for scene in context.scenes]
    names = sorted(set(towns))
    number = np.array([names.index(town) for town in towns], dtype=np.int64)
    found: dict[str, Any] = {"town": _slice(result, number, names)}
    distances = distances_to_training(context)
    if distances is None:
        return {**found, "geography": {"reason": UNKNOWN}}
    bins = np.searchsorted(BOUNDS_M, distances, side="right").astype(np.int64)
    return {**found, "geography": _slice(result, bins, NAMES)}


def _slice(result: Result, group: Integers, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    counts = np.bincount(group, minlength=len(names))
    values = result.resample(group, np.eye(len(names), dtype=np.int32))
    return {
        name: {
            "samples": int(counts[row]),
            **{metric: _value(own[row], int(counts[row])) for metric, own in values.items()},
        }
        for row, name in enumerate(names)
    }


def _value(value: float, samples: int) -> float | None:
    return float(value) if samples and not np.isnan(value) else None


def note_leakage(context: Context, evaluated: Sequence[str]) -> list[str]:
    """Return the warning for a run whose samples lie where models were trained, or for which this is not known."""
    if not any("map" in name for name in evaluated):
        return []
    distances = distances_to_training(context)
    if distances is None:
        return []
    near = float((distances < BOUNDS_M[0]).mean())
    if near < NEAR_SHARE:
        return []
    share = f"{100 * near:.0f} % of the samples lie within 5 m of a training sample of the same map"
    return [f"{share}: a map may have been remembered; admlops evaluate --by geography shows the others apart"]
