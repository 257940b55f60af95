"""The evaluation of this task: what it needs, gives and shows. Registered in `catalog.registries`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from admlops.evaluation.base import CLASS, Accumulator, Column, Declared, MetricSpec, Needs
from admlops.results.derived_structs import Take

if TYPE_CHECKING:
    from admlops.evaluation.calibration_status.scores import StatusEvaluation
    from admlops.evaluation.calibration_status.table import StatusTable
    from admlops.evaluation.context import Context


@dataclass(frozen=True, kw_only=True)
class StatusEvaluated(Declared):
    """Classifiers of calibration, against extrinsics as they are given and with seeded errors."""

    def begin(self, context: Context) -> StatusTable:
        """Return the table of judgements."""
        from admlops.evaluation.calibration_status.table import StatusTable

        return StatusTable()

    def finish(self, accumulator: Accumulator, context: Context) -> StatusEvaluation:
        """Compare the judgements with their forms."""
        from admlops.evaluation.calibration_status.table import evaluate_table

        return evaluate_table(cast("StatusTable", accumulator), context)


STATUS = StatusEvaluated(
    id="calibration_status",
    task="calibration_status",
    protocol="calibration_status.seeded",
    needs=Needs(key="calibration_status", record={"calibration_status": Take.WHOLE}),
    metrics=(
        MetricSpec("accuracy"),
        *(MetricSpec(f"{what}/{CLASS}") for what in ("recall", "precision", "F1")),
    ),
    columns=(
        Column("accuracy"),
        *(Column(f"{what}/{name}") for name in ("miscalibrated", "calibrated") for what in ("recall", "F1")),
    ),
    headlines={"accuracy": "calibration accuracy"},
    official="it is our own; the definitions are scikit-learn's",
)
