"""What the evaluation of one task under one protocol has to answer, so that all are written and resampled alike."""

from __future__ import annotations

from typing import Any, Protocol

from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights


class Part(Protocol):
    """One protocol over one run."""

    def metrics(self, dataset: str) -> list[Metric]:
        """Its values; `dataset` is the digest of the samples."""

    def details(self) -> dict[str, Any]:
        """What stands under its key in `details` of metrics.json."""

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples of scenes, (R,); a metric that is not resampled is not there.

        Args:
            scenes: (S,) the scene of each sample of the run, from 0.
            weights: (R, C) how often each resample has each scene.
        """
