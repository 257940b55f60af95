"""Detection metrics of slices of the data: by scene, distance, visibility, light and weather.

Boxes are matched once, over everything; a slice then takes what belongs to it:

- a scene, or the scenes of one light or weather: everything in its samples;
- a distance ring: the ground truth inside the ring; the predictions matched to it, wherever they lie; and the unmatched
  predictions inside the ring. A match across the border is therefore never a false positive.
- a visibility level: its ground truth, the predictions matched to it, and every unmatched prediction, because a false
  positive has no visibility. Precision is not meaningful per level: use recall.

Means run over the classes that have ground truth in the slice, not over all ten: far away there are no cones to find.
So these numbers have a protocol id of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.datasets.annotations import SampleScene
from admlops.evaluation.detection_3d.boxes import Floats, Integers, Mask
from admlops.evaluation.detection_3d.filters import DISTANCES_M
from admlops.evaluation.detection_3d.matching import NO_PARTNER
from admlops.evaluation.detection_3d.scores import ERROR_COLUMN, Matching, Score, combine, score_rows
from admlops.evaluation.detection_3d.true_positive_errors import ERRORS
from admlops.evaluation.slices import UNDESCRIBED, find_conditions, number_scenes

RINGS_M = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)
VISIBILITIES = {1: "0-40 %", 2: "40-60 %", 3: "60-80 %", 4: "80-100 %"}
PROTOCOL_SUFFIX = ".present-classes"

Slice = Mapping[str, Any]


def slice_detections(matching: Matching, scenes: Sequence[SampleScene], *, protocol: str) -> dict[str, Any]:
    """Return the metrics of every slice in the form of metrics.json; `scenes` holds the scene of each sample."""
    names, scene = number_scenes(scenes)
    return {
        "protocol": protocol + PROTOCOL_SUFFIX,
        "scene": dict(zip(names, _by_sample_group(matching, scene, len(names)), strict=True)),
        "distance": _by_distance(matching),
        "visibility": _by_visibility(matching),
        "conditions": _by_conditions(matching, scenes),
    }


def slice_samples(matching: Matching, groups: Mapping[str, Mask]) -> dict[str, Slice]:
    """Return the metrics of groups of samples that may overlap; `groups` says by name which samples are in it, (S,)."""
    return {name: _by_sample_group(matching, np.where(mask, 0, -1), 1)[0] for name, mask in groups.items()}


def _by_sample_group(matching: Matching, group: Integers, groups: int) -> list[Slice]:
    """Return a slice for each group of samples; `group` (S,) says which a sample is in, -1 for none."""
    of_box = group[matching.predictions.sample[matching.order]]
    order = np.argsort(of_box, kind="stable")
    bounds = np.searchsorted(of_box[order], np.arange(groups + 1))
    rows = matching.order[order]
    of_truth = group[matching.truth.boxes.sample]
    parts: list[Slice] = []
    for index in range(groups):
        labels = matching.truth.boxes.label[of_truth == index]
        part = score_rows(matching, rows[bounds[index] : bounds[index + 1]], truth=labels)
        parts.append({"samples": int((group == index).sum()), **_shape(part)})
    return parts


def _by_distance(matching: Matching) -> dict[str, Slice]:
    ring_of_truth = _ring(matching.truth.boxes.center, matching.truth.boxes.sample, matching.truth.ego)
    own = _ring(matching.predictions.center, matching.predictions.sample, matching.truth.ego)
    rings = _of_partner(matching, ring_of_truth, own[np.newaxis])
    parts = {}
    for index in range(len(RINGS_M) - 1):
        name = f"{RINGS_M[index]:g}-{RINGS_M[index + 1]:g} m"
        parts[name] = _part(matching, ring_of_truth == index, rings == index)
    return parts


def _by_visibility(matching: Matching) -> dict[str, Slice]:
    levels = matching.truth.visibility.astype(np.int64)
    nothing = np.full((1, len(matching.predictions)), -1)
    of_partner = _of_partner(matching, levels, nothing)
    return {
        name: _part(matching, levels == level, (of_partner == level) | (of_partner == -1))
        for level, name in VISIBILITIES.items()
    }


def _by_conditions(matching: Matching, scenes: Sequence[SampleScene]) -> dict[str, Any]:
    found = find_conditions(scenes)
    if not found:
        return {"reason": UNDESCRIBED}
    day, night = _by_sample_group(matching, found["night"].astype(np.int64), 2)
    dry, rain = _by_sample_group(matching, found["rain"].astype(np.int64), 2)
    return {"day": day, "night": night, "dry": dry, "rain": rain}


def _part(matching: Matching, truth: Mask, counted: Mask) -> Slice:
    chosen = np.asarray(counted.any(axis=0))
    rows = matching.order[chosen[matching.order]]
    part = score_rows(matching, rows, truth=matching.truth.boxes.label[truth], counted=counted)
    partners = matching.partners[ERROR_COLUMN]
    found = np.zeros(len(truth), np.bool_)
    found[partners[partners != NO_PARTNER]] = True
    there = int(truth.sum())
    return {"recall": float((truth & found).sum()) / there if there else None, **_shape(part)}


def _of_partner(matching: Matching, of_truth: Integers, otherwise: Integers) -> Integers:
    """(4, N): at each threshold the partner's entry in `of_truth`; `otherwise` for a prediction without one."""
    if not len(of_truth):
        return np.broadcast_to(otherwise, (len(DISTANCES_M), len(matching.predictions)))
    return np.where(matching.partners != NO_PARTNER, of_truth[matching.partners], otherwise)


def _ring(center: Floats, sample: NDArray[np.int32], ego: Floats) -> Integers:
    away = np.linalg.norm(center[:, :2] - ego[sample, :2], axis=1)
    ring: Integers = np.searchsorted(RINGS_M, away, side="right") - 1
    return ring


def _shape(part: Score) -> dict[str, Any]:
    present = {name: entry for name, entry in part.classes.items() if entry.truth}
    shape: dict[str, Any] = {
        "ground_truth": sum(entry.truth for entry in present.values()),
        "predictions": sum(entry.predictions for entry in part.classes.values()),
        "classes": {name: entry.mean_ap for name, entry in present.items()},
    }
    if not present:
        return {**shape, "mAP": None, "NDS": None, "errors": {}}
    mean_ap = float(np.mean([entry.mean_ap for entry in present.values()]))
    errors = {}
    for error in ERRORS:
        values = [entry.errors[error] for entry in present.values() if not np.isnan(entry.errors[error])]
        errors[error] = float(np.mean(values)) if values else 1.0
    return {**shape, "mAP": mean_ap, "NDS": combine(mean_ap, errors), "errors": errors}
