"""The evaluations of this task: what each needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.evaluation.base import Accumulator, Column, Declared, Needs, OfficialCode
from admlops.evaluation.planning.protocols import FUTURE_STEPS, STP3, UNIAD, plan_metrics
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    from admlops.evaluation.context import Context
    from admlops.evaluation.planning.scores import PlanningEvaluation
    from admlops.evaluation.trajectories.outputs import PlanTable


@dataclass(frozen=True, kw_only=True)
class PlanEvaluation(Declared):
    """Plans of the ego vehicle under one of `protocols`."""

    def begin(self, context: Context) -> PlanTable:
        """Return the table of the run's plans, which both protocols share."""
        from admlops.evaluation.trajectories.outputs import PlanTable

        return context.share("trajectories.plans", PlanTable)

    def finish(self, accumulator: Accumulator, context: Context) -> PlanningEvaluation:
        """Compare the plans with the driven paths and the other traffic."""
        from admlops.evaluation.planning.scores import evaluate_table

        return evaluate_table(cast("PlanTable", accumulator), context, self.protocol)


def _declare(identifier: str, protocol: str, official: OfficialCode | str) -> PlanEvaluation:
    metrics = plan_metrics()
    return PlanEvaluation(
        id=identifier,
        task="planning",
        protocol=protocol,
        needs=Needs(key="plan", record={"plan": Take.WHOLE}, data=("boxes_3d",), following=FUTURE_STEPS, joins=True),
        metrics=metrics,
        # No paper reports whether the one cell of `obj_col` collides.
        columns=tuple(Column(metric.name) for metric in metrics if not metric.name.startswith("obj_col")),
        headlines={"L2_avg": "plan L2 [m]" if protocol == STP3 else "plan L2 (UniAD) [m]"},
        official=official,
    )


PLAN = _declare(
    "plan",
    STP3,
    OfficialCode(package="VAD", runner="admlops.evaluation.planning.official:run_vad", checkout="VAD"),
)
PLAN_UNIAD = _declare("plan_uniad", UNIAD, "make test-full compares with UniAD's code")
