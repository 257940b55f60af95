"""The evaluation of this task: what it needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.evaluation.base import Accumulator, Declared, MetricSpec, Needs
from admlops.evaluation.car_presence.protocols import AT_THRESHOLD, PRESENCE_PROTOCOL
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    from admlops.evaluation.car_presence.evaluation import PresenceResult, PresenceTable
    from admlops.evaluation.context import Context


@dataclass(frozen=True, kw_only=True)
class PresenceEvaluated(Declared):
    """Cars in whole pictures: classifiers, and detectors by their surest car."""

    def begin(self, context: Context) -> PresenceTable:
        """Return the table of the pictures' scores."""
        from admlops.evaluation.car_presence.evaluation import PresenceTable

        return PresenceTable()

    def finish(self, accumulator: Accumulator, context: Context) -> PresenceResult:
        """Compare the scores with boxes or numbers of cars."""
        from admlops.evaluation.car_presence.evaluation import evaluate_table

        return evaluate_table(cast("PresenceTable", accumulator), context)


PRESENCE = PresenceEvaluated(
    id="car_presence",
    task="car_presence",
    protocol=PRESENCE_PROTOCOL,
    needs=Needs(
        key="car_presence",
        other_keys=("detections_2d",),
        record={"car_presence": Take.WHOLE, "detections_2d": Take.WHOLE},
        truth_2d=True,
        counts_do=True,
    ),
    metrics=tuple(MetricSpec(name) for name in ("AP", "ROC_AUC", "best_F1", *AT_THRESHOLD)),
    headlines={"AP": "presence AP"},
    official="it is our own; the definitions are scikit-learn's",
)
