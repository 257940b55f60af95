"""What VAD writes: `results_nusc.pkl` or `.json` (boxes, maps, plans by token), or the raw list of its `test.py --out`.

The raw list names no samples: it is in the order of VAD's data set, by time. Its boxes are moved to the global frame as
VAD's own code does it; VAD's range and least score are those of its protocol, not of the file.

Source: VAD 1688c4b, `projects/mmdet3d_plugin/datasets/nuscenes_vad_dataset.py` (`_format_bbox`), `VAD/VAD.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from admlops.core.counting import count_of
from admlops.core.errors import UsageError
from admlops.datasets.base import Dataset
from admlops.datasets.nuscenes.tables import rotation_matrix
from admlops.datasets.nuscenes.vector_map import ego_to_patch, patch_to_ego
from admlops.evaluation.detection_3d.box_table import BoxTable
from admlops.evaluation.detection_3d.nuscenes_submission import META, make_submission
from admlops.evaluation.detection_3d.protocols import BOX_KEYS
from admlops.evaluation.run_outputs import read_records
from admlops.evaluation.submissions import nuscenes
from admlops.evaluation.submissions.base import Predictions, Sample, SubmissionFormat, Target, refuse
from admlops.evaluation.submissions.lidar_boxes import arrays_of, to_global_boxes
from admlops.evaluation.submissions.maptr import Vector, to_elements, vectors_of
from admlops.evaluation.submissions.nuscenes import read_boxes, read_rows, to_detections
from admlops.evaluation.submissions.pickled import as_plain
from admlops.evaluation.submissions.results_file import JSON, ResultsFile
from admlops.evaluation.trajectories.arrays import STEP_S, STEPS
from admlops.results.derived_structs import Take
from admlops.results.record import Detection3D, Outputs, Plan, Trajectory
from admlops.results.replacing import replacing
from admlops.results.run_folder import RunFolder

COMMANDS: tuple[Literal["right", "left", "straight"], ...] = ("right", "left", "straight")
"""In VAD's and UniAD's order."""

RAW = {"boxes": "boxes_3d", "scores": "scores_3d", "labels": "labels_3d"}
RAW_MAP = {"points": "map_pts_3d", "scores": "map_scores_3d", "labels": "map_labels_3d"}

Array = NDArray[Any]


class VadPredictions:
    """Boxes with futures, map elements and plans by token; each section as the file has it."""

    def __init__(self, file: ResultsFile, sections: Mapping[str, Mapping[str, Any]]) -> None:
        self._file = file
        self._sections = sections
        self.tokens = list(sections["results"])
        self.notes: list[str] = []

    def outputs(self, token: str, sample: Sample) -> Outputs:
        """Return what the file says of a sample. Raises UsageError: see `base.Predictions`."""
        values = {key: self._get(key, token) for key in self._sections}
        boxes, futures = self._boxes(values["results"], token)
        detections = to_detections(list(enumerate(boxes)), sample)
        if futures is not None:
            detections = _with_futures(detections, futures, sample, self._file.path, token)
        answers: dict[str, Any] = {"detections_3d": detections}
        if "map_results" in values:
            answers["map_elements"] = self._elements(values["map_results"], sample, token)
        if "plan_results" in values:
            answers["plan"] = _plan(values["plan_results"], sample, self._file.path, token)
        return Outputs(**answers)

    def _get(self, key: str, token: str) -> Any:
        if token not in self._sections[key]:
            raise refuse(self._file.path, f"sample {token}", f"it is not in {key!r}")
        return self._sections[key][token]

    def _boxes(self, value: Any, token: str) -> tuple[list[nuscenes.Box], list[Any] | None]:
        if self._file.kind == JSON:
            boxes = read_boxes(self._file, value, token)
            rows = self._file.decode(value, list[_Futures], f"sample {token}")
            futures: list[Any] = [row.fut_traj for row in rows]
        else:
            plain = as_plain(value)
            boxes = read_rows(plain, self._file, token)
            futures = [row.get("fut_traj", UNSET) for row in plain]
        return boxes, None if UNSET in futures or not futures else futures

    def _elements(self, value: Any, sample: Sample, token: str) -> Any:
        where = f"'map_results', sample {token}"
        if self._file.kind == JSON:
            vectors = self._file.decode(value, _Elements, where).vectors
        else:
            try:
                vectors = msgspec.convert(as_plain(value), _Elements, strict=False).vectors
            except msgspec.ValidationError as error:
                raise self._file.complain(f"{where}: {error}") from error
        return to_elements(vectors, sample, self._file.path, token)[0]


class _Futures(msgspec.Struct, gc=False):
    fut_traj: list[list[float]] | msgspec.UnsetType = UNSET


class _Elements(msgspec.Struct, gc=False):
    vectors: list[Vector]


class RawPredictions:
    """What the network decoded of each sample; `decoded` by token."""

    def __init__(self, file: ResultsFile, decoded: Mapping[str, Mapping[str, Any]]) -> None:
        self._file = file
        self._decoded = decoded
        self.tokens = list(decoded)
        self.notes = ["the file names no samples: they are taken in the order of time, as VAD's data set has them"]

    def outputs(self, token: str, sample: Sample) -> Outputs:
        """Return what the network decoded. Raises UsageError: see `base.Predictions`."""
        found = self._decoded[token]
        try:
            boxes = to_global_boxes(**arrays_of(found, RAW), sample=sample, token=token, yaw_from_y=True)
            nuscenes.check_boxes(boxes, self._file, token)
            detections = to_detections(list(enumerate(boxes)), sample)
            answers: dict[str, Any] = {"detections_3d": detections}
            if "trajs_3d" in found:
                futures = np.asarray(found["trajs_3d"])
                answers["detections_3d"] = _with_futures(detections, futures, sample, self._file.path, token)
            if "map_pts_3d" in found:
                elements = to_elements(_vectors(arrays_of(found, RAW_MAP)), sample, self._file.path, token)
                answers["map_elements"] = elements[0]
            if "ego_fut_preds" in found:
                value = [found["ego_fut_preds"], found["ego_fut_cmd"]]
                answers["plan"] = _plan(value, sample, self._file.path, token)
        except (KeyError, ValueError, IndexError) as error:
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise refuse(self._file.path, f"sample {token}", what) from error
        return Outputs(**answers)


def _vectors(arrays: Mapping[str, Array]) -> list[Vector]:
    columns = (arrays["points"].tolist(), arrays["labels"].tolist(), arrays["scores"].tolist())
    return [Vector(pts=pts, type=label, confidence_level=score) for pts, label, score in zip(*columns, strict=True)]


def _with_futures(
    detections: list[Detection3D], futures: Any, sample: Sample, file: Path, token: str
) -> list[Detection3D]:
    """Add possible futures, for each box modes of six steps x, y [m] in the LiDAR frame, with or without a logit."""
    modes = _as_floats(futures)
    if not detections:
        return detections
    if modes is None or modes.ndim != 3 or modes.shape[2] not in (2 * STEPS, 2 * STEPS + 1):
        raise refuse(file, f"sample {token}", f"futures are not modes of {STEPS} finite steps x, y")
    turn = rotation_matrix(sample["lidar"]["sensor2ego"]["rotation_wxyz"])[:2, :2]
    steps = modes[..., : 2 * STEPS].reshape(*modes.shape[:2], STEPS, 2).astype(np.float64) @ turn.T
    centers = np.array([one.bbox_3d.center[:2] for one in detections]).reshape(-1, 1, 1, 2)
    ways = (np.cumsum(steps, axis=2) + centers).tolist()
    has_logits = modes.shape[2] > 2 * STEPS
    sure = 1 / (1 + np.exp(-modes[..., -1].astype(np.float64))) if has_logits else np.full(modes.shape[:2], 0.5)
    return [
        msgspec.structs.replace(
            one,
            trajectories=[
                Trajectory(confidence=confidence, interval_s=STEP_S, waypoints=[(x, y) for x, y in way])
                for confidence, way in zip(own_sure, own_ways, strict=True)
            ],
        )
        for one, own_sure, own_ways in zip(detections, sure.tolist(), ways, strict=True)
    ]


def _plan(value: Any, sample: Sample, file: Path, token: str) -> Plan:
    """Return the plan of the command: of three paths in steps [m], LiDAR frame, the one that the command names."""
    pair = msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
    steps, command = map(_as_floats, pair) if isinstance(pair, list | tuple) and len(pair) == 2 else (None, None)
    chosen = len(COMMANDS) if command is None or not command.size else int(np.argmax(command.reshape(-1)))
    if steps is None or steps.ndim != 3 or steps.shape[1:] != (STEPS, 2) or chosen >= min(len(steps), len(COMMANDS)):
        raise refuse(file, f"sample {token}", f"the plan is not three paths of {STEPS} finite steps and a command")
    return plan_of(np.cumsum(steps[chosen], axis=0, dtype=np.float64), COMMANDS[chosen], sample)


def _as_floats(value: Any) -> Array | None:
    """Return finite numbers in single precision; None where they are none, or in no order."""
    try:
        array = np.asarray(value, dtype=np.float32)
    except (ValueError, TypeError):
        return None
    return array if np.isfinite(array).all() else None


def plan_of(path: Array, command: Literal["left", "right", "straight"], sample: Sample) -> Plan:
    """Return a plan from positions (6, 2) [m] in the LiDAR frame, which are rounded to single precision as in torch."""
    moved = patch_to_ego(path.astype(np.float32), sample)
    return Plan(command=command, interval_s=STEP_S, waypoints=[(x, y) for x, y in moved.tolist()])


def _is_formatted(content: Any) -> bool:
    keys = set(content) if isinstance(content, dict) else set()
    return "results" in keys and not keys.isdisjoint({"map_results", "plan_results"})


def raw_list(content: Any) -> list[Any] | None:
    """Return the list of what was decoded by sample, if that is what a pickle holds."""
    listed = content.get("bbox_results") if isinstance(content, dict) else content
    return listed if isinstance(listed, list) and listed and isinstance(listed[0], dict) else None


def _recognise(file: ResultsFile) -> bool:
    if file.kind == JSON:
        return file.is_object and _is_formatted(file.top)
    first = (raw_list(file.unpickled) or [{}])[0]
    return _is_formatted(file.unpickled) or ("pts_bbox" in first and "token" not in first)


def _read(file: ResultsFile, target: Target) -> Predictions:
    keys = ("results", "map_results", "plan_results")
    if file.kind == JSON:
        return VadPredictions(file, {key: file.section(key) for key in keys if key in file.top})
    content = file.unpickled
    if _is_formatted(content):
        sections = {key: content[key] for key in keys if key in content}
        wrong = next((key for key, own in sections.items() if not isinstance(own, dict)), None)
        if wrong is not None:
            raise file.complain(f"{wrong!r} is no dictionary by sample token")
        return VadPredictions(file, sections)
    listed, tokens = raw_list(content) or [], _by_time(target)
    if len(listed) != len(tokens):
        raise file.complain(
            f"it holds {count_of(len(listed), 'sample')}, and split {target.split} has {len(tokens)}",
            "pass --split with the one that it was made on",
        )
    return RawPredictions(file, {token: one.get("pts_bbox", {}) for token, one in zip(tokens, listed, strict=True)})


def _by_time(target: Target) -> list[str]:
    return sorted(target.tokens, key=lambda token: int(target.data.sample(token)["timestamp_us"]))


def write(run: RunFolder, data: Dataset, out: Path, truth_2d: Path | None = None) -> int:
    """Write boxes, map elements and plans of a run as VAD's `results_nusc.json`, and return the number of samples.

    Raises:
        UsageError: the run has no boxes.
        RecordError: a record is not one.
        StorageError: `out` cannot be written.
    """
    boxes, metadata, plans, tasks = BoxTable(verbatim=run.header.is_submission), [], {}, set()
    for record in read_records(run, {**BOX_KEYS, "plan": Take.WHOLE}):
        boxes.add(record)
        metadata.append(record.metadata)
        tasks |= {key for key in ("detections_3d", "plan", "map_elements") if getattr(record, key) is not UNSET}
        if record.plan is not UNSET:
            token = record.metadata.sample_token
            plans[token] = _to_paths(record.plan, data.sample(token))
    if "detections_3d" not in tasks:
        raise UsageError(
            f"{run.path.name} has no detections, which VAD's file begins with",
            hint=f"admlops results export {run.path.name} --format maptr --out maps.json   # for map elements alone",
        )
    samples = {entry.sample_token: data.sample(entry.sample_token) for entry in metadata}
    content: dict[str, Any] = {"meta": META, "results": make_submission(boxes, metadata, samples)}
    content["map_results"] = (
        {token: {"sample_token": token, "vectors": vectors} for token, vectors in vectors_of(run, data)}
        if "map_elements" in tasks
        else {}
    )
    content["plan_results"] = plans
    content = {key: own for key, own in content.items() if own or key == "results"}
    with replacing(out) as temporary:
        temporary.write_text(json.dumps(content))
    return len(metadata)


def _to_paths(plan: Any, sample: Sample) -> list[Any]:
    """Return the steps of a plan as VAD has them: for each command a path, of which the other two stay in place."""
    path = ego_to_patch(plan.waypoints[:STEPS], sample)
    paths = np.zeros((len(COMMANDS), len(path), 2))
    chosen = COMMANDS.index(plan.command)
    paths[chosen] = np.diff(path, axis=0, prepend=np.zeros((1, 2)))
    return [paths.tolist(), [[[float(index == chosen) for index in range(len(COMMANDS))]]]]


FORMAT = SubmissionFormat(
    id="vad",
    title="VAD's results (results_nusc.json or .pkl, or the pickle of tools/test.py --out)",
    looks_for='{"results": …, "map_results": …, "plan_results": …}, or a pickled list of {"pts_bbox": …}',
    kinds=("nuscenes",),
    recognise=_recognise,
    read=_read,
    write=write,
)
