"""The chosen samples with a run's predictions in place of annotations: what annotators begin with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import UNSET

from admlops.conversion.base import ReadOptions
from admlops.conversion.convert import open_recording
from admlops.conversion.formats.images import ImagesRecording
from admlops.conversion.formats.nuscenes_names import make_token
from admlops.conversion.frames import IDENTITY, Box2D, Cuboid, Frame, Pose, Recording, SceneFrames
from admlops.conversion.geometry import split_matrix
from admlops.datasets.base import Dataset
from admlops.datasets.class_labels import list_labelled, read_class_labels
from admlops.datasets.images.pictures import Images
from admlops.evaluation.calibration_status.scores import CLASSES, THRESHOLD
from admlops.evaluation.run_outputs import read_records
from admlops.mining.found import KEYS, SPACE, FoundRun
from admlops.results.derived_structs import Take
from admlops.results.record import Detection2D, Detection3D, PartialRecord


def open_frames(data: Dataset, *, sweeps: bool = False) -> Recording:
    """Read a data set as it was opened: nuScenes' cameras are pictures where a detector of pictures ran over them."""
    if isinstance(data, Images):
        return ImagesRecording(data=data)
    return open_recording(data.root, ReadOptions(version=data.version, sweeps=sweeps))


def choose_frames(recording: Recording, tokens: Sequence[str], scenes: Sequence[str]) -> Iterator[SceneFrames]:
    """Give the scenes with the chosen samples alone."""
    wanted = set(tokens)
    for scene in recording.scenes(list(dict.fromkeys(scenes))):
        yield replace(scene, frames=[frame for frame in scene.frames if frame.token in wanted])


def predict(scenes: Iterator[SceneFrames], run: FoundRun) -> Iterator[SceneFrames]:
    """Give the scenes with what a run means in each sample in place of what is annotated.

    Boxes in space are moved from the vehicle's frame to the global one; pictures are annotated by what was found in
    them, or by these boxes as the camera sees them.
    """
    answers: Mapping[str, PartialRecord] = {
        record.metadata.sample_token: record for record in read_records(run.run, dict.fromkeys(KEYS, Take.WHOLE))
    }
    for scene in scenes:
        yield replace(scene, frames=[_predict_frame(frame, answers.get(frame.token), run) for frame in scene.frames])


def _predict_frame(frame: Frame, record: PartialRecord | None, run: FoundRun) -> Frame:
    space: Sequence[Detection3D] = []
    flat: Sequence[Detection2D] = []
    if record is not None and record.detections_3d is not UNSET:
        space = record.detections_3d
    if record is not None and record.detections_2d is not UNSET:
        flat = record.detections_2d
    cuboids = tuple(
        _cuboid(frame, one, run.name) for one in space if one.confidence >= run.limit(SPACE, one.class_name)
    )
    boxes: dict[str, tuple[Box2D, ...]] = {}
    if not space:
        for camera in frame.cameras:
            own = [one for one in flat if one.camera == camera and one.confidence >= run.limit(camera, one.class_name)]
            boxes[camera] = tuple(
                Box2D(xyxy=one.bbox_xyxy, category=one.class_name, confidence=one.confidence) for one in own
            )
    return replace(frame, cuboids=cuboids, boxes_2d=boxes, classes=_classes(record))


def _classes(record: PartialRecord | None) -> dict[str, dict[str, str]]:
    """What a classifier said of each camera as it is given."""
    if record is None or record.calibration_status is UNSET:
        return {}
    given = (one for one in record.calibration_status if one.form == "given")
    return {"calibration_status": {one.camera: CLASSES[int(one.score >= THRESHOLD)] for one in given}}


def keep_class_labels(scenes: Iterator[SceneFrames], root: Path) -> Iterator[SceneFrames]:
    """Give the scenes with the data set's own class labels. Raises DataError: a file of them is damaged."""
    known = {task: read_class_labels(root, task) or {} for task in list_labelled(root)}
    for scene in scenes:
        own = [{task: labels.get(frame.token, {}) for task, labels in known.items()} for frame in scene.frames]
        frames = [replace(frame, classes=classes) for frame, classes in zip(scene.frames, own, strict=True)]
        yield replace(scene, frames=frames)


def _cuboid(frame: Frame, one: Detection3D, run: str) -> Cuboid:
    box = one.bbox_3d
    place = (frame.ego2global or IDENTITY).matrix @ Pose(box.center, box.rotation_wxyz).matrix
    center, rotation = split_matrix(place)
    return Cuboid(
        token=make_token("prediction", run, frame.token, one.id),
        category=one.class_name,
        center=center,
        size_wlh=box.size_wlh,
        rotation_wxyz=rotation,
        attributes=(one.attribute,) if one.attribute else (),
        confidence=one.confidence,
    )
