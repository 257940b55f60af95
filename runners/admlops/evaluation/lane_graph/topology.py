"""OpenLane-V2's TOP scores: the mean AP of the edges of every vertex.

A vertex is a ground-truth lane or traffic element, its neighbours those it is connected to. A predicted edge between
two ground truths is the one between the predictions that took them; only those above a confidence of 0.5 count. Where
one of the two was not taken, devkit 1.1 predicts a false edge at the lowest confidence wherever there is none in truth;
devkit 1.0 predicts it at confidence 1. Devkit 1.0 also averages over ten confidences below which no prediction takes
anything. A vertex without neighbours has AP 1 if none is predicted and 0 otherwise. Frames without vertices are passed
over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass
class TopologyScore:
    """Sums over vertices: of the lowest AP, of the AP and of the highest one that orders of equal confidences give."""

    low: float = 0.0
    value: float = 0.0
    high: float = 0.0
    vertices: int = 0
    by_frame: dict[int, tuple[float, int]] = field(default_factory=dict)
    """Of each frame with vertices, by its number: the sum of their AP, and how many they are."""

    def mean(self) -> tuple[float, float, float]:
        """The lowest value, the value, the highest; 0 without any vertex."""
        count = max(self.vertices, 1)
        return self.low / count, self.value / count, self.high / count

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
        sides = [graphs, [_transposed(graph) for graph in graphs]]
        for side in sides:
            aps = _vertex_aps(side)
            weight = np.repeat([graph.weight for graph in side], [len(graph.truth) for graph in side])
            self._add_by_frame(
                [(number, len(graph.truth)) for (number, _), graph in zip(numbered, side, strict=True)],
                aps[1] * weight,
                weight,
            )
            low, value, high = (float((ap * weight).sum()) for ap in aps)
            self.low, self.value, self.high = self.low + low, self.value + value, self.high + high
            self.vertices += int(weight.sum())

    def _add_by_frame(self, sizes: Sequence[tuple[int, int]], value: Floats, weight: NDArray[np.int64]) -> None:
        """Add vertices, `sizes` of them one after another for each frame's number."""
        ends = np.cumsum([size for _, size in sizes])[:-1]
        for (number, _), own, counts in zip(sizes, np.split(value, ends), np.split(weight, ends), strict=True):
            total, vertices = self.by_frame.get(number, (0.0, 0))
            self.by_frame[number] = total + float(own.sum()), vertices + int(counts.sum())

    def resample(self, scenes: Scenes, weights: Weights) -> Values:
        """The mean in resamples of scenes, (R,); `scenes` holds the scene of each frame."""
        frames = np.array(list(self.by_frame), dtype=np.int64)
        sums = np.array(list(self.by_frame.values()), dtype=np.float64).reshape(-1, 2)
        ratios = resample_ratios(sums[:, :1], sums[:, 1:], scenes[frames], weights)
        return np.nan_to_num(ratios[:, 0], nan=0.0)


def _transposed(graph: _Graph) -> _Graph:
    return _Graph(truth=graph.truth.T, predicted=graph.predicted.T, weight=graph.weight, ambiguous=graph.ambiguous)


def _graphs(truth: Matrix, predicted: Matrix, row: FrameMatch, column: FrameMatch, *, averaged: bool) -> list[_Graph]:
    """The graph of one frame; for devkit 1.0 those at its ten confidences, equal ones as one."""
    edges = as_array(truth, width=0)
    if 0 in edges.shape:
        return []
    ambiguous = row.ambiguous or column.ambiguous
    if not averaged:
        everything = np.ones(len(row.truth), bool), np.ones(len(column.truth), bool)
        return [_graph(edges, predicted, row, column, *everything, lowest=LOWEST_EDGE, ambiguous=ambiguous)]
    kept = [(_above(row, level), _above(column, level)) for level in range(LEVELS)]
    counts: dict[tuple[bytes, bytes], int] = {}
    for rows, columns in kept:
        key = rows.tobytes(), columns.tobytes()
        counts[key] = counts.get(key, 0) + 1
    return [
        _graph(
            edges,
            predicted,
            row,
            column,
            np.frombuffer(rows, bool),
            np.frombuffer(columns, bool),
            lowest=1.0,
            ambiguous=ambiguous,
            weight=count,
        )
        for (rows, columns), count in counts.items()
    ]


def _above(match: FrameMatch, level: int) -> Bools:
    """Which of the taken ground truths stay at one of devkit 1.0's confidences."""
    if not len(match.least):
        return np.zeros(len(match.truth), bool)
    kept: Bools = match.confidence[match.prediction] >= match.least[level]
    return kept


def _graph(
    truth: NDArray[np.generic],
    predicted: Matrix,
    row: FrameMatch,
    column: FrameMatch,
    rows: Bools,
    columns: Bools,
    *,
    lowest: float,
    ambiguous: bool,
    weight: int = 1,
) -> _Graph:
    edges = truth.astype(bool)
    confidence = (1.0 - truth.astype(np.float64)) * lowest
    i, j = row.truth[rows], column.truth[columns]
    if len(i) and len(j):
        chosen = take(predicted, row.prediction[rows].tolist(), column.prediction[columns].tolist())
        # Not a number is the devkit's mark of "not taken", so it stands for a false edge here as well.
        confidence[np.ix_(i, j)] = np.where(np.isnan(chosen), confidence[np.ix_(i, j)], chosen)
    return _Graph(truth=edges, predicted=confidence, weight=weight, ambiguous=ambiguous)


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
