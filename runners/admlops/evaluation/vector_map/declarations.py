"""The evaluations of this task: what each needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.core.nuscenes_classes import CENTERLINE
from admlops.evaluation.base import Accumulator, Column, Declared, ErrorSpec, MetricSpec, Needs, OfficialCode
from admlops.evaluation.vector_map.protocols import CHAMFER, CHAMFER_WITH_CENTERLINES, IOU, MapProtocol
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    from admlops.evaluation.context import Context
    from admlops.evaluation.vector_map.element_table import ElementTable
    from admlops.evaluation.vector_map.scores import MapEvaluation


@dataclass(frozen=True, kw_only=True)
class MapElementEvaluation(Declared):
    """Vector map elements under one of `protocols`."""

    elements: MapProtocol

    def is_wanted(self, context: Context, accumulator: Accumulator) -> bool:
        """Tell whether to finish: centrelines where a record has some, too."""
        if super().is_wanted(context, accumulator):
            return True
        return CENTERLINE in self.elements.classes and cast("ElementTable", accumulator).has_centerlines

    def read_truth(self, context: Context) -> None:
        """Read the file of `--map-truth`, which all protocols share. Raises DataError if it is unusable."""
        from admlops.evaluation.vector_map.scores import ready_truth

        ready_truth(context)

    def begin(self, context: Context) -> ElementTable:
        """Return the table of the run's elements, which all protocols share."""
        from admlops.evaluation.vector_map.element_table import ElementTable

        return context.share("vector_map.elements", lambda: ElementTable(verbatim=context.run.header.is_submission))

    def finish(self, accumulator: Accumulator, context: Context) -> MapEvaluation:
        """Match the elements with vectors cut from the map."""
        from admlops.evaluation.vector_map.scores import evaluate_table

        return evaluate_table(cast("ElementTable", accumulator), context, self.elements)


def _declare(
    identifier: str, elements: MapProtocol, heading: str, *, on_request: bool, listed: bool
) -> MapElementEvaluation:
    metrics = ("mAP", *(f"AP_{name}" for name in elements.classes))
    return MapElementEvaluation(
        id=identifier,
        task="vector_map",
        protocol=elements.name,
        needs=Needs(key="map_elements", record={"map_elements": Take.WHOLE}, data=("map",), joins=True),
        metrics=tuple(MetricSpec(name) for name in metrics),
        columns=tuple(Column(name) for name in metrics),
        headlines={"mAP": heading},
        official=OfficialCode(
            package="MapTR", runner="admlops.evaluation.vector_map.official_files:run_maptr", checkout="MapTR"
        ),
        errors=ErrorSpec(section="map", prefix="map_") if listed else None,
        on_request=on_request,
        elements=elements,
    )


MAP = _declare("map", CHAMFER, "map mAP", on_request=False, listed=True)
MAP_IOU = _declare("map_iou", IOU, "map mAP (IoU)", on_request=True, listed=False)
MAP_CENTERLINE = _declare(
    "map_centerline", CHAMFER_WITH_CENTERLINES, "map mAP (4 types)", on_request=True, listed=False
)
