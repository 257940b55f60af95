"""Whether a picture shows a car: average precision, the area under the ROC curve, and F1.

Every picture has one score and one truth. AP is the sum over distinct scores of the precision there, times what recall
gains; ROC_AUC is the chance that a picture with a car has a higher score than one without, equal scores counting half.
F1 is 2 · right / (found + there); `best_F1` is the largest one of any threshold.

Sources: E. Zhang and Y. Zhang, Average Precision, Encyclopedia of Database Systems, 2009; J. Hanley and B. McNeil, The
Meaning and Use of the Area under a ROC Curve, Radiology 143, 1982.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.car_presence.protocols import AT_THRESHOLD, PRESENCE_PROTOCOL
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights, resample_ratios

ROWS = 64
"""Resamples that are computed at once, so that memory stays small."""

UNDECLARED = "the model declares no operating threshold in its model.toml"


@dataclass(frozen=True, kw_only=True)
class PresenceEvaluation:
    """I pictures: the score and whether there is a car, (I,) each; `threshold` is None where none is declared.

    `left_out` counts pictures that only hold regions in which cars are not told apart.
    """

    scores: NDArray[np.float64]
    truth: NDArray[np.bool_]
    threshold: float | None
    values: Mapping[str, float | None]
    left_out: int = 0

    protocol = PRESENCE_PROTOCOL

    def metrics(self, dataset: str) -> list[Metric]:
        """`AP`, `ROC_AUC`, `best_F1` and the numbers at the operating threshold."""
        n = len(self.scores)
        return [
            Metric(name=name, protocol=self.protocol, value=value, n=n, dataset=dataset)
            for name, value in self.values.items()
        ]

    def details(self) -> dict[str, Any]:
        """How many pictures show a car, and the threshold."""
        shape: dict[str, Any] = {
            "pictures": len(self.scores),
            "with_car": int(self.truth.sum()),
            "left_out": self.left_out,
            "operating_threshold": self.threshold,
        }
        reasons = dict.fromkeys(AT_THRESHOLD, UNDECLARED) if self.threshold is None else {}
        if not self.truth.any() or self.truth.all():
            one_sided = "every picture shows a car" if self.truth.any() else "no picture shows a car"
            reasons["ROC_AUC"] = one_sided
        return {**shape, "not_applicable": reasons} if reasons else shape

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples of scenes; `scenes` holds the scene of each picture."""
        values = _curves(self.scores, self.truth, weights[:, scenes])
        if self.threshold is not None:
            ratios = resample_ratios(*_ratios(self.scores, self.truth, self.threshold), scenes, weights)
            values |= dict(zip(AT_THRESHOLD, ratios.T, strict=True))
        return values


def evaluate_presence(
    scores: NDArray[np.float64], truth: NDArray[np.bool_], *, threshold: float | None, left_out: int = 0
) -> PresenceEvaluation:
    """Evaluate the scores of I pictures, (I,) each."""
    once = np.ones((1, len(scores)), np.int32)
    curves = {name: _defined(own[0]) for name, own in _curves(scores, truth, once).items()}
    values: dict[str, float | None] = {**curves, **dict.fromkeys(AT_THRESHOLD)}
    if threshold is not None:
        above, below = (part.sum(axis=0).tolist() for part in _ratios(scores, truth, threshold))
        values |= {name: a / b if b else None for name, a, b in zip(AT_THRESHOLD, above, below, strict=True)}
    return PresenceEvaluation(scores=scores, truth=truth, threshold=threshold, values=values, left_out=left_out)


def _curves(scores: NDArray[np.float64], truth: NDArray[np.bool_], often: Weights) -> dict[str, Values]:
    """AP, ROC_AUC and the best F1 with each picture weighted by `often` (R, I); NaN where not defined."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(order) else np.zeros(0, np.int64)
    parts = [
        _curve_rows(often[start : start + ROWS, order].astype(np.float64), truth[order], last)
        for start in range(0, len(often), ROWS)
    ]
    names = ("AP", "ROC_AUC", "best_F1")
    return {name: np.concatenate([part[index] for part in parts]) for index, name in enumerate(names)}


def _curve_rows(
    often: NDArray[np.float64], truth: NDArray[np.bool_], last: NDArray[np.int64]
) -> tuple[Values, Values, Values]:
    right = np.cumsum(often * truth, axis=1)[:, last]
    wrong = np.cumsum(often * ~truth, axis=1)[:, last]
    there, others = (often * truth).sum(axis=1), (often * ~truth).sum(axis=1)
    gained, lost = (np.diff(part, axis=1, prepend=0) for part in (right, wrong))
    seen = right + wrong
    precision = np.divide(right, seen, out=np.zeros_like(right), where=seen > 0)
    ap = _divide((gained * precision).sum(axis=1), there)
    below = others[:, np.newaxis] - wrong  # pictures without a car that have a lower score
    auc = _divide((gained * (below + lost / 2)).sum(axis=1), there * others)
    both = seen + there[:, np.newaxis]
    f1 = np.divide(2 * right, both, out=np.zeros_like(right), where=both > 0)
    best = np.where(there > 0, f1.max(axis=1, initial=0.0), np.nan)
    return ap, auc, best


def _divide(above: Values, below: Values) -> Values:
    ratio: Values = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return ratio


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _ratios(scores: NDArray[np.float64], truth: NDArray[np.bool_], threshold: float) -> tuple[Values, Values]:
    """What each picture adds to the numerators and denominators of AT_THRESHOLD, (I, 3) each."""
    found = (scores >= threshold).astype(np.float64)
    there = truth.astype(np.float64)
    right = found * there
    return np.stack([2 * right, right, right], axis=1), np.stack([found + there, found, there], axis=1)
