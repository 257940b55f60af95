"""The evaluations of this task: what each needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from admlops.catalog.protocols import LATENCY as LATENCY_PROTOCOL
from admlops.evaluation.base import Accumulator, Column, Declared, MetricSpec, Needs
from admlops.evaluation.metrics import Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from admlops.evaluation.context import Context
    from admlops.evaluation.latency.summary import Latency
    from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
    from admlops.results.record import PartialRecord


class Times:
    """Takes records and keeps nothing: their times are in the metadata, which the context keeps."""

    def add(self, record: PartialRecord) -> None:
        """Take the next record."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return nothing: the metadata travels by itself."""
        return {}

    def extend(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append nothing."""


@dataclass(frozen=True, kw_only=True)
class LatencyResult:
    """The latency of a run. A rate means nothing without its machine, so it is no metric; reports name the machine."""

    latency: Latency
    protocol = LATENCY_PROTOCOL

    def metrics(self, dataset: str) -> list[Metric]:
        """Return nothing."""
        return []

    def details(self) -> dict[str, Any]:
        """Return the distributions and the verdict."""
        return self.latency.to_json()

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """Return nothing: percentiles have bounds of their own."""
        return {}


@dataclass(frozen=True, kw_only=True)
class LatencyEvaluation(Declared):
    """Times of the samples."""

    def begin(self, context: Context) -> Times:
        """Return an accumulator that keeps nothing."""
        return Times()

    def finish(self, accumulator: Accumulator, context: Context) -> LatencyResult:
        """Summarize the times of all samples."""
        from admlops.evaluation.latency.summary import summarize
        from admlops.results.labels import find_engine_precision

        header = context.run.header
        latency = summarize(
            context.metadata,
            pictures=header.data.pictures,
            shared=header.shared,
            precision=find_engine_precision(header),
        )
        return LatencyResult(latency=latency)


LATENCY = LatencyEvaluation(
    id="latency",
    task="latency",
    protocol=LATENCY_PROTOCOL,
    needs=Needs(key=None, joins=True),
    metrics=(MetricSpec("FPS", unit="1/s"),),
    columns=(Column("FPS", digits=1),),
    slices=(),
    resampled=False,
    official="it is our own",
)
