"""Metrics of slices of the data: every scene, and the scenes by day, by night, in the dry and in rain.

A slice of scenes is a resample that draws its scenes once and no others, so its values are those of an evaluation of
these scenes alone, under the same protocol. A scene is at night or in rain if the annotators' description in the scene
table has the word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.datasets.annotations import SampleScene
from admlops.evaluation.base import Result

UNDESCRIBED = "the scenes have no description, which says whether it is night or rains"

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


def slice_scenes(result: Result, scenes: Sequence[SampleScene]) -> dict[str, Any] | None:
    """Return the values of every scene, light and weather; None for what is not resampled.

    `scenes` holds the scene of each sample of the run. A value is None where its protocol leaves it undefined, and
    where the slice has no samples.
    """
    names, scene = number_scenes(scenes)
    conditions = {
        name: np.bincount(scene[mask], minlength=len(names)) > 0 for name, mask in find_conditions(scenes).items()
    }
    weights = np.stack([*np.eye(len(names), dtype=np.bool_), *conditions.values()]).astype(np.int32)
    values = result.resample(scene, weights)
    if not values:
        return None
    samples = weights @ np.bincount(scene, minlength=len(names))
    rows = [
        {"samples": int(count), **{name: _value(own[row], count) for name, own in values.items()}}
        for row, count in enumerate(samples)
    ]
    described = dict(zip(conditions, rows[len(names) :], strict=True))
    return {
        "protocol": result.protocol,
        "scene": dict(zip(names, rows, strict=False)),
        "conditions": described or {"reason": UNDESCRIBED},
    }


def slice_samples(result: Result, groups: Mapping[str, Mask]) -> dict[str, Any] | None:
    """Return the values of groups of samples that may overlap; None for what is not resampled.

    Args:
        groups: by name which samples are in it, (S,).
    """
    names, weights = list(groups), np.stack(list(groups.values())).astype(np.int32)
    values = result.resample(np.arange(weights.shape[1], dtype=np.int64), weights)
    if not values:
        return None
    counts = weights.sum(axis=1)
    return {
        name: {
            "samples": int(counts[row]),
            **{metric: _value(own[row], int(counts[row])) for metric, own in values.items()},
        }
        for row, name in enumerate(names)
    }


def _value(value: float, samples: int) -> float | None:
    return float(value) if samples and not np.isnan(value) else None


def number_scenes(scenes: Sequence[SampleScene]) -> tuple[list[str], Integers]:
    """The scenes' names in order of appearance, and the place of each sample's scene among them."""
    names = list(dict.fromkeys(scene.name for scene in scenes))
    number = {name: index for index, name in enumerate(names)}
    return names, np.array([number[entry.name] for entry in scenes], dtype=np.int64)


def find_conditions(scenes: Sequence[SampleScene]) -> dict[str, Mask]:
    """By condition which samples are in it; empty where no scene is described."""
    if not any(scene.description for scene in scenes):
        return {}
    night, rain = (np.array([word in scene.description.lower() for scene in scenes]) for word in ("night", "rain"))
    return {"day": ~night, "night": night, "dry": ~rain, "rain": rain}
