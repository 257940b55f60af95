"""Judgements of calibration against the truth: accuracy, precision, recall and F1 of each class, confusion matrix.

Each camera of each sample is judged in two forms, as the data set calibrates it and with a seeded error; the truth is
the form. A judgement is `calibrated` from a score of 0.5 on, the larger one of two softmax outputs. With TP, FP and FN
of a class: precision TP / (TP + FP), recall TP / (TP + FN), F1 2 TP / (2 TP + FP + FN).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.datasets.class_labels import LABELLED
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights, resample_ratios

STATUS_PROTOCOL = "calibration_status.seeded"
CLASSES = LABELLED["calibration_status"]
THRESHOLD = 0.5
NAMES = ("accuracy", *(f"{what}/{name}" for what in ("recall", "precision", "F1") for name in CLASSES))


@dataclass(frozen=True, kw_only=True)
class StatusEvaluation:
    """J judgements, (J,) each: the truth and the answer, True for calibrated, and the sample's index in the run."""

    truth: NDArray[np.bool_]
    said: NDArray[np.bool_]
    cameras: NDArray[np.str_]
    sample: NDArray[np.int64]

    protocol = STATUS_PROTOCOL

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How often a truth (row) got an answer (column), in the order of CLASSES."""
        return _confusion(self.truth, self.said)

    def metrics(self, dataset: str) -> list[Metric]:
        """Return the shares; None where a class does not occur."""
        n = len(self.truth)
        above, below = (part.sum(axis=0) for part in _ratios(self.truth, self.said))
        return [
            Metric(name=name, protocol=self.protocol, value=float(a / b) if b else None, n=n, dataset=dataset)
            for name, a, b in zip(NAMES, above, below, strict=True)
        ]

    def details(self) -> dict[str, Any]:
        """Return the confusion matrix, overall and per camera."""
        cameras = {str(name): self.cameras == name for name in np.unique(self.cameras)}
        return {
            "judgements": len(self.truth),
            "labels": list(CLASSES),
            "confusion": self.confusion.tolist(),
            "by_camera": {
                name: {
                    "accuracy": float((self.truth == self.said)[own].mean()),
                    "confusion": _confusion(self.truth[own], self.said[own]).tolist(),
                }
                for name, own in cameras.items()
            },
            **self._not_applicable(),
        }

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """Return by metric the values in resamples; `scenes` holds the scene of each sample of the run."""
        values = resample_ratios(*_ratios(self.truth, self.said), scenes[self.sample], weights)
        return dict(zip(NAMES, values.T, strict=True))

    def _not_applicable(self) -> Mapping[str, Any]:
        if self.truth.any() and not self.truth.all():
            return {}
        lacking = CLASSES[0] if self.truth.any() else CLASSES[1]
        reason = f"no camera was judged that is {lacking}"
        return {"not_applicable": {f"{what}/{lacking}": reason for what in ("recall", "F1")}}


def _confusion(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> NDArray[np.int64]:
    pairs = 2 * truth.astype(np.int64) + said.astype(np.int64)
    counts: NDArray[np.int64] = np.bincount(pairs, minlength=4).reshape(2, 2)
    return counts


def _ratios(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> tuple[Values, Values]:
    """What each judgement adds to the numerators and denominators of NAMES, (J, 7) each."""
    right = (truth == said).astype(np.float64)
    there = np.stack([~truth, truth], axis=1).astype(np.float64)
    answered = np.stack([~said, said], axis=1).astype(np.float64)
    hits = there * answered
    above = np.concatenate([right[:, np.newaxis], hits, hits, 2 * hits], axis=1)
    below = np.concatenate([np.ones((len(truth), 1)), there, answered, there + answered], axis=1)
    return above, below
