"""nuScenes' detection submission: `{"meta": {…}, "results": {sample token: [box, …]}}`, boxes in the global frame.

Source of what is taken and what is refused: nuscenes-devkit 1.2.0, `nuscenes/eval/common/loaders.py`
(`load_prediction`) and `nuscenes/eval/detection/data_classes.py` (`DetectionBox`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from admlops.core.counting import count_of
from admlops.core.errors import UsageError
from admlops.core.nuscenes_classes import CLASSES
from admlops.datasets.base import Dataset
from admlops.evaluation.detection_3d.box_table import MAX_BOXES_PER_SAMPLE, BoxTable
from admlops.evaluation.detection_3d.boxes import ATTRIBUTES, Floats, multiply, rotations
from admlops.evaluation.detection_3d.nuscenes_submission import META, make_submission
from admlops.evaluation.detection_3d.protocols import BOX_KEYS
from admlops.evaluation.metrics import LARGEST
from admlops.evaluation.run_outputs import read_records
from admlops.evaluation.submissions.base import Predictions, Sample, SubmissionFormat, Target, refuse
from admlops.evaluation.submissions.results_file import NOT_NUMBERS, PEEK_BYTES, Entries, ResultsFile, number
from admlops.results.record import Box3D, Detection3D, Outputs
from admlops.results.replacing import replacing
from admlops.results.run_folder import RunFolder

NO_SCORE = -1.0
"""The devkit's score of a box that states none."""

_CLASSES, _ATTRIBUTES = frozenset(CLASSES), frozenset(ATTRIBUTES)
_LENGTHS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}


class Box(msgspec.Struct, gc=False):
    """One box, as most files have it. `num_pts` 0 takes it out of the evaluation, as the devkit has it."""

    sample_token: str
    translation: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    velocity: tuple[float, float]
    detection_name: str
    attribute_name: str
    detection_score: float = NO_SCORE
    num_pts: int = -1


_decode = msgspec.json.Decoder(list[Box]).decode


class NuScenesPredictions:
    """The boxes of a file, decoded sample by sample."""

    def __init__(self, file: ResultsFile, results: Entries) -> None:
        self._file = file
        self._results = results
        self.tokens = list(results)
        self._without_points = 0
        self._without_velocity = 0

    @property
    def notes(self) -> list[str]:
        """What does not count, or counts in another way than that of a model's run."""
        notes = []
        if self._without_points:
            notes.append(f"left out, as nuscenes-devkit does: {count_of(self._without_points, 'box')} with num_pts 0")
        if self._without_velocity:
            notes.append(f"not counted in mAVE: {count_of(self._without_velocity, 'box')} without velocity (NaN)")
        return notes

    def outputs(self, token: str, sample: Sample) -> Outputs:
        """Return the boxes of a sample in its ego frame. Raises UsageError: see `base.Predictions`."""
        boxes = read_boxes(self._file, self._results[token], token)
        kept = [(index, box) for index, box in enumerate(boxes) if box.num_pts != 0]
        self._without_points += len(boxes) - len(kept)
        self._without_velocity += sum(box.velocity[0] != box.velocity[0] for _, box in kept)
        return Outputs(detections_3d=to_detections(kept, sample))


def read_boxes(file: ResultsFile, raw: msgspec.Raw, token: str) -> list[Box]:
    """Return the boxes of a sample, checked as the devkit checks them; velocities with a NaN are all NaN.

    Raises:
        UsageError: the devkit would refuse one.
    """
    try:
        boxes = _decode(raw)
    except msgspec.ValidationError:
        # NaN, numbers as text, missing keys: what the typed decoder does not take
        rows = file.decode(raw, list[dict[str, Any]], f"sample {token}")
        return read_rows(rows, file, token)
    check_boxes(boxes, file, token)
    return boxes


