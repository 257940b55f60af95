"""OpenLane-V2's submission: `{"results": {frame: {"predictions": {…}}}, …}`, a pickle, or the same as JSON.

A frame's key is (split, segment, timestamp), in JSON these joined by `-` or `/`. Lanes lie in the frame's ego frame.
The devkit takes frames in the order of its ground truth, whatever the file's, and frames beside them do not count.

Source: openlanev2 1.1.0 and 2.1.0, `preprocessing/check.py` (`check_results`), `evaluation/evaluate.py` (`evaluate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from admlops.core.counting import count_of
from admlops.core.errors import UsageError
from admlops.datasets.base import Dataset
from admlops.evaluation.run_outputs import read_records
from admlops.evaluation.submissions.base import Predictions, Sample, SubmissionFormat, Target, refuse
from admlops.evaluation.submissions.pickled import as_list, write_pickle
from admlops.evaluation.submissions.results_file import JSON, ResultsFile, number
from admlops.results.derived_structs import Take
from admlops.results.record import Lane, LaneGraph, Outputs, TrafficElement
from admlops.results.replacing import replacing
from admlops.results.run_folder import RunFolder

ABOUT = ("method", "e-mail", "institution / company", "country / region")
LISTED = ("lane_centerline", "traffic_element")

Points = NDArray[np.floating]


class LanePredictions:
    """The lane graphs of a file; `frames` by our token, decoded if the file is JSON when they are asked for."""

    def __init__(self, file: ResultsFile, frames: Mapping[str, Any], target: Target) -> None:
        self._file = file
        self._frames = frames
        self.tokens = [token for token in target.tokens if token in frames]
        extra = len(frames) - len(self.tokens)
        self.notes = [f"not counted, because of other splits: {count_of(extra, 'frame')} of the file"] if extra else []

    def outputs(self, token: str, sample: Sample) -> Outputs:
        """Return the lane graph of a frame. Raises UsageError: see `base.Predictions`."""
        frame = self._frames[token]
        if self._file.kind == JSON:
            frame = self._file.decode(frame, Any, f"frame {token}")
        return Outputs(lane_graph=read_graph(frame, self._file.path, token))


def read_graph(frame: Any, file: Path, token: str) -> LaneGraph:
    """Return what a file says of a frame, checked as the devkit checks it. Raises UsageError."""
    entry = f"frame {token}"
    found = frame.get("predictions") if isinstance(frame, dict) else None
    if not isinstance(found, dict):
        raise refuse(file, entry, "it has no 'predictions'")
    for key in LISTED:
        if not isinstance(found.get(key), list):
            raise refuse(file, entry, f"{key} is missing, or no list")
    lanes, elements = found["lane_centerline"], found["traffic_element"]
    _check_ids([*lanes, *elements], file, entry)
    return LaneGraph(
        lanes=[_lane(one, index, file, f"{entry}, lane_centerline {index}") for index, one in enumerate(lanes)],
        traffic_elements=[
            _element(one, index, file, f"{entry}, traffic_element {index}") for index, one in enumerate(elements)
        ],
        lane_to_lane=_matrix(found, "topology_lclc", (len(lanes), len(lanes)), file, entry),
        lane_to_traffic=_matrix(found, "topology_lcte", (len(lanes), len(elements)), file, entry),
    )


def _check_ids(instances: Sequence[Any], file: Path, entry: str) -> None:
    if not all(isinstance(one, dict) and "id" in one for one in instances):
        raise refuse(file, entry, "a lane or traffic element has no 'id'")
    ids = [as_list(one["id"]) for one in instances]
    if len(set(map(str, ids))) != len(ids):
        raise refuse(file, entry, "the ids of lanes and traffic elements are not unique")


def _lane(one: Mapping[str, Any], index: int, file: Path, entry: str) -> Lane:
    points = _array(one.get("points"))
    if points is None or points.ndim != 2 or points.shape[1] != 3 or not len(points):
        raise refuse(file, entry, "points are not (#points, 3) numbers")
    if len(points) == 1:
        points = np.repeat(points, 2, axis=0)  # a record's line has two points; the distances are the same
    return Lane(id=index, points=[(x, y, z) for x, y, z in points.tolist()], confidence=_confidence(one, file, entry))


def _element(one: Mapping[str, Any], index: int, file: Path, entry: str) -> TrafficElement:
    points, attribute = _array(one.get("points")), as_list(one.get("attribute"))
    if points is None or points.shape != (2, 2):
        raise refuse(file, entry, "points are not 2 x 2 numbers")
    if not isinstance(attribute, int) or attribute < 0:
        raise refuse(file, entry, f"attribute is {attribute!r}, and no number of an attribute")
    (x1, y1), (x2, y2) = points.tolist()
    return TrafficElement(
        id=index, attribute=attribute, bbox_xyxy=(x1, y1, x2, y2), confidence=_confidence(one, file, entry)
    )


def _confidence(one: Mapping[str, Any], file: Path, entry: str) -> float:
    value = number(as_list(one.get("confidence")))
    if value is None or not np.isfinite(value):
        raise refuse(file, entry, f"confidence is {one.get('confidence')!r}, and no finite number")
    return value


def _matrix(found: Mapping[str, Any], key: str, shape: tuple[int, int], file: Path, entry: str) -> list[list[float]]:
    array = _array(found.get(key))
    if array is not None and not array.size and not shape[0] * shape[1]:
        array = array.reshape(shape)
    if array is None or array.shape != shape:
        there = "missing, or holds no finite numbers" if array is None else f"{' x '.join(map(str, array.shape))}"
        raise refuse(file, entry, f"{key} is {there}, and not {shape[0]} x {shape[1]}")
    rows: list[list[float]] = array.astype(np.float64).tolist()
    return rows


def _array(value: object) -> Points | None:
    """Return finite numbers as an array; None where they are none."""
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    if array.dtype.kind in "iub":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        return None if array.size else np.zeros(array.shape)
    return array if np.isfinite(array).all() else None


def _recognise(file: ResultsFile) -> bool:
    if file.kind == JSON:
        if not file.is_object or "results" not in file.top:
            return False
        first = file.peek(file.top["results"])
        return isinstance(first, tuple) and isinstance(first[1], dict) and "predictions" in first[1]
    content = file.unpickled
    results = content.get("results") if isinstance(content, dict) else None
    first = next(iter(results.values()), None) if isinstance(results, dict) else None
    return isinstance(first, dict) and "predictions" in first


def _read(file: ResultsFile, target: Target) -> Predictions:
    top: Mapping[str, Any] = file.top if file.kind == JSON else file.unpickled
    results: Mapping[Any, Any] = file.results if file.kind == JSON else top["results"]
    for key in ABOUT:
        value = file.decode(top[key], Any, key) if key in top and file.kind == JSON else top.get(key, "")
        if not isinstance(value, str):
            raise file.complain(f"{key!r} is no text, which the devkit refuses")
    return LanePredictions(file, {_token(key): frame for key, frame in results.items()}, target)


def _token(key: object) -> str:
    """Return our token of a frame's key."""
    parts = key if isinstance(key, tuple) else str(key).split("/")
    return "-".join(map(str, parts))


