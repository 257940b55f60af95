"""The evaluations of this task: what each needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.evaluation.base import Accumulator, Column, Declared, Needs, OfficialCode
from admlops.evaluation.motion.protocols import FUTURE_STEPS, METRICS, VAD_MOTION
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    from admlops.evaluation.context import Context
    from admlops.evaluation.motion.scores import MotionEvaluation
    from admlops.evaluation.trajectories.outputs import FutureTable


@dataclass(frozen=True, kw_only=True)
class FutureEvaluation(Declared):
    """Possible futures of detected objects."""

    def is_wanted(self, context: Context, accumulator: Accumulator) -> bool:
        """Tell whether any detection has futures: an answer of its own beside the boxes."""
        return cast("FutureTable", accumulator).has_futures

    def begin(self, context: Context) -> FutureTable:
        """Return the table of the run's futures."""
        from admlops.evaluation.trajectories.outputs import FutureTable

        return context.share("trajectories.futures", FutureTable)

    def finish(self, accumulator: Accumulator, context: Context) -> MotionEvaluation:
        """Compare the futures with where the objects went."""
        from admlops.evaluation.motion.scores import evaluate_table

        return evaluate_table(cast("FutureTable", accumulator), context)


MOTION = FutureEvaluation(
    id="motion",
    task="motion",
    protocol=VAD_MOTION,
    needs=Needs(
        key="detections_3d",
        record={
            "detections_3d": {
                **dict.fromkeys(("id", "class_name", "confidence"), Take.WHOLE),
                "bbox_3d": {"center": Take.WHOLE},
                "trajectories": Take.RAW,
            }
        },
        data=("boxes_3d",),
        following=FUTURE_STEPS,
        joins=True,
    ),
    metrics=METRICS,
    columns=tuple(Column(metric.name) for metric in METRICS),
    official=OfficialCode(package="VAD", runner="admlops.evaluation.motion.official:run_vad", checkout="VAD"),
)
