"""Calibration judged: errors that are the same everywhere, and shares against numbers worked out by hand."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import pytest
from msgspec import UNSET, UnsetType

from admlops.core.errors import RecordError
from admlops.evaluation.calibration_status.scores import StatusEvaluation
from admlops.evaluation.calibration_status.table import StatusTable
from admlops.results.record import CalibrationStatus, ExtrinsicError, Metadata, PartialRecord, Record
from admlops.worker.samples.miscalibration import ANGLE_DEG, SHIFT_M, draw_miscalibration


def evaluation(truth: list[int], said: list[int]) -> StatusEvaluation:
    return StatusEvaluation(
        truth=np.array(truth, dtype=np.bool_),
        said=np.array(said, dtype=np.bool_),
        cameras=np.array(["CAM_FRONT", "CAM_BACK"] * (len(truth) // 2), dtype=np.str_),
        sample=np.arange(len(truth)) // 2,
    )


def test_shares_are_those_of_the_confusion_matrix() -> None:
    judged = evaluation([1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 1, 1])
    values = {one.name: one.value for one in judged.metrics("digest")}
    assert judged.confusion.tolist() == [[2, 2], [1, 3]]
    assert values["accuracy"] == 5 / 8
    assert values["recall/calibrated"] == 3 / 4
    assert values["precision/calibrated"] == 3 / 5
    assert values["F1/calibrated"] == pytest.approx(2 / 3)
    assert values["recall/miscalibrated"] == 2 / 4
    assert values["precision/miscalibrated"] == 2 / 3
    assert values["F1/miscalibrated"] == pytest.approx(4 / 7)
    by_camera = judged.details()["by_camera"]
    assert (by_camera["CAM_FRONT"]["accuracy"], by_camera["CAM_BACK"]["accuracy"]) == (3 / 4, 2 / 4)


def test_a_class_that_does_not_occur_has_no_recall() -> None:
    judged = evaluation([1, 1], [1, 0])
    values = {one.name: one.value for one in judged.metrics("digest")}
    assert (values["accuracy"], values["recall/miscalibrated"]) == (0.5, None)
    assert "no camera was judged that is miscalibrated" in judged.details()["not_applicable"].values()


def test_resamples_draw_whole_scenes() -> None:
    judged = evaluation([1, 1, 0, 0], [1, 1, 1, 1])
    values = judged.resample(np.array([0, 1]), np.array([[2, 0], [0, 2], [1, 1]], dtype=np.int32))
    assert values["accuracy"].tolist() == [1.0, 0.0, 0.5]


def test_errors_are_drawn_from_seed_token_and_camera_within_their_limits() -> None:
    drawn = [draw_miscalibration(0, f"token{index}", "CAM_FRONT") for index in range(500)]
    angles, shifts = [one.angle_deg for one in drawn], [one.shift_m for one in drawn]
    assert min(angles) >= ANGLE_DEG[0] - 1e-9
    assert max(angles) <= ANGLE_DEG[1] + 1e-9
    assert np.mean(angles) == pytest.approx(np.mean(ANGLE_DEG), abs=0.25)
    assert min(shifts) >= SHIFT_M[0] - 1e-9
    assert max(shifts) <= SHIFT_M[1] + 1e-9
    directions = np.array([one.rotation_deg for one in drawn]) / np.array(angles)[:, np.newaxis]
    assert np.abs(directions.mean(axis=0)).max() < 0.1, "no direction is preferred"
    assert draw_miscalibration(0, "token0", "CAM_FRONT") == drawn[0]
    others = (("token0", "CAM_BACK", 0), ("token0", "CAM_FRONT", 1), ("token1", "CAM_FRONT", 0))
    assert drawn[0] not in [draw_miscalibration(seed, token, camera) for token, camera, seed in others]


@pytest.mark.parametrize(
    ("form", "error", "words"),
    [
        ("perturbed", UNSET, "the form perturbed lacks its error"),
        ("given", ExtrinsicError(angle_deg=3.0, shift_m=0.1), "the form given has an error"),
        ("perturbed", ExtrinsicError(angle_deg=3.0, shift_m=0.1), "the protocol draws"),
    ],
)
def test_errors_that_are_not_the_protocols_are_refused(
    form: Literal["given", "perturbed"], error: ExtrinsicError | UnsetType, words: str
) -> None:
    with pytest.raises(RecordError, match=words):
        StatusTable().add(record(CalibrationStatus(camera="CAM_FRONT", form=form, score=0.5, error=error)))


def test_errors_of_the_protocol_are_taken() -> None:
    drawn = draw_miscalibration(0, "token", "CAM_FRONT")
    error = ExtrinsicError(angle_deg=round(drawn.angle_deg, 4), shift_m=round(drawn.shift_m, 4))
    table = StatusTable()
    table.add(record(CalibrationStatus(camera="CAM_FRONT", form="perturbed", score=0.5, error=error)))
    assert len(table.judged) == 1


def record(one: CalibrationStatus) -> PartialRecord:
    metadata = Metadata(
        model_name="M", variant="v", run="r", sample_token="token", scene="s", index_in_scene=0, status="ok"
    )
    return cast("PartialRecord", Record(schema=1, metadata=metadata, calibration_status=[one]))
