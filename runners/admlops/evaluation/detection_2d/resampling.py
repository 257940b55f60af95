"""COCO's numbers in resampled scenes, from the matches that pycocotools made: matching happens within images.

A class counts in a resample in which it has ground truth, as it counts in COCO's means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.statistics.ap_resampling import resample_hundred_points
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights

AREAS = ("", "s", "m", "l")
"""COCO's ranges of areas in the order of its parameters: all, small, medium, large."""

AT_50, AT_75 = 0, 5
"""Places of two IoU thresholds among COCO's ten."""


@dataclass(frozen=True, kw_only=True)
class ImageMatches:
    """The N boxes found of one class, of objects in one range of areas, image after image, the best first in each.

    Attributes:
        image: (N,) the box's image, from 0.
        rank: (N,) its place in its image.
        confidence: (N,).
        right, counted: (T, N) at each IoU threshold: whether it took an object, and whether it counts at all.
        truth: (I,) objects in each image.
    """

    image: NDArray[np.int64]
    rank: NDArray[np.int64]
    confidence: Values
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    truth: NDArray[np.int64]


def read_matches(evaluation: Any, classes: Sequence[str]) -> dict[str, tuple[ImageMatches, ...]]:
    """By class its matches in each of AREAS, from a COCOeval that has evaluated."""
    images, thresholds = len(evaluation.params.imgIds), len(evaluation.params.iouThrs)

    def read(place: int) -> ImageMatches:
        return _read(evaluation.evalImgs[place * images : (place + 1) * images], thresholds)

    return {
        name: tuple(read(index * len(AREAS) + area) for area in range(len(AREAS))) for index, name in enumerate(classes)
    }


def _read(found: Sequence[Mapping[str, Any] | None], thresholds: int) -> ImageMatches:
    """One class and range of areas; None is an image with neither objects nor boxes of the class."""
    known = [(index, one) for index, one in enumerate(found) if one is not None]
    sizes = [len(one["dtScores"]) for _, one in known]
    nothing = np.zeros((thresholds, 0))
    ignored = np.concatenate([nothing, *(one["dtIgnore"] for _, one in known)], axis=1).astype(np.bool_)
    matched = np.concatenate([nothing, *(one["dtMatches"] for _, one in known)], axis=1) != 0
    truth = np.zeros(len(found), np.int64)
    for index, one in known:
        truth[index] = int((np.asarray(one["gtIgnore"]) == 0).sum())
    return ImageMatches(
        image=np.repeat(np.array([index for index, _ in known], dtype=np.int64), sizes),
        rank=np.concatenate([np.zeros(0, np.int64), *(np.arange(size) for size in sizes)]),
        confidence=np.concatenate([np.zeros(0), *(one["dtScores"] for _, one in known)]),
        right=matched & ~ignored,
        counted=~ignored,
        truth=truth,
    )


def resample_coco(matches: Mapping[str, Sequence[ImageMatches]], scenes: Scenes, weights: Weights) -> dict[str, Values]:
    """COCO's twelve numbers and `AP_<class>` in each resample, (R,); NaN where none of the classes has ground truth.

    Args:
        matches: as `read_matches` gives them.
        scenes: (I,) the scene of each image, from 0.
        weights: (R, C) how often each resample has each scene.
    """
    values: dict[str, Values] = {}
    for place, area in enumerate(AREAS):
        own = {name: areas[place] for name, areas in matches.items()}
        precision = {name: _precision(one, scenes, weights) for name, one in own.items()}
        values[f"AP{area}"] = _mean([one.mean(axis=0) for one in precision.values()])
        values[f"AR{area or 100}"] = _mean([_recall(one, scenes, weights, most=100) for one in own.values()])
        if not area:
            values["AP50"] = _mean([one[AT_50] for one in precision.values()])
            values["AP75"] = _mean([one[AT_75] for one in precision.values()])
            for most in (1, 10):
                values[f"AR{most}"] = _mean([_recall(one, scenes, weights, most=most) for one in own.values()])
            values |= {f"AP_{name}": one.mean(axis=0) for name, one in precision.items()}
    return values


def _precision(one: ImageMatches, scenes: Scenes, weights: Weights) -> Values:
    """The mean precision over 101 recalls at each IoU threshold in each resample, (T, R)."""
    truth = np.bincount(scenes, weights=one.truth, minlength=weights.shape[1]).astype(np.int64)
    scene = scenes[one.image]
    return np.stack(
        [
            resample_hundred_points(one.confidence[counted], right[counted], scene[counted], truth, weights)
            for right, counted in zip(one.right, one.counted, strict=True)
        ]
    )


def _recall(one: ImageMatches, scenes: Scenes, weights: Weights, *, most: int) -> Values:
    """The mean recall over the IoU thresholds with at most so many boxes an image, (R,)."""
    often = weights.astype(np.float64)
    there = often @ np.bincount(scenes, weights=one.truth, minlength=weights.shape[1])
    kept = one.rank < most
    right = one.right[:, kept].mean(axis=0)
    found = often @ np.bincount(scenes[one.image[kept]], weights=right, minlength=weights.shape[1])
    recall: Values = np.divide(found, there, out=np.full(len(there), np.nan), where=there > 0)
    return recall


def _mean(columns: Sequence[Values]) -> Values:
    """The mean over the classes that are defined in a resample; NaN where none is."""
    values = np.stack(columns)
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=0)
    count = defined.sum(axis=0)
    mean: Values = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    return mean