def read_rows(rows: object, file: ResultsFile, token: str) -> list[Box]:
    """Return the boxes of a sample from plain data. Raises UsageError: the devkit would refuse one."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise refuse(file.path, f"sample {token}", "its boxes are no list of objects")
    boxes = [_read_box(row, file, f"sample {token}, box {index}") for index, row in enumerate(rows)]
    check_boxes(boxes, file, token)
    return boxes


def check_boxes(boxes: Sequence[Box], file: ResultsFile, token: str) -> None:
    """Refuse what the devkit refuses of the boxes of a sample. Raises UsageError."""
    if len(boxes) > MAX_BOXES_PER_SAMPLE:
        raise refuse(
            file.path,
            f"sample {token}",
            f"{len(boxes)} boxes, where the official code takes {MAX_BOXES_PER_SAMPLE}",
            "keep the most confident ones",
        )
    for index, box in enumerate(boxes):
        what = _find_fault(box, token)
        if what is not None:
            raise refuse(file.path, f"sample {token}, box {index}", what)


def to_detections(boxes: Sequence[tuple[int, Box]], sample: Sample) -> list[Detection3D]:
    """Return boxes, each with its id, in the ego frame of a sample; the centres of the file stay beside them."""
    if not boxes:
        return []
    columns = _move([box for _, box in boxes], sample["ego2global"])
    return [
        Detection3D(
            id=number_,
            class_name=box.detection_name,
            confidence=box.detection_score,
            bbox_3d=Box3D(center=center, size_wlh=box.size, rotation_wxyz=rotation, velocity=velocity),
            attribute=box.attribute_name,
            global_center=box.translation,
        )
        for (number_, box), center, rotation, velocity in zip(boxes, *columns, strict=True)
    ]


def _move(boxes: Sequence[Box], pose: Mapping[str, Any]) -> tuple[Iterable[Any], Iterable[Any], Iterable[Any]]:
    """Return centres, quaternions and velocities in the ego frame."""
    unit = np.asarray([pose["rotation_wxyz"]], dtype=np.float64)
    unit = unit / np.linalg.norm(unit)
    (rotation,) = rotations(unit)
    center = (np.array([box.translation for box in boxes]) - pose["translation"]) @ rotation
    quaternion = _to_unit(np.array([box.rotation for box in boxes], dtype=np.float64))
    turned = multiply(np.broadcast_to(unit * (1, -1, -1, -1), quaternion.shape), quaternion)
    # The inverse of what `BoxTable.in_global_frame` multiplies by: of a tilted vehicle, no rotation.
    velocity = np.array([box.velocity for box in boxes]) @ np.linalg.inv(rotation[:2, :2]).T
    known = [None if pair[0] != pair[0] else (pair[0], pair[1]) for pair in velocity.tolist()]
    return map(tuple, center.tolist()), map(tuple, turned.tolist()), known


def _to_unit(quaternion: Floats) -> Floats:
    """Return quaternions at length 1; the devkit reads one of length 0 as no rotation."""
    length = np.linalg.norm(quaternion, axis=1, keepdims=True)
    unit: Floats = np.divide(quaternion, length, out=np.zeros_like(quaternion), where=length > 0)
    unit[length[:, 0] == 0, 0] = 1.0
    return unit


def _find_fault(box: Box, token: str) -> str | None:
    """Return what the devkit, or a record, cannot take of a box."""
    if box.sample_token != token:
        return f"its sample_token is {box.sample_token!r}"
    if box.detection_name not in _CLASSES:
        return f"detection_name {box.detection_name!r} is none of {', '.join(CLASSES)}"
    if box.attribute_name not in _ATTRIBUTES:
        return f"attribute_name {box.attribute_name!r} is none of {', '.join(ATTRIBUTES[1:])}, nor empty"
    x, y, z = box.translation
    if not (abs(x) <= LARGEST and abs(y) <= LARGEST and abs(z) <= LARGEST):
        return f"translation {box.translation} is no place on earth"
    if not max(map(abs, box.size)) <= LARGEST:
        return f"size {box.size} is no size"
    if not max(map(abs, box.rotation)) <= LARGEST:
        return f"rotation {box.rotation} is no quaternion"
    if not math.isfinite(box.detection_score):
        return f"detection_score {box.detection_score} is not finite"
    if any(math.isinf(value) or abs(value) > LARGEST for value in box.velocity):
        return f"velocity {box.velocity} is not finite; NaN says that it is not known"
    return None


def _read_box(row: Mapping[str, Any], file: ResultsFile, entry: str) -> Box:
    texts = {}
    for key in ("sample_token", "detection_name", "attribute_name"):
        if not isinstance(row.get(key), str):
            raise refuse(file.path, entry, f"{key} is {_spell(row, key)}, and not a text")
        texts[key] = row[key]
    vectors = {key: _read_vector(row, key, length, file, entry) for key, length in _LENGTHS.items()}
    score, points = number(row.get("detection_score", NO_SCORE)), number(row.get("num_pts", -1))
    if score is None or math.isnan(score):
        raise refuse(file.path, entry, f"detection_score is {_spell(row, 'detection_score')}, and not a number")
    if points is None or not math.isfinite(points):
        raise refuse(file.path, entry, f"num_pts is {_spell(row, 'num_pts')}, and not a number")
    return Box(**texts, **vectors, detection_score=score, num_pts=int(points))


def _read_vector(row: Mapping[str, Any], key: str, length: int, file: ResultsFile, entry: str) -> Any:
    values = row.get(key)
    read = [_read_number(value) for value in values] if isinstance(values, list) else []
    numbers = tuple(value for value in read if value is not None)
    if not len(read) == len(numbers) == length:
        raise refuse(file.path, entry, f"{key} is {_spell(row, key)}, and not {length} numbers")
    missing = any(math.isnan(value) for value in numbers)
    if missing and key != "velocity":
        raise refuse(file.path, entry, f"{key} has NaN, which the official code refuses")
    return (math.nan,) * length if missing else numbers


def _read_number(value: object) -> float | None:
    """Return a number, None for text other than that for NaN and infinity."""
    return NOT_NUMBERS.get(value) if isinstance(value, str) else number(value)


def _spell(row: Mapping[str, Any], key: str) -> str:
    return json.dumps(row[key])[:60] if key in row else "missing"


def _recognise(file: ResultsFile) -> bool:
    if not file.is_object or "results" not in file.top or "map_results" in file.top:
        return False
    if bytes(memoryview(file.top["results"])[:1]) != b"{":
        return False
    first = file.peek(file.top["results"])
    return first is None or isinstance(first[1], list)


def _read(file: ResultsFile, target: Target) -> Predictions:
    results = file.results
    if "meta" not in file.top:
        raise file.complain(
            "it has no 'meta', without which the official code refuses it", f'add "meta": {json.dumps(META)}'
        )
    if not any(_has_boxes(raw) for raw in results.values()):
        raise file.complain("it has no box at all, which the official code refuses", "check what wrote it")
    return NuScenesPredictions(file, results)


def _has_boxes(raw: msgspec.Raw) -> bool:
    return b"{" in bytes(memoryview(raw)[:PEEK_BYTES])


def write(run: RunFolder, data: Dataset, out: Path, truth_2d: Path | None = None) -> int:
    """Write every box of the run in the global frame, and return the number of samples.

    Raises:
        RecordError: a record is not one, or names a class or attribute that nuScenes does not have.
        DataError: the data set is not that of the run.
        UsageError: the run has no boxes.
        StorageError: `out` cannot be written.
    """
    boxes, metadata, has_boxes = BoxTable(verbatim=run.header.is_submission), [], False
    for record in read_records(run, BOX_KEYS):
        boxes.add(record)
        metadata.append(record.metadata)
        has_boxes |= record.detections_3d is not UNSET
    if not has_boxes:
        raise UsageError(
            f"{run.path.name} has no detections: {run.header.model} does not do that task, or no scene is complete",
            hint=f"admlops results export {run.path.name} --format jsonl --out {out.with_suffix('.jsonl')}",
        )
    samples = {entry.sample_token: data.sample(entry.sample_token) for entry in metadata}
    results = make_submission(boxes, metadata, samples)
    with replacing(out) as temporary:
        temporary.write_text(json.dumps({"meta": META, "results": results}))
    return len(results)


FORMAT = SubmissionFormat(
    id="nuscenes",
    title="nuScenes detection results (JSON, or a zip of it)",
    looks_for='{"meta": …, "results": {sample token: [{"detection_name": …}, …]}}',
    kinds=("nuscenes",),
    recognise=_recognise,
    read=_read,
    write=write,
)
