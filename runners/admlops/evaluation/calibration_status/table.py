"""What is kept of the records: every judgement of a run."""

from __future__ import annotations

import math

import numpy as np
from msgspec import UNSET

from admlops.core.errors import DataError, RecordError
from admlops.evaluation.calibration_status.scores import THRESHOLD, StatusEvaluation
from admlops.evaluation.context import Context
from admlops.results.record import CalibrationStatus, PartialRecord
from admlops.worker.samples.miscalibration import SEED, draw_miscalibration

DIGITS = 1e-3
"""How far a recorded error may be from the drawn one: records round it."""


class StatusTable:
    """The judgements of a run."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.judged: list[CalibrationStatus] = []

    def add(self, record: PartialRecord) -> None:
        """Take the next record. Raises RecordError for an error that is not the protocol's."""
        if record.calibration_status is UNSET:
            return
        for one in record.calibration_status:
            _require_drawn(one, record.metadata.sample_token)
            self.tokens.append(record.metadata.sample_token)
            self.judged.append(one)


def evaluate_table(table: StatusTable, context: Context) -> StatusEvaluation:
    """Compare the judgements of a run with their forms. Raises DataError where there are none."""
    if not table.judged:
        raise DataError(
            "no camera of the run was judged", hint="admlops data check DIR   # are there cameras and a LiDAR?"
        )
    number = {token: index for index, token in enumerate(context.tokens)}
    return StatusEvaluation(
        truth=np.array([one.form == "given" for one in table.judged], dtype=np.bool_),
        said=np.array([one.score >= THRESHOLD for one in table.judged], dtype=np.bool_),
        cameras=np.array([one.camera for one in table.judged], dtype=np.str_),
        sample=np.array([number[token] for token in table.tokens], dtype=np.int64),
    )


def _require_drawn(one: CalibrationStatus, token: str) -> None:
    if (one.form == "perturbed") != (one.error is not UNSET):
        what = "lacks its error" if one.error is UNSET else "has an error"
        raise RecordError(
            f"{token}, {one.camera}: the form {one.form} {what}",
            hint="compare the adapter's convert with docs/record.schema.json",
        )
    if one.error is UNSET:
        return
    drawn = draw_miscalibration(SEED, token, one.camera)
    pairs = ((one.error.angle_deg, drawn.angle_deg), (one.error.shift_m, drawn.shift_m))
    if not all(math.isclose(ours, theirs, abs_tol=DIGITS) for ours, theirs in pairs):
        raise RecordError(
            f"{token}, {one.camera}: the extrinsics are wrong by {one.error.angle_deg:g} degrees and "
            f"{one.error.shift_m:g} m, and the protocol draws {drawn.angle_deg:.4g} and {drawn.shift_m:.4g}",
            hint="run the model again: the protocol's errors have changed, or the run is of other samples",
        )
