"""Lane graphs as arrays: the ground truth and the predictions that `lane_graph` compares, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from admlops.core.counting import count_of
from admlops.core.errors import RecordError
from admlops.core.json_numbers import NotNumbersError, read_columns, read_numbers, read_polylines
from admlops.results.record import Metadata, PartialRecord, Polyline3, Record
from admlops.results.relations import SparseRelation, find_fault

Floats = NDArray[np.floating]
_decode_row = msgspec.json.Decoder(list[float]).decode
_decode_sparse = msgspec.json.Decoder(SparseRelation).decode
_decode_line = msgspec.json.Decoder(Polyline3).decode
_BEFORE_ROW = b"[, \t\r\n"
SHORTEST_LINE = 2
"""A record's lane has at least so many points; `Polyline3` says the same."""


class JsonMatrix:
    """A relation (R, C) as it stands in a record, of which rows are parsed when they are asked for.

    A score looks at the rows of predictions that took a ground truth, some thirty of three hundred: parsing the others
    would take most of an evaluation's time.

    Args:
        complain: makes an error from what is wrong.
        bounded: whether a confidence is 0 to 1, as a model's is.

    Raises:
        RecordError: the text is not R rows; later, a row is not C confidences.
    """

    def __init__(
        self, text: bytes, rows: int, width: int, complain: Callable[[str], RecordError], *, bounded: bool = True
    ) -> None:
        self._width, self._complain, self._bounded = width, complain, bounded
        # By one byte, which is found much faster than three: `[[1,2],[3,4]]` gives `[[1,2`, `,[3,4` and twice nothing.
        *self._rows, last, end = text.split(b"]") if text.endswith(b"]") else (b"", text, b"")
        self._parsed: dict[int, NDArray[np.float64]] = {}
        if len(self._rows) != rows or end or last.strip(b"[ \t\r\n"):
            raise complain(f"is not {rows} × {width}")

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, indices: Iterable[int]) -> NDArray[np.float64]:
        """Return some rows, (N, C). Raises RecordError: one is not as many confidences as there are columns."""
        wanted = list(indices)
        for index in wanted:
            if index not in self._parsed:
                self._parsed[index] = self._parse(index)
        return np.array([self._parsed[index] for index in wanted]).reshape(len(wanted), self._width)

    def _parse(self, index: int) -> NDArray[np.float64]:
        text = b"[%b]" % self._rows[index].lstrip(_BEFORE_ROW)
        try:
            found = read_numbers(text)
        except NotNumbersError:
            found = self._explain(text, index)
        outside = self._bounded and not ((found >= 0.0) & (found <= 1.0)).all()
        if len(found) != self._width or outside:
            raise self._complain(f"is not {len(self)} × {self._width}: row {index} is not {self._width} confidences")
        return found

    def _explain(self, text: bytes, index: int) -> NDArray[np.float64]:
        try:
            return np.array(_decode_row(text))
        except msgspec.DecodeError as error:
            raise self._complain(f"has a row {index} that is no list of confidences: {error}") from error


Matrix = Floats | NDArray[np.integer] | Sequence[Sequence[float]] | JsonMatrix
"""A relation as rows: an array, nested lists, or the text of a record, which need not become an array as a whole."""


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


def prediction_of(record: PartialRecord | Record, *, bounded: bool = True) -> LanePrediction:
    """Return the lane graph of a record; one that has none, such as a failed one, is a prediction of nothing.

    Args:
        bounded: whether confidences of relations are 0 to 1, as a model's are; a submission's may be any number.

    Raises:
        RecordError: a relation does not have the shape of its lanes and traffic elements.
    """
    graph: Any = record.lane_graph or None
    lanes = graph.lanes if graph else []
    elements = graph.traffic_elements if graph else []
    return LanePrediction(
        lanes=_lines(record, lanes),
        elements=np.array([element.bbox_xyxy for element in elements], dtype=float).reshape(-1, 4),
        attributes=np.array([element.attribute for element in elements], dtype=np.intp),
        lane_to_lane=_read_matrix(record, graph, "lane_to_lane", len(lanes), bounded) if graph else [],
        lane_to_traffic=_read_matrix(record, graph, "lane_to_traffic", len(elements), bounded) if graph else [],
        lane_confidences=np.array([lane.confidence for lane in lanes], dtype=float),
        element_confidences=np.array([element.confidence for element in elements], dtype=float),
    )


def _lines(record: PartialRecord | Record, lanes: Sequence[Any]) -> Sequence[Floats] | Floats:
    """Return the points of lanes: one array where all have as many, because making one for each takes longer."""
    if lanes and isinstance(lanes[0].points, msgspec.Raw):
        return _parse_lines(record.metadata, [bytes(lane.points) for lane in lanes])
    sizes = {len(lane.points) for lane in lanes}
    if len(sizes) != 1:
        return [np.array(lane.points) for lane in lanes]
    flat = chain.from_iterable(chain.from_iterable(lane.points for lane in lanes))
    return np.fromiter(flat, np.float64, 3 * len(lanes) * sizes.pop()).reshape(len(lanes), -1, 3)


