"""The streaming evaluations: what each needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.core.nuscenes_classes import MAP_CLASSES
from admlops.evaluation.base import BY_SCENE, Accumulator, Column, Declared, MetricSpec, Needs
from admlops.evaluation.detection_3d.protocols import BOX_KEYS, COLUMNS, METRICS
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    from admlops.evaluation.context import Context
    from admlops.evaluation.detection_3d.box_table import BoxTable
    from admlops.evaluation.detection_3d.evaluation import DetectionResult
    from admlops.evaluation.streaming.detection import StreamingResult
    from admlops.evaluation.streaming.maps import StreamingMap
    from admlops.evaluation.streaming.options import Strategy
    from admlops.evaluation.vector_map.element_table import ElementTable

ASAP = "asap.interp-12hz"
STREAM_METRICS = (
    MetricSpec("mAP-S"),
    MetricSpec("NDS-S"),
    MetricSpec("mATE-S", unit="m", higher_is_better=False),
    MetricSpec("mASE-S", higher_is_better=False),
    MetricSpec("mAOE-S", unit="rad", higher_is_better=False),
    MetricSpec("mAAE-S", higher_is_better=False),
)
_UNOFFICIAL = "the authors' evaluation draws latencies unseeded, and has no velocities that are streamed"


@dataclass(frozen=True, kw_only=True)
class _OfBoxes(Declared):
    """Boxes in space, kept in the table that all protocols share."""

    def begin(self, context: Context) -> BoxTable:
        """Return the table of the run's boxes."""
        from admlops.evaluation.detection_3d.box_table import BoxTable

        return context.share("detection_3d.boxes", lambda: BoxTable(verbatim=context.run.header.is_submission))


@dataclass(frozen=True, kw_only=True)
class StreamingEvaluation(_OfBoxes):
    """Boxes under latency, aged by one strategy."""

    strategy: Strategy

    def finish(self, accumulator: Accumulator, context: Context) -> StreamingResult:
        """Simulate the run's own latencies."""
        from admlops.evaluation.streaming.detection import evaluate_streaming
        from admlops.evaluation.streaming.options import USUAL

        table = cast("BoxTable", accumulator)
        return evaluate_streaming(table, context, protocol=self.protocol, strategy=self.strategy, options=USUAL)


@dataclass(frozen=True, kw_only=True)
class StreamingMapEvaluation(Declared):
    """Map elements under latency."""

    def begin(self, context: Context) -> ElementTable:
        """Return the table of the run's elements, which all protocols share."""
        from admlops.evaluation.vector_map.element_table import ElementTable

        return context.share("vector_map.elements", lambda: ElementTable(verbatim=context.run.header.is_submission))

    def finish(self, accumulator: Accumulator, context: Context) -> StreamingMap:
        """Simulate the run's own latencies."""
        from admlops.evaluation.streaming.maps import evaluate_streaming_map
        from admlops.evaluation.streaming.options import USUAL

        table = cast("ElementTable", accumulator)
        return evaluate_streaming_map(table, context, protocol=self.protocol, options=USUAL)


@dataclass(frozen=True, kw_only=True)
class StalenessEvaluation(_OfBoxes):
    """Boxes of an ordinary run at the moment when they were ready."""

    def finish(self, accumulator: Accumulator, context: Context) -> DetectionResult:
        """Age the boxes and compare them with interpolated annotations."""
        from admlops.evaluation.streaming.staleness import evaluate_staleness

        return evaluate_staleness(cast("BoxTable", accumulator), context, self.protocol)


def _declare(identifier: str, protocol: str, strategy: Strategy, headlines: dict[str, str]) -> StreamingEvaluation:
    return StreamingEvaluation(
        id=identifier,
        task="detection_3d",
        protocol=protocol,
        needs=Needs(key="detections_3d", record=BOX_KEYS, data=("stream_12hz",), joins=True),
        metrics=STREAM_METRICS,
        columns=tuple(Column(metric.name) for metric in STREAM_METRICS),
        headlines=headlines,
        slices=(),
        official=_UNOFFICIAL,
        strategy=strategy,
    )


COPY = _declare("streaming", f"{ASAP}.copy", "copy", {"mAP-S": "mAP-S", "NDS-S": "NDS-S"})
VELOCITY = _declare("streaming_velocity", f"{ASAP}.velocity", "velocity", {"NDS-S": "NDS-S (v·Δt)"})
MAP = StreamingMapEvaluation(
    id="streaming_map",
    task="vector_map",
    protocol="streaming.chamfer-60x30-12hz.copy",
    needs=Needs(key="map_elements", record={"map_elements": Take.WHOLE}, data=("map", "stream_12hz"), joins=True),
    metrics=tuple(MetricSpec(f"{name}-S") for name in ("mAP", *(f"AP_{name}" for name in MAP_CLASSES))),
    columns=tuple(Column(f"{name}-S") for name in ("mAP", *(f"AP_{name}" for name in MAP_CLASSES))),
    headlines={"mAP-S": "map mAP-S"},
    slices=(),
    official="no benchmark of maps under latency is published",
)
STALENESS = StalenessEvaluation(
    id="staleness",
    task="detection_3d",
    protocol="staleness.2hz-velocity",
    needs=Needs(key="detections_3d", record=BOX_KEYS, data=("boxes_3d",), following=2, joins=True),
    metrics=METRICS,
    columns=COLUMNS,
    headlines={"NDS": "NDS, stale"},
    slices=(BY_SCENE[0], "distance", "visibility", *BY_SCENE[1:]),
    official="it is our own",
    on_request=True,
)
