"""OpenLane-V2's TOP scores: the mean AP of the edges of every vertex.

A vertex is a ground-truth lane or traffic element, its neighbours those it is connected to. A predicted edge between
two ground truths is the one between the predictions that took them; only those above a confidence of 0.5 count. Where
one of the two was not taken, devkit 1.1 predicts a false edge at the lowest confidence wherever there is none in truth;
devkit 1.0 predicts it at confidence 1. Devkit 1.0 also averages over ten confidences below which no prediction takes
anything. A vertex without neighbours has AP 1 if none is predicted and 0 otherwise. Frames without vertices are passed
over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.lane_graph.lanes import Matrix, as_array, take
from admlops.evaluation.lane_graph.matching import LEVELS, FrameMatch
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights, resample_ratios

EDGE_CONFIDENCE = 0.5
LOWEST_EDGE = 0.5 + float(np.finfo(np.float32).eps)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """Truth and predicted confidences (R, C), how often the pair counts, and whether ties decide what it holds."""

    truth: Bools
    predicted: Floats
    weight: int
    ambiguous: bool


class TopologyScore:
    """Sums over vertices: of the lowest AP, of the AP and of the highest one that orders of equal confidences give."""

    def __init__(self) -> None:
        self._parts: list[Floats] = []

    @property
    def table(self) -> Floats:
        """Return a row for each graph: its frame's number, the three sums over its vertices, and how many they are.

        Rows are in the order of frames, so that sums over them do not depend on which frames were compared together.
        """
        if len(self._parts) != 1:
            rows = np.concatenate([np.zeros((0, 5)), *self._parts])
            self._parts = [rows[np.argsort(rows[:, 0], kind="stable")]]
        return self._parts[0]

    def extend(self, table: Floats, *, first: int) -> None:
        """Append the rows of another score; `first` is the number of the frame that is 0 there."""
        self._parts.append(table + np.array([first, 0, 0, 0, 0]))

    def mean(self) -> tuple[float, float, float]:
        """The lowest value, the value, the highest; 0 without any vertex."""
        low, value, high, vertices = self.table[:, 1:].sum(axis=0).tolist()
        count = max(vertices, 1.0)
        return low / count, value / count, high / count

    def add(
        self,
        matrices: Sequence[tuple[Matrix, Matrix]],
        rows: Sequence[FrameMatch],
        columns: Sequence[FrameMatch],
        *,
        averaged: bool,
        first: int,
    ) -> None:
        """Add frames: matrices of truth and prediction, and the matches of what their rows and columns are.

        `first` is the number of the first of them.
        """
        numbered = [
            (number, graph)
            for number, ((truth, predicted), row, column) in enumerate(zip(matrices, rows, columns, strict=True), first)
            for graph in _graphs(truth, predicted, row, column, averaged=averaged)
        ]
        if not numbered:
            return
        graphs = [graph for _, graph in numbered]
        for side in (graphs, [_transposed(graph) for graph in graphs]):
            sizes = np.array([len(graph.truth) for graph in side])
            weights = np.repeat([graph.weight for graph in side], sizes)
            vertices = np.stack([*_vertex_aps(side), np.ones(len(weights))]) * weights
            sums = np.add.reduceat(vertices, np.cumsum(sizes) - sizes, axis=1)
            self._parts.append(np.column_stack([[number for number, _ in numbered], sums.T]))

    def resample(self, scenes: Scenes, weights: Weights) -> Values:
        """The mean in resamples of scenes, (R,); `scenes` holds the scene of each frame."""
        frames, _, value, _, vertices = self.table.T
        of_graph = scenes[frames.astype(np.intp)]
        ratios = resample_ratios(value[:, np.newaxis], vertices[:, np.newaxis], of_graph, weights)
        return np.nan_to_num(ratios[:, 0], nan=0.0)


def _transposed(graph: _Graph) -> _Graph:
    return _Graph(truth=graph.truth.T, predicted=graph.predicted.T, weight=graph.weight, ambiguous=graph.ambiguous)


def _graphs(truth: Matrix, predicted: Matrix, row: FrameMatch, column: FrameMatch, *, averaged: bool) -> list[_Graph]:
    """The graph of one frame; for devkit 1.0 those at its ten confidences, equal ones as one."""
    edges = as_array(truth, width=0)
    if 0 in edges.shape:
        return []
    whole = _taken_confidences(edges, predicted, row, column)
    ambiguous = row.ambiguous or column.ambiguous
    if not averaged:
        return [_graph(edges, whole, lowest=LOWEST_EDGE, ambiguous=ambiguous)]
    left_out = np.concatenate([_left_out(row), _left_out(column)], axis=1)
    graphs = []
    for key, weight in Counter(level.tobytes() for level in left_out).items():
        rows, columns = np.split(np.frombuffer(key, bool), [len(row.truth)])
        kept = whole.copy()
        kept[row.truth[rows]] = np.nan
        kept[:, column.truth[columns]] = np.nan
        graphs.append(_graph(edges, kept, lowest=1.0, ambiguous=ambiguous, weight=weight))
    return graphs


def _taken_confidences(truth: NDArray[np.generic], predicted: Matrix, row: FrameMatch, column: FrameMatch) -> Floats:
    """The confidence (R, C) of each edge between ground truths that were taken; not a number elsewhere."""
    confidence = np.full(truth.shape, np.nan)
    if len(row.truth) and len(column.truth):
        found = take(predicted, row.prediction.tolist(), column.prediction.tolist())
        confidence[np.ix_(row.truth, column.truth)] = found
    return confidence


def _left_out(match: FrameMatch) -> Bools:
    """Which of the taken ground truths are not taken at each of devkit 1.0's confidences, (LEVELS, taken)."""
    if not len(match.least):
        return np.ones((LEVELS, len(match.truth)), bool)
    left: Bools = match.confidence[match.prediction] < match.least[:, np.newaxis]
    return left


