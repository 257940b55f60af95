"""The planning protocols: as ST-P3 and VAD average over the horizon, and as UniAD takes the value at each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.evaluation.base import Accumulator, Column, Declared, MetricSpec, Needs, OfficialCode
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    from admlops.evaluation.context import Context
    from admlops.evaluation.planning.scores import PlanningEvaluation
    from admlops.evaluation.trajectories.outputs import PlanTable

STP3 = "stp3.planning"
UNIAD = "uniad.planning"
PROTOCOLS = (STP3, UNIAD)
HORIZONS_S = (1, 2, 3)
FUTURE_STEPS = 6
NAMES = ("L2", "obj_col", "obj_box_col")
PUBLISHED = {"obj_box_col": "collision"}
AVERAGED = ("L2", "obj_box_col")
"""What papers call a value, and of which they give the mean over the horizons."""


def _metrics() -> tuple[MetricSpec, ...]:
    specs = []
    for name in NAMES:
        ends = [f"{second}s" for second in HORIZONS_S] + (["avg"] if name in AVERAGED else [])
        unit = "m" if name == "L2" else ""
        specs += [MetricSpec(f"{PUBLISHED.get(name, name)}_{end}", unit=unit, higher_is_better=False) for end in ends]
    return tuple(specs)


@dataclass(frozen=True, kw_only=True)
class PlanEvaluation(Declared):
    """Plans of the ego vehicle under one of the protocols above."""

    def begin(self, context: Context) -> PlanTable:
        """Return the table of the run's plans, which both protocols share."""
        from admlops.evaluation.trajectories.outputs import PlanTable

        return context.share("trajectories.plans", PlanTable)

    def finish(self, accumulator: Accumulator, context: Context) -> PlanningEvaluation:
        """Compare the plans with the driven paths and the other traffic."""
        from admlops.evaluation.planning.scores import evaluate_table

        return evaluate_table(cast("PlanTable", accumulator), context, self.protocol)


def _declare(identifier: str, protocol: str, official: OfficialCode | str) -> PlanEvaluation:
    metrics = _metrics()
    return PlanEvaluation(
        id=identifier,
        task="planning",
        protocol=protocol,
        needs=Needs(key="plan", record={"plan": Take.WHOLE}, data=("boxes_3d",), following=FUTURE_STEPS, joins=True),
        metrics=metrics,
        # No paper reports whether the one cell of `obj_col` collides.
        columns=tuple(Column(metric.name) for metric in metrics if not metric.name.startswith("obj_col")),
        official=official,
    )


PLAN = _declare(
    "plan",
    STP3,
    OfficialCode(package="VAD", runner="admlops.evaluation.planning.official:run_vad", checkout="VAD"),
)
PLAN_UNIAD = _declare("plan_uniad", UNIAD, "make test-full compares with UniAD's code")
