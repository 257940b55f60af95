"""The evaluations of this task: what each needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.evaluation.base import BY_SCENE, Accumulator, Column, Declared, ErrorSpec, MetricSpec, Needs, OfficialCode
from admlops.evaluation.lane_graph.protocols import LANE_KEYS, METRICS, OPENLANE_1_0, OPENLANE_1_1

if TYPE_CHECKING:
    from admlops.evaluation.context import Context
    from admlops.evaluation.lane_graph.evaluation import FrameTable, LaneResult


@dataclass(frozen=True, kw_only=True)
class LaneGraphDeclaration(Declared):
    """Lane graphs under one of `protocols`."""

    def begin(self, context: Context) -> FrameTable:
        """Return what compares the run's frames one after another, under both protocols."""
        from admlops.evaluation.lane_graph.evaluation import FrameTable

        return context.share("lane_graph.frames", lambda: FrameTable(context))

    def finish(self, accumulator: Accumulator, context: Context) -> LaneResult:
        """Return the values of this protocol."""
        return cast("FrameTable", accumulator).finish(self.protocol)


def _declare(identifier: str, protocol: str, *, listed: bool) -> LaneGraphDeclaration:
    return LaneGraphDeclaration(
        id=identifier,
        task="lane_graph",
        protocol=protocol,
        needs=Needs(key="lane_graph", record=LANE_KEYS, data=("lanes",), joins=True),
        metrics=tuple(MetricSpec(name) for name in METRICS),
        columns=tuple(Column(name) for name in METRICS),
        headlines={"OLS": "OLS" if listed else "OLS 1.0"},
        slices=BY_SCENE,
        official=OfficialCode(package="openlanev2", runner="admlops.evaluation.lane_graph.official_files:run_devkit"),
        errors=ErrorSpec(section="map", prefix="map_") if listed else None,
    )


LANE_GRAPH = _declare("lane_graph", OPENLANE_1_1, listed=True)
LANE_GRAPH_1_0 = _declare("lane_graph_1_0", OPENLANE_1_0, listed=False)