def _parse_lines(meta: Metadata, texts: Sequence[bytes]) -> Sequence[Floats] | Floats:
    try:
        points, counts = read_polylines(texts, width=3)
    except NotNumbersError:
        counts = [0]
    if min(counts) < SHORTEST_LINE:
        return [_parse_line(meta, index, text) for index, text in enumerate(texts)]
    if min(counts) == max(counts):
        return points.reshape(len(counts), -1, 3)
    return np.split(points, np.cumsum(counts)[:-1])


def _parse_line(meta: Metadata, index: int, text: bytes) -> Floats:
    try:
        return np.array(_decode_line(text))
    except msgspec.DecodeError as error:
        raise _complain(meta, f"lane {index} has points that are no line: {error}") from error


def in_arrays(prediction: LanePrediction) -> LanePrediction:
    """Return the same with its relations as arrays, which take less memory than their text."""
    width = len(prediction.elements)
    return replace(
        prediction,
        lane_to_lane=as_array(prediction.lane_to_lane, width=0),
        lane_to_traffic=as_array(prediction.lane_to_traffic, width=width),
    )


def _read_matrix(record: PartialRecord | Record, graph: Any, name: str, width: int, bounded: bool) -> Matrix:
    relation, rows, meta = getattr(graph, name), len(graph.lanes), record.metadata
    if isinstance(relation, msgspec.Raw):
        text = bytes(relation)
        if not text.startswith(b"{"):
            return JsonMatrix(text, rows, width, lambda what: _complain(meta, f"{name} {what}"), bounded=bounded)
        matrix = _read_entries(text, rows, width)
        relation = _decode_entries(meta, name, text) if matrix is None else relation
    elif isinstance(relation, SparseRelation):
        matrix = _spread_out(_columns_of(relation), rows, width)
    else:
        return cast("Matrix", relation)
    if matrix is None:
        raise _complain(meta, f"{name} {find_fault(relation, rows, width)}")
    if bounded and not ((matrix >= 0.0) & (matrix <= 1.0)).all():
        raise _complain(meta, f"{name} has an entry whose confidence is not 0 to 1")
    return matrix


def _read_entries(text: bytes, rows: int, width: int) -> NDArray[np.float64] | None:
    """Return the whole matrix of likely entries; None where their text or an entry is faulty."""
    try:
        found = read_columns(text, numbers=("floor",), floats=("confidences",), integers=("rows", "columns"))
    except NotNumbersError:
        return None
    return _spread_out(found, rows, width)


def _decode_entries(meta: Metadata, name: str, text: bytes) -> SparseRelation:
    try:
        return _decode_sparse(text)
    except msgspec.DecodeError as error:
        raise _complain(meta, f"{name} is neither a matrix nor its likely entries: {error}") from error


def _columns_of(relation: SparseRelation) -> dict[str, NDArray[Any]]:
    indices = {key: np.array(getattr(relation, key), dtype=np.intp) for key in ("rows", "columns")}
    return {**indices, "confidences": np.array(relation.confidences)}


def _spread_out(relation: Mapping[str, NDArray[Any]], rows: int, width: int) -> NDArray[np.float64] | None:
    """Return the whole matrix, 0 where no entry is: scores count edges above a confidence of 0.5 alone.

    None where `find_fault` finds one: with arrays that is known in a tenth of the time.
    """
    row, column, confidence = relation["rows"], relation["columns"], relation["confidences"]
    if not len(row) == len(column) == len(confidence):
        return None
    if len(row) and (min(row.min(), column.min()) < 0 or row.max() >= rows or column.max() >= width):
        return None
    place, there = row * width + column, np.zeros(rows * width, dtype=np.bool_)
    there[place] = True
    if np.count_nonzero(there) < len(place):
        return None
    matrix = np.zeros(rows * width)
    matrix[place] = confidence
    return matrix.reshape(rows, width)


def _complain(meta: Metadata, what: str) -> RecordError:
    return RecordError(
        f"the record of sample {meta.sample_token} ({meta.scene}): {what}",
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
            f"no record of {len(missing)} of {count_of(len(truths), 'frame')}, such as {missing[0]}",
            hint="run the model on these frames: admlops run MODEL --run NAME --resume",
        )


def take(matrix: Matrix, rows: Sequence[int], columns: Sequence[int]) -> Floats:
    """The given rows and columns of a relation, (R, C)."""
    if isinstance(matrix, np.ndarray):
        return matrix[np.ix_(rows, columns)].astype(np.float64) if len(rows) and len(columns) else np.zeros((0, 0))
    if isinstance(matrix, JsonMatrix):
        return matrix.rows(rows)[:, columns]
    return np.array([[matrix[row][column] for column in columns] for row in rows], dtype=float)


def as_array(matrix: Matrix, *, width: int) -> Floats:
    """A whole relation (R, width) as an array, also where it has no rows."""
    if isinstance(matrix, JsonMatrix):
        return matrix.rows(range(len(matrix))) if len(matrix) else np.zeros((0, width))
    shaped: ArrayLike = matrix if len(matrix) else np.zeros((0, width))
    return np.asarray(shaped)
