"""A data set of one scene, and runs over it with outputs that somebody planned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.conversion.generated_scenes import GeneratedRecording, write
from tests.evaluation.picture_runs import write_picture_run

from admlops.datasets.annotations import GroundTruthBox
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.results.record import Box3D, CalibrationStatus, Detection2D, Detection3D, Outputs
from admlops.results.run_folder import RunFolder

SAMPLES = 5


def write_data(folder: Path) -> NuScenes:
    """One scene of five samples, a picture and a LiDAR file each."""
    write(GeneratedRecording(folder / "files", 1, frames=SAMPLES), "nuscenes", folder / "data")
    return NuScenes(folder / "data", "v1.0-own")


def tokens_of(data: NuScenes) -> tuple[str, ...]:
    (scene,) = data.scenes()
    return scene.samples


def detection(box: GroundTruthBox, number: int, confidence: float, *, name: str | None = None) -> Detection3D:
    """An annotated object as a detection."""
    own = Box3D(center=box.center, size_wlh=box.size_wlh, rotation_wxyz=box.rotation_wxyz, velocity=box.velocity)
    return Detection3D(id=number, class_name=name or box.class_name, confidence=confidence, bbox_3d=own)


def write_boxes(
    path: Path, data: NuScenes, change: Callable[[int, list[Detection3D]], list[Detection3D]], *, model: str = "VAD"
) -> RunFolder:
    """A run that finds every object with 0.9, as `change` leaves it of each sample."""
    tokens = tokens_of(data)

    def find(index: int) -> Outputs:
        there = [detection(box, number, 0.9) for number, box in enumerate(data.ground_truth(tokens[index]))]
        return Outputs(detections_3d=change(index, there))

    return write_picture_run(path, data, find, model=model)


def write_flat(path: Path, data: object, found: Sequence[Sequence[Detection2D]]) -> RunFolder:
    """A run over pictures; `found` is by the number of the sample in its scene."""
    return write_picture_run(path, data, lambda index: Outputs(detections_2d=list(found[index])))  # type: ignore[arg-type]


def write_statuses(path: Path, data: NuScenes, scores: Sequence[tuple[float, float]]) -> RunFolder:
    """A run of a classifier: of each sample its scores of CAM_FRONT as given, and perturbed."""

    def judge(index: int) -> Outputs:
        given, perturbed = scores[index]
        statuses = [
            CalibrationStatus(camera="CAM_FRONT", form="given", score=given),
            CalibrationStatus(camera="CAM_FRONT", form="perturbed", score=perturbed),
        ]
        return Outputs(calibration_status=statuses)

    return write_picture_run(path, data, judge, model="CalibrationStatus")