def write(run: RunFolder, data: Dataset, out: Path, truth_2d: Path | None = None) -> int:
    """Write the lane graphs of a run as the devkit's pickle, and return the number of frames.

    What the server asks about the authors is left empty, to be filled in.

    Raises:
        UsageError: the run has no lane graphs.
        RecordError: a record is not one.
        StorageError: `out` cannot be written.
    """
    results: dict[tuple[str, ...], Any] = {}
    has_graphs = False
    for record in read_records(run, {"lane_graph": Take.WHOLE}):
        graph, meta = record.lane_graph, record.metadata
        has_graphs |= graph is not UNSET
        split, _, segment = meta.scene.partition("-")
        key = (split, segment, meta.sample_token.rpartition("-")[2])
        results[key] = {"predictions": _to_devkit(None if graph is UNSET else graph)}
    if not has_graphs:
        raise UsageError(
            f"{run.path.name} has no lane graphs: {run.header.model} does not do that task, or no scene is complete",
            hint=f"admlops results show {run.path.name}",
        )
    content = {**dict.fromkeys(ABOUT, ""), "authors": [], "results": results}
    with replacing(out) as temporary, temporary.open("wb") as file:
        write_pickle(content, file)
    return len(results)


def _to_devkit(graph: Any) -> dict[str, Any]:
    lanes, elements = (graph.lanes, graph.traffic_elements) if graph else ([], [])
    return {
        "lane_centerline": [
            {"id": number_, "points": _narrow(one.points), "confidence": one.confidence}
            for number_, one in enumerate(lanes)
        ],
        "traffic_element": [
            {
                "id": number_,
                "points": _narrow(one.bbox_xyxy).reshape(2, 2),
                "attribute": one.attribute,
                "confidence": one.confidence,
            }
            for number_, one in enumerate(elements, start=len(lanes))
        ],
        "topology_lclc": _narrow(graph.lane_to_lane if lanes else []).reshape(len(lanes), len(lanes)),
        "topology_lcte": _narrow(graph.lane_to_traffic if lanes else []).reshape(len(lanes), len(elements)),
    }


def _narrow(values: Any) -> Points:
    """Return an array in single precision where that loses nothing, as of what comes from a network."""
    array = np.array(values, dtype=np.float64)
    single = array.astype(np.float32)
    return single if (single == array).all() else array


FORMAT = SubmissionFormat(
    id="openlanev2",
    title="an OpenLane-V2 submission (pickle or JSON)",
    looks_for='{"results": {frame: {"predictions": {"lane_centerline": …, "topology_lclc": …}}}}',
    kinds=("openlanev2",),
    recognise=_recognise,
    read=_read,
    write=write,
    suffix=".pkl",
)
