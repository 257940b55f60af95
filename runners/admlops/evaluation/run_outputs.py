"""The boxes of a run, from its records to arrays: one pass over the files, a fraction of the records' memory.

Only what the detection metrics need is decoded into Python objects, and each sample's boxes become arrays at once.
A line that this lean reading cannot take goes through the full record decoder, which says what is wrong with it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from admlops.core.errors import AdmlopsError, RecordError
from admlops.datasets.nuscenes.tables import tokens_digest
from admlops.evaluation.detection_3d.boxes import (
    ATTRIBUTE_INDEX,
    ATTRIBUTES,
    CLASS_INDEX,
    CLASSES,
    Boxes,
    Floats,
    GroundTruth,
    multiply,
    rotations,
    yaws,
)
from admlops.evaluation.detection_3d.nuscenes_submission import MOVING_M_S, choose_attribute, most_confident
from admlops.evaluation.metrics import LARGEST
from admlops.results.record import (
    UNIT_TOLERANCE,
    Confidence,
    Id,
    Length,
    Metadata,
    Point2,
    Point3,
    decode_record,
)
from admlops.results.run_folder import RunFolder

FUTURES = "trajectories"
"""Stands among the tasks of a run if a detection has possible futures."""

TASKS = ("detections_3d", "detections_2d", "map_elements", "lane_graph", "plan")
COLUMNS = ("sample", "label", "number", "geometry", "score", "attribute")
NO_ATTRIBUTE = 0
WORTH_A_PROCESS_BYTES = 64 << 20
"""From about here on a second process saves more time than it takes to start."""


class _Box(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    center: Point3
    size_wlh: tuple[Length, Length, Length]
    rotation_wxyz: tuple[float, float, float, float]
    velocity: Point2 | None = None


class _Detection(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    id: Id
    class_name: str
    confidence: Confidence
    bbox_3d: _Box
    attribute: str = ""
    trajectories: msgspec.Raw | UnsetType = UNSET


class _Record(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    schema: Literal[1]
    metadata: Metadata
    detections_3d: list[_Detection] | UnsetType = UNSET
    detections_2d: msgspec.Raw | UnsetType = UNSET
    map_elements: msgspec.Raw | UnsetType = UNSET
    lane_graph: msgspec.Raw | UnsetType = UNSET
    plan: msgspec.Raw | UnsetType = UNSET


@dataclass(frozen=True, kw_only=True)
class RunBoxes:
    """What a run says, sample after sample: metadata, the tasks that its records do, and its boxes in the ego frame.

    Attributes:
        metadata: of each record, in the run's order.
        tasks: the names out of TASKS that any record answers, and FUTURES.
        dropped: boxes left out because a sample had more than 500; the most confident stay.
    """

    metadata: Sequence[Metadata]
    tasks: frozenset[str]
    dropped: int
    sample: NDArray[np.int32]
    label: NDArray[np.int8]
    number: NDArray[np.int32]
    geometry: Floats
    score: Floats
    attribute: NDArray[np.int8]

    @property
    def tokens(self) -> list[str]:
        return [entry.sample_token for entry in self.metadata]

    @property
    def dataset(self) -> str:
        """The digest of the samples, as `data.samples_sha256` in metrics.json."""
        return tokens_digest(self.tokens)

    def in_global_frame(self, truth: GroundTruth) -> Boxes:
        """The boxes moved by the ego pose of their sample; `truth.samples` are this run's samples in their order.

        An unknown velocity is zero, and a box without an attribute gets the one that its class and speed suggest, as
        in a submission (`evaluation.detection`).
        """
        center, size, quaternion, velocity = np.split(self.geometry, [3, 6, 10], axis=1)
        velocity = np.nan_to_num(velocity, nan=0.0)
        turn = rotations(truth.rotation)
        unit = truth.rotation / np.linalg.norm(truth.rotation, axis=1, keepdims=True)
        moved, drift = np.empty_like(center), np.empty_like(velocity)
        for index, start, end in _groups(self.sample):
            moved[start:end] = center[start:end] @ turn[index].T + truth.ego[index]
            drift[start:end] = velocity[start:end] @ turn[index, :2, :2].T
        return Boxes(
            sample=self.sample,
            label=self.label,
            center=moved,
            size=size,
            yaw=yaws(multiply(unit[self.sample], quaternion)),
            velocity=drift,
            attribute=_fill_attributes(self.attribute, self.label, np.hypot(velocity[:, 0], velocity[:, 1])),
            score=self.score,
            number=self.number,
        )


def read_run_boxes(run: RunFolder) -> RunBoxes:
    """Read every record of a run's complete scenes; many of them by two processes, half each.

    Raises:
        RecordError: a line is not a standard record, or names a class or attribute that nuScenes does not have.
    """
    scenes = run.complete_scenes()
    if (os.cpu_count() or 1) < 2 or run.records_bytes() < WORTH_A_PROCESS_BYTES:
        return _read_scenes(run, scenes)
    half = len(scenes) // 2
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "part"
        helper = get_context("spawn").Process(target=_read_part, args=(run.path, scenes[half:], out), daemon=True)
        helper.start()
        first = _read_scenes(run, scenes[:half])
        helper.join()
        if helper.exitcode == 0:
            return _join_part(first, out)
    # What went wrong there is found again here, and said in full.
    return _read_scenes(run, scenes)


def _read_scenes(run: RunFolder, scenes: Sequence[str]) -> RunBoxes:
    metadata: list[Metadata] = []
    tasks: set[str] = set()
    parts: list[_Sample] = []
    for record in _records(run, scenes):
        tasks |= {task for task in TASKS if _answers(getattr(record, task))}
        if isinstance(record.detections_3d, list) and record.detections_3d:
            parts.append(_to_arrays(record, len(metadata)))
            if FUTURES not in tasks and any(map(_answers, map(_trajectories, record.detections_3d))):
                tasks.add(FUTURES)
        metadata.append(record.metadata)
    dropped = sum(part.dropped for part in parts)
    columns = [np.concatenate(column) for column in zip(*(part.columns for part in parts), strict=True)]
    return _make(metadata, frozenset(tasks), dropped, columns or _no_columns())


def _records(run: RunFolder, scenes: Sequence[str]) -> Iterator[_Record]:
    for scene in scenes:
        for line, where in run.lines_of(scene):
            record = _decode(line, where)
            if record.metadata.scene != scene:
                raise RecordError(
                    f"{where} is a record of scene {record.metadata.scene}, in the file of {scene}",
                    hint=f"admlops results verify {run.header.run}",
                )
            yield record


def _make(metadata: list[Metadata], tasks: frozenset[str], dropped: int, columns: list[NDArray[Any]]) -> RunBoxes:
    named = dict(zip(COLUMNS, columns, strict=True))
    return RunBoxes(metadata=metadata, tasks=tasks, dropped=dropped, **named)


class _Part(msgspec.Struct):
    metadata: list[Metadata]
    tasks: list[str]
    dropped: int


def _read_part(path: Path, scenes: Sequence[str], out: Path) -> None:
    """Read some scenes in a process of its own, and leave them in two files."""
    try:
        part = _read_scenes(RunFolder.open(path), scenes)
    except AdmlopsError:
        sys.exit(1)  # the reader that started this process will come upon it again
    np.savez(out.with_suffix(".npz"), allow_pickle=False, **{name: getattr(part, name) for name in COLUMNS})
    rest = _Part(metadata=list(part.metadata), tasks=sorted(part.tasks), dropped=part.dropped)
    out.with_suffix(".json").write_bytes(msgspec.json.encode(rest))


def _join_part(first: RunBoxes, out: Path) -> RunBoxes:
    """The boxes of `first` and, after them, those that `_read_part` left; column by column, to spare memory."""
    rest = msgspec.json.decode(out.with_suffix(".json").read_bytes(), type=_Part)
    metadata, tasks = [*first.metadata, *rest.metadata], first.tasks | frozenset(rest.tasks)
    dropped, shift = first.dropped + rest.dropped, np.int32(len(first.metadata))
    own = {name: getattr(first, name) for name in COLUMNS}
    del first
    columns: list[NDArray[Any]] = []
    with np.load(out.with_suffix(".npz"), allow_pickle=False) as arrays:
        for name in COLUMNS:
            more = arrays[name] + shift if name == "sample" else arrays[name]
            columns.append(np.concatenate([own.pop(name), more]))
    return _make(metadata, tasks, dropped, columns)


@dataclass(frozen=True)
class _Sample:
    columns: tuple[NDArray[Any], ...]
    dropped: int


def _decode(line: bytes, where: str) -> _Record:
    try:
        return _lean(line)
    except msgspec.DecodeError:
        decode_record(line, where=where)
        raise  # the two decoders differ: a mistake of this file, not of the user


_lean: Callable[[bytes], _Record] = msgspec.json.Decoder(_Record).decode
_flat = chain.from_iterable
_pose = attrgetter("center", "size_wlh", "rotation_wxyz")
_box, _velocity = attrgetter("bbox_3d"), attrgetter("velocity")
_name, _attribute = attrgetter("class_name"), attrgetter("attribute")
_id, _confidence = attrgetter("id"), attrgetter("confidence")
_trajectories = attrgetter("trajectories")
_UNKNOWN = (np.nan, np.nan)


def _to_arrays(record: _Record, index: int) -> _Sample:
    found = record.detections_3d
    assert isinstance(found, list)
    kept = most_confident(found)
    n = len(kept)
    boxes = list(map(_box, kept))
    try:
        label = np.fromiter(map(CLASS_INDEX.__getitem__, map(_name, kept)), np.int8, n)
        attribute = np.fromiter(map(ATTRIBUTE_INDEX.__getitem__, map(_attribute, kept)), np.int8, n)
    except KeyError:
        raise _unknown_name(record, kept) from None
    geometry = np.empty((n, 12))
    geometry[:, :10] = np.fromiter(_flat(_flat(map(_pose, boxes))), np.float64, 10 * n).reshape(n, 10)
    velocities = [velocity or _UNKNOWN for velocity in map(_velocity, boxes)]
    geometry[:, 10:] = np.fromiter(_flat(velocities), np.float64, 2 * n).reshape(n, 2)
    _check_geometry(record, kept, geometry)
    number = np.fromiter(map(_id, kept), np.int32, n)
    score = np.fromiter(map(_confidence, kept), np.float64, n)
    return _Sample((np.full(n, index, np.int32), label, number, geometry, score, attribute), len(found) - n)


def _check_geometry(record: _Record, kept: Sequence[_Detection], geometry: Floats) -> None:
    quaternions = geometry[:, 6:10]
    wrong = np.flatnonzero((np.abs(geometry) > LARGEST).any(axis=1))
    if len(wrong):
        raise _complain(record, kept[int(wrong[0])], f"a number of bbox_3d is larger than {LARGEST:,.0f}")
    wrong = np.flatnonzero(np.abs((quaternions**2).sum(axis=1) - 1.0) > UNIT_TOLERANCE)
    if len(wrong):
        detection = kept[int(wrong[0])]
        raise _complain(record, detection, f"rotation_wxyz {detection.bbox_3d.rotation_wxyz} is not a unit quaternion")


def _unknown_name(record: _Record, kept: Sequence[_Detection]) -> RecordError:
    for detection in kept:
        if detection.class_name not in CLASS_INDEX:
            known = ", ".join(CLASSES)
            return _complain(record, detection, f"nuScenes has no class {detection.class_name!r}; it has {known}")
        if detection.attribute not in ATTRIBUTE_INDEX:
            known = ", ".join(ATTRIBUTES[1:])
            return _complain(record, detection, f"nuScenes has no attribute {detection.attribute!r}; it has {known}")
    raise AssertionError("every name is known")


def _complain(record: _Record, detection: _Detection, what: str) -> RecordError:
    meta = record.metadata
    return RecordError(
        f"sample {meta.sample_token} ({meta.scene}), detection {detection.id}: {what}",
        hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
    )


def _fill_attributes(attribute: NDArray[np.int8], label: NDArray[np.int8], speed: Floats) -> NDArray[np.int8]:
    chosen = np.array(
        [[ATTRIBUTE_INDEX[choose_attribute(name, limit)] for limit in (0.0, 2 * MOVING_M_S)] for name in CLASSES],
        dtype=np.int8,
    )
    return np.where(attribute == NO_ATTRIBUTE, chosen[label, (speed > MOVING_M_S).astype(int)], attribute)


def _groups(sample: NDArray[np.int32]) -> Iterator[tuple[int, int, int]]:
    """Each sample with boxes: its index, and where its rows begin and end."""
    present, start = np.unique(sample, return_index=True)
    end = [*start.tolist(), len(sample)][1:]
    yield from zip(present.tolist(), start.tolist(), end, strict=True)


def _answers(value: object) -> bool:
    """Whether a record answers a task; an empty list answers, an absent one does not."""
    return value is not UNSET


def _no_columns() -> list[NDArray[Any]]:
    return [
        np.zeros(0, np.int32),
        np.zeros(0, np.int8),
        np.zeros(0, np.int32),
        np.zeros((0, 12)),
        np.zeros(0),
        np.zeros(0, np.int8),
    ]