def _graph(
    truth: NDArray[np.generic], confidence: Floats, *, lowest: float, ambiguous: bool, weight: int = 1
) -> _Graph:
    """A graph of confidences; not a number is the devkit's mark of "not taken", and predicts an edge where none is."""
    false_edge = (1.0 - truth.astype(np.float64)) * lowest
    predicted = np.where(np.isnan(confidence), false_edge, confidence)
    return _Graph(truth=truth.astype(bool), predicted=predicted, weight=weight, ambiguous=ambiguous)


def _vertex_aps(graphs: Sequence[_Graph]) -> tuple[Floats, Floats, Floats]:
    """Of every row of every graph: the lowest AP, the AP, the highest AP."""
    width = max(graph.truth.shape[1] for graph in graphs)
    rows = sum(len(graph.truth) for graph in graphs)
    truth, predicted = np.zeros((rows, width), bool), np.full((rows, width), -np.inf)
    start = 0
    for graph in graphs:
        part = slice(start, start + len(graph.truth)), slice(0, graph.truth.shape[1])
        truth[part], predicted[part] = graph.truth, graph.predicted
        start += len(graph.truth)
    chosen = predicted > EDGE_CONFIDENCE
    neighbours, edges = truth.sum(axis=1), chosen.sum(axis=1)
    plain = ((neighbours == 0) & (edges == 0)).astype(np.float64)
    low, value, high = plain.copy(), plain.copy(), plain.copy()
    busy = np.nonzero((neighbours > 0) & (edges > 0))[0]
    confidence, hit = np.where(chosen, predicted, -np.inf)[busy], (truth & chosen)[busy]
    value[busy] = _ranked_ap(hit, np.argsort(-confidence, axis=1, kind="stable"), neighbours[busy])
    ordered = np.sort(confidence, axis=1)
    tied = ((ordered[:, 1:] == ordered[:, :-1]) & np.isfinite(ordered[:, 1:])).any(axis=1)
    low[busy] = high[busy] = value[busy]
    for ap, key in ((low, hit[tied]), (high, ~hit[tied])):
        order = np.lexsort((key, -confidence[tied]), axis=1)
        ap[busy[tied]] = _ranked_ap(hit[tied], order, neighbours[busy[tied]])
    unsure = np.repeat([graph.ambiguous for graph in graphs], [len(graph.truth) for graph in graphs])
    low[unsure], high[unsure] = 0.0, 1.0
    return low, value, high


def _ranked_ap(hit: Bools, order: NDArray[np.intp], neighbours: NDArray[np.intp]) -> Floats:
    """The sum of the precisions at the hits, in single precision as in the devkit, over the number of neighbours."""
    ranked = np.take_along_axis(hit, order, axis=1)
    precision = np.cumsum(ranked, axis=1, dtype=np.float32) / np.arange(1, hit.shape[1] + 1, dtype=np.float32)
    ap: Floats = (precision * ranked).sum(axis=1, dtype=np.float64) / neighbours
    return ap
