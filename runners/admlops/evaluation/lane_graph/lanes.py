"""Lane graphs as arrays: the ground truth and the predictions that `lane_graph` compares, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from admlops.core.errors import RecordError
from admlops.results.record import PartialRecord, Record

Floats = NDArray[np.floating]
Matrix = Floats | NDArray[np.integer] | Sequence[Sequence[float]]
"""A relation as rows: an array, or the nested lists of a record, which need not become an array as a whole."""


@dataclass(frozen=True, kw_only=True)
class LaneTruth:
    """The ground truth of one frame, in the ego frame of OpenLane-V2 (x forward, y left, z up).

    `lanes` are (N, 3) [m] each, N ≥ 1, as a sequence or, where all have N points, as one array. `elements` are boxes
    (E, 4), x1 y1 x2 y2 [pixels of the front image], `attributes` their numbers, (E,). `lane_to_lane` (L, L) is 1 where
    the row's lane runs into the column's, `lane_to_traffic` (L, E) is 1 where the element governs the lane.
    """

    lanes: Sequence[Floats] | Floats
    elements: Floats
    attributes: NDArray[np.integer]
    lane_to_lane: Matrix
    lane_to_traffic: Matrix


@dataclass(frozen=True, kw_only=True)
class LanePrediction(LaneTruth):
    """The same of a prediction; the matrices hold confidences, and lanes (L,) and elements (E,) have their own."""

    lane_confidences: Floats
    element_confidences: Floats


def prediction_of(record: PartialRecord | Record) -> LanePrediction:
    """Return the lane graph of a record; one that has none, such as a failed one, is a prediction of nothing.

    Raises:
        RecordError: a relation does not have the shape of its lanes and traffic elements.
    """
    graph: Any = record.lane_graph or None
    lanes = graph.lanes if graph else []
    elements = graph.traffic_elements if graph else []
    if graph:
        _check_shape(record, graph)
    return LanePrediction(
        lanes=[np.array(lane.points) for lane in lanes],
        elements=np.array([element.bbox_xyxy for element in elements], dtype=float).reshape(-1, 4),
        attributes=np.array([element.attribute for element in elements], dtype=np.intp),
        lane_to_lane=graph.lane_to_lane if graph else [],
        lane_to_traffic=graph.lane_to_traffic if graph else [],
        lane_confidences=np.array([lane.confidence for lane in lanes], dtype=float),
        element_confidences=np.array([element.confidence for element in elements], dtype=float),
    )


def _check_shape(record: PartialRecord | Record, graph: Any) -> None:
    rows = len(graph.lanes)
    for name, width in (("lane_to_lane", rows), ("lane_to_traffic", len(graph.traffic_elements))):
        matrix = getattr(graph, name)
        if len(matrix) != rows or any(len(row) != width for row in matrix):
            meta = record.metadata
            raise RecordError(
                f"the record of sample {meta.sample_token} ({meta.scene}): {name} is not {rows} × {width}",
                hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
            )


def pair_frames(
    truths: Mapping[str, LaneTruth], records: Iterable[PartialRecord | Record]
) -> Iterator[tuple[LaneTruth, LanePrediction]]:
    """Each record's ground truth and prediction, one after another.

    Raises:
        RecordError: a record's sample is not in `truths`, comes twice, or a sample of `truths` has no record.
    """
    seen: set[str] = set()
    for record in records:
        token = record.metadata.sample_token
        if token in seen or token not in truths:
            reason = "has two records" if token in seen else "is not among the frames evaluated"
            raise RecordError(f"frame {token} {reason}", hint=f"admlops results verify {record.metadata.run}")
        seen.add(token)
        yield truths[token], prediction_of(record)
    if missing := [token for token in truths if token not in seen]:
        raise RecordError(
            f"{len(missing)} of {len(truths)} frames have no record, {missing[0]} among them",
            hint="run the model on these frames: admlops run MODEL --run NAME --resume",
        )


def take(matrix: Matrix, rows: Sequence[int], columns: Sequence[int]) -> Floats:
    """The given rows and columns of a relation, (R, C)."""
    if isinstance(matrix, np.ndarray):
        return matrix[np.ix_(rows, columns)].astype(np.float64) if len(rows) and len(columns) else np.zeros((0, 0))
    return np.array([[matrix[row][column] for column in columns] for row in rows], dtype=float)


def as_array(matrix: Matrix, *, width: int) -> Floats:
    """A whole relation (R, width) as an array, also where it has no rows."""
    shaped: ArrayLike = matrix if len(matrix) else np.zeros((0, width))
    return np.asarray(shaped)
