"""MapTR's protocols of vector map elements: Chamfer AP, its IoU variant, and MapTRv2's with centrelines.

Source: MapTR, projects/mmdet3d_plugin/datasets/map_utils/{mean_ap,tpfp,tpfp_chamfer}.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from admlops.core.nuscenes_classes import CENTERLINE, MAP_CLASSES
from admlops.evaluation.base import Accumulator, Column, Declared, ErrorSpec, MetricSpec, Needs, OfficialCode
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    from admlops.evaluation.context import Context
    from admlops.evaluation.vector_map.element_table import ElementTable
    from admlops.evaluation.vector_map.scores import MapEvaluation

THRESHOLDS_M = (0.5, 1.0, 1.5)
IOU_THRESHOLDS = (*(0.5 + index * ((0.95 - 0.5) / 9) for index in range(9)), 0.95)
"""Ten IoUs at equal steps, as `numpy.linspace(0.5, 0.95, 10)` gives them."""


@dataclass(frozen=True, kw_only=True)
class MapProtocol:
    """What is evaluated. `limits` are the largest distances that match; an IoU counts as a distance of minus itself."""

    name: str
    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    limits: tuple[float, ...]
    distance: Literal["chamfer", "iou"]


CHAMFER = MapProtocol(
    name="maptr.chamfer-60x30-0.5_1.0_1.5",
    classes=MAP_CLASSES,
    thresholds=THRESHOLDS_M,
    limits=THRESHOLDS_M,
    distance="chamfer",
)
IOU = MapProtocol(
    name="maptr.iou-60x30-0.5_0.05_0.95",
    classes=MAP_CLASSES,
    thresholds=IOU_THRESHOLDS,
    limits=tuple(-value for value in IOU_THRESHOLDS),
    distance="iou",
)
CHAMFER_WITH_CENTERLINES = MapProtocol(
    name="maptrv2.chamfer-60x30-0.5_1.0_1.5-centerline",
    classes=(*MAP_CLASSES, CENTERLINE),
    thresholds=THRESHOLDS_M,
    limits=THRESHOLDS_M,
    distance="chamfer",
)
PROTOCOLS = (CHAMFER, IOU, CHAMFER_WITH_CENTERLINES)


@dataclass(frozen=True, kw_only=True)
class MapElementEvaluation(Declared):
    """Vector map elements under one of the protocols above."""

    elements: MapProtocol

    def is_wanted(self, context: Context, accumulator: Accumulator) -> bool:
        """Tell whether to finish: centrelines where a record has some, too."""
        if super().is_wanted(context, accumulator):
            return True
        return CENTERLINE in self.elements.classes and cast("ElementTable", accumulator).has_centerlines

    def begin(self, context: Context) -> ElementTable:
        """Return the table of the run's elements, which all protocols share."""
        from admlops.evaluation.vector_map.element_table import ElementTable

        return context.share("vector_map.elements", ElementTable)

    def finish(self, accumulator: Accumulator, context: Context) -> MapEvaluation:
        """Match the elements with vectors cut from the map."""
        from admlops.evaluation.vector_map.scores import evaluate_table

        return evaluate_table(cast("ElementTable", accumulator), context, self.elements)


def _declare(identifier: str, elements: MapProtocol, *, on_request: bool, listed: bool) -> MapElementEvaluation:
    metrics = ("mAP", *(f"AP_{name}" for name in elements.classes))
    return MapElementEvaluation(
        id=identifier,
        task="vector_map",
        protocol=elements.name,
        needs=Needs(key="map_elements", record={"map_elements": Take.WHOLE}, data=("map",), joins=True),
        metrics=tuple(MetricSpec(name) for name in metrics),
        columns=tuple(Column(name) for name in metrics),
        official=OfficialCode(
            package="MapTR", runner="admlops.evaluation.vector_map.official_files:run_maptr", checkout="MapTR"
        ),
        errors=ErrorSpec(section="map", prefix="map_") if listed else None,
        on_request=on_request,
        elements=elements,
    )


MAP = _declare("map", CHAMFER, on_request=False, listed=True)
MAP_IOU = _declare("map_iou", IOU, on_request=True, listed=False)
MAP_CENTERLINE = _declare("map_centerline", CHAMFER_WITH_CENTERLINES, on_request=True, listed=False)
