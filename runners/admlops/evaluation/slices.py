"""Detection metrics of parts of a data set: by scene, distance, visibility, light and weather.

Boxes are matched once, over everything; a part then takes what belongs to it:

- a scene, or the scenes of one light or weather, everything in its samples;
- a ring of distances around the ego vehicle the ground truth in it, the predictions that match such ground truth, and
  of the others those that lie in it themselves: no prediction is wrong because its partner lies across a border;
- a visibility the ground truth of it, the predictions that match such, and all that match nothing: a false positive has
  no visibility, so precision falls with the rarity of the level, and recall is what to read.

Means run over the classes that have ground truth in the part, not over all ten: far away there are no cones to find.
So these numbers have a protocol id of their own.

A scene is at night or in rain if the annotators' description in the scene table has the word.

Other tasks than boxes have parts by scene, light and weather alone. Such a part is a resample that draws its scenes
once and no others, so its values are those of an evaluation of these scenes, under the same protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.datasets.nuscenes.annotations import SampleScene
from admlops.evaluation.base import Part as Evaluated
from admlops.evaluation.detection_3d.boxes import Floats, Integers, Mask
from admlops.evaluation.detection_3d.matching import NO_PARTNER
from admlops.evaluation.detection_3d.protocols import DISTANCES_M
from admlops.evaluation.detection_3d.scores import ERROR_COLUMN, Matching, Score, combine, score_rows
from admlops.evaluation.detection_3d.true_positive_errors import ERRORS

RINGS_M = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)
VISIBILITIES = {1: "0-40 %", 2: "40-60 %", 3: "60-80 %", 4: "80-100 %"}
PROTOCOL_SUFFIX = ".present-classes"
UNDESCRIBED = "the scenes have no description, which says whether it is night or rains"

Part = Mapping[str, Any]


def break_down(matching: Matching, scenes: Sequence[SampleScene], *, protocol: str) -> dict[str, Any]:
    """The metrics of every part; `scenes` holds the scene of each sample. The form is that of `metrics.json`."""
    names, scene = _number(scenes)
    return {
        "protocol": protocol + PROTOCOL_SUFFIX,
        "scene": dict(zip(names, _by_sample_group(matching, scene, len(names)), strict=True)),
        "distance": _by_distance(matching),
        "visibility": _by_visibility(matching),
        "conditions": _by_conditions(matching, scenes),
    }


def break_down_scenes(part: Evaluated, scenes: Sequence[SampleScene]) -> dict[str, Any] | None:
    """The values of every scene, light and weather, as `break_down` has them; None for what is not resampled.

    `scenes` holds the scene of each sample of the run. A value is None where its protocol leaves it undefined, and
    where the part has no samples.
    """
    names, scene = _number(scenes)
    conditions = {
        name: np.bincount(scene[mask], minlength=len(names)) > 0 for name, mask in _conditions(scenes).items()
    }
    weights = np.stack([*np.eye(len(names), dtype=np.bool_), *conditions.values()]).astype(np.int32)
    values = part.resample(scene, weights)
    if not values:
        return None
    samples = weights @ np.bincount(scene, minlength=len(names))
    rows = [
        {"samples": int(count), **{name: _value(own[row], count) for name, own in values.items()}}
        for row, count in enumerate(samples)
    ]
    described = dict(zip(conditions, rows[len(names) :], strict=True))
    return {
        "protocol": part.metrics("")[0].protocol,
        "scene": dict(zip(names, rows, strict=False)),
        "conditions": described or {"reason": UNDESCRIBED},
    }


def _value(value: float, samples: int) -> float | None:
    return float(value) if samples and not np.isnan(value) else None


def _number(scenes: Sequence[SampleScene]) -> tuple[list[str], Integers]:
    """The scenes' names in order of appearance, and the place of each sample's scene among them."""
    names = list(dict.fromkeys(scene.name for scene in scenes))
    number = {name: index for index, name in enumerate(names)}
    return names, np.array([number[entry.name] for entry in scenes], dtype=np.int64)


def _conditions(scenes: Sequence[SampleScene]) -> dict[str, Mask]:
    """By condition which samples are in it; empty where no scene is described."""
    if not any(scene.description for scene in scenes):
        return {}
    night, rain = (np.array([word in scene.description.lower() for scene in scenes]) for word in ("night", "rain"))
    return {"day": ~night, "night": night, "dry": ~rain, "rain": rain}


def _by_sample_group(matching: Matching, group: Integers, groups: int) -> list[Part]:
    """One part for each group of samples; `group` (S,) says which a sample is in, -1 for none."""
    of_box = group[matching.predictions.sample[matching.order]]
    order = np.argsort(of_box, kind="stable")
    bounds = np.searchsorted(of_box[order], np.arange(groups + 1))
    rows = matching.order[order]
    of_truth = group[matching.truth.boxes.sample]
    parts: list[Part] = []
    for index in range(groups):
        labels = matching.truth.boxes.label[of_truth == index]
        part = score_rows(matching, rows[bounds[index] : bounds[index + 1]], truth=labels)
        parts.append({"samples": int((group == index).sum()), **_shape(part)})
    return parts


def _by_distance(matching: Matching) -> dict[str, Part]:
    ring_of_truth = _ring(matching.truth.boxes.center, matching.truth.boxes.sample, matching.truth.ego)
    own = _ring(matching.predictions.center, matching.predictions.sample, matching.truth.ego)
    rings = _of_partner(matching, ring_of_truth, own[np.newaxis])
    parts = {}
    for index in range(len(RINGS_M) - 1):
        name = f"{RINGS_M[index]:g}-{RINGS_M[index + 1]:g} m"
        parts[name] = _part(matching, ring_of_truth == index, rings == index)
    return parts


def _by_visibility(matching: Matching) -> dict[str, Part]:
    levels = matching.truth.visibility.astype(np.int64)
    nothing = np.full((1, len(matching.predictions)), -1)
    of_partner = _of_partner(matching, levels, nothing)
    return {
        name: _part(matching, levels == level, (of_partner == level) | (of_partner == -1))
        for level, name in VISIBILITIES.items()
    }


def _by_conditions(matching: Matching, scenes: Sequence[SampleScene]) -> dict[str, Any]:
    found = _conditions(scenes)
    if not found:
        return {"reason": UNDESCRIBED}
    day, night = _by_sample_group(matching, found["night"].astype(np.int64), 2)
    dry, rain = _by_sample_group(matching, found["rain"].astype(np.int64), 2)
    return {"day": day, "night": night, "dry": dry, "rain": rain}


def _part(matching: Matching, truth: Mask, counted: Mask) -> Part:
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
