"""AP of vector map elements in resampled scenes: a thousand evaluations for the price of a few.

Matching happens within samples, so another choice of scenes changes no match, only how often each one counts. For each
scene the predictions and the true positives are counted up to the places of true positives in the order of confidence;
a resample is a weighted sum over scenes. With more than PLACES true positives, some of them stand for all, and the area
between two is a trapezium: that moves a resampled AP by some 10⁻⁵.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from admlops.evaluation.bootstrap import Scenes, Values, Weights
from admlops.evaluation.map_curves import SampleMatch, true_positives_of

PLACES = 512


def resample_ap(matches: Sequence[SampleMatch], limits: Sequence[float], scenes: Scenes, weights: Weights) -> Values:
    """The AP of one class, the mean over `limits`, in each resample, (R,).

    Args:
        matches: of each sample.
        scenes: (S,) the scene of each sample, from 0.
        weights: (R, C) how often each resample has each scene.
    """
    confidences = np.concatenate([np.zeros(0), *(match.confidences for match in matches)])
    order = np.argsort(-confidences, kind="stable")
    scene = np.repeat(scenes, [len(match.ids) for match in matches])[order]
    often = weights.astype(np.float64)
    there = [len(match.ground_truth) for match in matches]
    truth = often @ np.bincount(scenes, weights=there, minlength=weights.shape[1])
    areas = [_area(true_positives_of(matches, limit)[order], scene, truth, often) for limit in limits]
    mean: Values = np.mean(areas, axis=0)
    return mean


def _area(positive: np.ndarray, scene: Scenes, truth: Values, weights: Values) -> Values:
    """The area under the curve of one class at one limit in each resample; predictions in order of confidence."""
    hits = np.flatnonzero(positive)
    if not len(hits):
        return np.zeros(len(weights))
    chosen = np.linspace(0, len(hits) - 1, min(len(hits), PLACES)).round().astype(np.int64)
    places = hits[chosen]
    cell = np.searchsorted(places, np.arange(len(positive))) * weights.shape[1] + scene
    size = (len(places) + 1, weights.shape[1])

    def count(cells: np.ndarray) -> Values:
        up_to = np.bincount(cells, minlength=size[0] * size[1]).reshape(size)[:-1].cumsum(axis=0)
        counts: Values = weights @ up_to.T.astype(np.float64)
        return counts

    everything, found = count(cell), count(cell[hits])
    precision = found / np.maximum(everything, 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    if len(places) < len(hits):
        envelope = (envelope + np.concatenate([envelope[:, :1], envelope[:, :-1]], axis=1)) / 2
    rise = np.diff(found, axis=1, prepend=0)
    area: Values = (rise * envelope).sum(axis=1) / np.maximum(truth, 1)
    return area
