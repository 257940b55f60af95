"""How many cars a detector finds in each picture, against a number of cars alone.

A number does not say where the cars are, so that no box can be right or wrong. Of p boxes and g cars at most min(p, g)
are right: F1 = 2 · right / (p + g) is at most `F1_bound` = 2 · Σ min(p, g) / Σ (p + g) over all pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.detection_2d.protocols import COUNT_METRICS, COUNT_PROTOCOL
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights, resample_ratios

UNDECLARED = "the model declares no operating threshold ([detection_2d] operating_threshold in its model.toml)"


@dataclass(frozen=True, kw_only=True)
class CountEvaluation:
    """`counts` (I, 2): how many cars each picture has, and how many boxes there are from the threshold on."""

    counts: NDArray[np.int64]
    threshold: float | None
    values: Mapping[str, float | None]

    protocol = COUNT_PROTOCOL

    def metrics(self, dataset: str) -> list[Metric]:
        """`count_score`, `count_error` and `F1_bound`."""
        return [
            Metric(name=name, protocol=self.protocol, value=value, n=len(self.counts), dataset=dataset)
            for name, value in self.values.items()
        ]

    def details(self) -> dict[str, Any]:
        """The sums over all pictures, or why there are none."""
        if self.threshold is None:
            return {"operating_threshold": None, "not_applicable": dict.fromkeys(COUNT_METRICS, UNDECLARED)}
        there, found = self.counts.sum(axis=0).tolist()
        return {"operating_threshold": self.threshold, "there": there, "found": found}

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples; `scenes` holds the scene of each picture."""
        if self.threshold is None:
            return {}
        ratios = resample_ratios(*_ratios(self.counts), scenes, weights)
        return dict(zip(COUNT_METRICS, ratios.T, strict=True))


def evaluate_counts(counts: NDArray[np.int64], *, threshold: float | None) -> CountEvaluation:
    """Evaluate `counts`, (I, 2); without a threshold nothing is defined."""
    values: dict[str, float | None] = dict.fromkeys(COUNT_METRICS)
    if threshold is not None:
        above, below = (part.sum(axis=0).tolist() for part in _ratios(counts))
        values = {name: a / b if b else None for name, a, b in zip(COUNT_METRICS, above, below, strict=True)}
    return CountEvaluation(counts=counts, threshold=threshold, values=values)


def _ratios(counts: NDArray[np.int64]) -> tuple[Values, Values]:
    """What each picture adds to the numerators and denominators of COUNT_METRICS, (I, 3) each."""
    there, found = counts.T.astype(np.float64)
    error = np.abs(found - there)
    each = np.ones_like(there)
    score = np.maximum(0.0, 1.0 - error / np.maximum(there, 1))
    above = np.stack([score, error, 2 * np.minimum(found, there)], axis=1)
    return above, np.stack([each, each, found + there], axis=1)
