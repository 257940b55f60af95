"""Chamfer AP of vector map elements, as MapTR defines it.

Predictions and ground truth are resampled to 100 equidistant points. The distance of a pair is the mean of the two
directed chamfer distances; it exists only if the two lines, buffered by 2 m with flat caps and mitred joins, intersect.
Every prediction belongs to its nearest ground truth, the first of equals; in order of confidence it is a true positive
if that distance is at most the threshold and that element is not taken yet, and there is no second choice. AP is the
area under the monotone precision-recall curve, in single precision; a class AP is the mean over 0.5, 1.0 and 1.5 m,
mAP the mean over the classes, those without ground truth included as 0.

Source: MapTR, projects/mmdet3d_plugin/datasets/map_utils/{mean_ap,tpfp,tpfp_chamfer}.py. One difference: equal
confidences keep their order here, where `numpy.argsort` there leaves it to the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from admlops.datasets.vector_map import MAP_CLASSES, MapVector, ego_to_patch
from admlops.errors import RecordError
from admlops.evaluation.metrics import MAP_PROTOCOL, Metric
from admlops.results.record import Record

THRESHOLDS_M = (0.5, 1.0, 1.5)
POINTS_PER_LINE = 100
BUFFER_M = 2.0
NO_PAIR = np.inf
OTHER_TYPES = frozenset({"centerline"})
"""Element types that a record may hold and that this protocol does not evaluate."""

MAX_CURVE_POINTS = 100

Points = NDArray[np.float64]
Floats32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The predictions of one class in one sample, in the record's order: (P, 100, 2) [m], confidences, record ids."""

    lines: Points
    confidences: NDArray[np.float64]
    ids: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SampleMatch:
    """One class in one sample. `ground_truth` are indices into the sample's list of vectors.

    `nearest` and `distance` give each prediction's nearest element (an index into `ground_truth`) and how far it is
    [m]; infinite where no pair exists.
    """

    sample_token: str
    confidences: NDArray[np.float64]
    ids: tuple[int, ...]
    ground_truth: tuple[int, ...]
    nearest: NDArray[np.intp]
    distance: NDArray[np.float64]

    def true_positives(self, threshold_m: float) -> NDArray[np.bool_]:
        """Which predictions are true positives, in the record's order."""
        positive = np.zeros(len(self.ids), dtype=np.bool_)
        taken: set[int] = set()
        for index in np.argsort(-self.confidences, kind="stable"):
            element = int(self.nearest[index])
            if self.distance[index] <= threshold_m and element not in taken:
                taken.add(element)
                positive[index] = True
        return positive


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A precision-recall curve in order of falling confidence, single precision, and the area under it."""

    ap: float
    recall: Floats32
    precision: Floats32
    confidence: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MapEvaluation:
    """Everything the protocol says about a run: curves by class and threshold [m], and the matches behind them."""

    samples: int
    curves: Mapping[str, Mapping[float, Curve]]
    matches: Mapping[str, Sequence[SampleMatch]]

    def class_ap(self, name: str) -> float:
        """The mean AP over the thresholds."""
        return float(np.mean([curve.ap for curve in self.curves[name].values()]))

    def metrics(self, dataset: str) -> list[Metric]:
        """mAP and the AP of each class."""
        by_class = {f"AP_{name}": self.class_ap(name) for name in self.curves}
        values = {"mAP": float(np.mean(list(by_class.values()))), **by_class}
        return [
            Metric(name=name, protocol=MAP_PROTOCOL, value=value, n=self.samples, dataset=dataset)
            for name, value in values.items()
        ]

    def details(self) -> dict[str, Any]:
        """AP and counts by class, and the curves, thinned to at most 100 points, for `metrics.json`."""
        classes = {
            name: {
                "ap": {str(threshold): curve.ap for threshold, curve in curves.items()},
                "mean_ap": self.class_ap(name),
                "ground_truth": sum(len(match.ground_truth) for match in self.matches[name]),
                "predictions": sum(len(match.ids) for match in self.matches[name]),
            }
            for name, curves in self.curves.items()
        }
        thinned = {
            name: {str(threshold): _thin(curve) for threshold, curve in curves.items()}
            for name, curves in self.curves.items()
        }
        return {"classes": classes, "curves": thinned}


def evaluate_map(
    records: Iterable[Record], ground_truth: Mapping[str, Sequence[MapVector]], samples: Mapping[str, Mapping[str, Any]]
) -> MapEvaluation:
    """Evaluate the map elements of `records` in their order; a failed record counts as one without elements.

    Args:
        records: standard records, elements in the ego frame.
        ground_truth: by sample token, the vectors in the patch frame.
        samples: by sample token, the sample in the shape of docs/architecture.md.

    Raises:
        RecordError: an element has a type that the protocol does not know.
    """
    matches: dict[str, list[SampleMatch]] = {name: [] for name in MAP_CLASSES}
    for record in records:
        token = record.metadata.sample_token
        predictions = read_predictions(record, samples[token])
        for name in MAP_CLASSES:
            matches[name].append(match_sample(token, predictions[name], name, ground_truth[token]))
    curves = {name: {t: precision_recall(matches[name], t) for t in THRESHOLDS_M} for name in MAP_CLASSES}
    return MapEvaluation(samples=len(matches[MAP_CLASSES[0]]), curves=curves, matches=matches)


def read_predictions(record: Record, sample: Mapping[str, Any]) -> dict[str, Predictions]:
    """A record's elements by class, moved to the patch frame and resampled. Raises RecordError as `evaluate_map`."""
    elements = list(record.map_elements or [])
    for element in elements:
        if element.type not in MAP_CLASSES and element.type not in OTHER_TYPES:
            raise RecordError(
                f"the record of sample {record.metadata.sample_token} has a map element {element.id} of type "
                f"{element.type!r}; the types are {', '.join((*MAP_CLASSES, *sorted(OTHER_TYPES)))}",
                hint=f"mend convert() in the adapter of {record.metadata.model_name} and run it again",
            )
    return {
        name: Predictions(
            lines=resample([ego_to_patch(element.points, sample) for element in elements if element.type == name]),
            confidences=np.array([element.confidence for element in elements if element.type == name], dtype=float),
            ids=tuple(element.id for element in elements if element.type == name),
        )
        for name in MAP_CLASSES
    }


def resample(lines: Sequence[Points]) -> Points:
    """Polylines, (N, 2) [m] each, as 100 points at equal distances along each one: (L, 100, 2)."""
    if not lines:
        return np.zeros((0, POINTS_PER_LINE, 2))
    strings = np.array([shapely.LineString(line) for line in lines])
    steps = np.linspace(0.0, shapely.length(strings), POINTS_PER_LINE, axis=-1)
    points = shapely.line_interpolate_point(strings[:, np.newaxis], steps)
    coordinates: Points = shapely.get_coordinates(points).reshape(len(lines), POINTS_PER_LINE, 2)
    return coordinates


def match_sample(token: str, predictions: Predictions, name: str, ground_truth: Sequence[MapVector]) -> SampleMatch:
    """Find the nearest element of class `name` for each prediction."""
    indices = tuple(index for index, vector in enumerate(ground_truth) if vector.type == name)
    lines = resample([ground_truth[index].points for index in indices])
    distances = pair_distances(predictions.lines, lines)
    none = not distances.size
    return SampleMatch(
        sample_token=token,
        confidences=predictions.confidences,
        ids=predictions.ids,
        ground_truth=indices,
        nearest=np.zeros(len(distances), dtype=np.intp) if none else distances.argmin(axis=1),
        distance=np.full(len(distances), NO_PAIR) if none else distances.min(axis=1),
    )


def pair_distances(predictions: Points, ground_truth: Points) -> NDArray[np.float64]:
    """Chamfer distances [m], (P, G), of lines (P, 100, 2) and (G, 100, 2); infinite where no pair exists.

    A pair further than the largest threshold matches at none, whatever its exact distance: such pairs, by far the
    most, are left infinite. That keeps the costly steps, the distance matrix and the buffers, to near ones.
    """
    limit = max(THRESHOLDS_M)
    distances = np.full((len(predictions), len(ground_truth)), NO_PAIR)
    for p, g in zip(*np.nonzero(_bounds_gap(predictions, ground_truth) <= limit), strict=True):
        distances[p, g] = _chamfer(predictions[p], ground_truth[g])
    distances[distances > limit] = NO_PAIR
    near_p, near_g = np.nonzero(np.isfinite(distances))
    meets = shapely.intersects(_buffer(predictions)[near_p], _buffer(ground_truth)[near_g])
    distances[near_p[~meets], near_g[~meets]] = NO_PAIR
    return distances


def precision_recall(matches: Sequence[SampleMatch], threshold_m: float) -> Curve:
    """The curve of one class at one threshold over all samples."""
    ground_truth = sum(len(match.ground_truth) for match in matches)
    confidences = np.concatenate([np.zeros(0), *(match.confidences for match in matches)])
    positive = np.concatenate([np.zeros(0, bool), *(match.true_positives(threshold_m) for match in matches)])
    order = np.argsort(-confidences, kind="stable")
    tiny = np.finfo(np.float32).eps
    tp = np.cumsum(positive[order].astype(np.float32))
    fp = np.cumsum((~positive[order]).astype(np.float32))
    recall = tp / np.float32(max(float(ground_truth), float(tiny)))
    precision = tp / np.maximum(tp + fp, tiny)
    area = average_precision(recall, precision)
    return Curve(ap=area, recall=recall, precision=precision, confidence=confidences[order])


def average_precision(recall: Floats32, precision: Floats32) -> float:
    """The area under the curve after making precision monotone from the right; single precision as in MapTR."""
    ends = np.zeros(1, np.float32), np.ones(1, np.float32)
    recall = np.concatenate([ends[0], recall, ends[1]])
    precision = np.concatenate([ends[0], precision, ends[0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.nonzero(recall[1:] != recall[:-1])[0]
    return float(np.sum((recall[steps + 1] - recall[steps]) * envelope[steps + 1]))


def _bounds_gap(a: Points, b: Points) -> NDArray[np.float64]:
    """A lower bound [m] of the chamfer distance of each pair: the gap between their bounding boxes."""
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    low_a, high_a, low_b, high_b = a.min(axis=1), a.max(axis=1), b.min(axis=1), b.max(axis=1)
    gap = np.maximum(low_a[:, np.newaxis] - high_b, low_b - high_a[:, np.newaxis]).clip(min=0.0)
    distance: NDArray[np.float64] = np.linalg.norm(gap, axis=-1)
    return distance


def _chamfer(a: Points, b: Points) -> float:
    distances = cdist(a, b)
    return float((distances.min(axis=0).mean() + distances.min(axis=1).mean()) / 2)


def _buffer(lines: Points) -> NDArray[np.object_]:
    strings = shapely.linestrings(lines) if len(lines) else np.zeros(0, dtype=np.object_)
    with np.errstate(invalid="ignore"):  # GEOS computes with NaN inside for a line of almost no length
        buffered: NDArray[np.object_] = shapely.buffer(
            strings, BUFFER_M, quad_segs=16, cap_style="flat", join_style="mitre", mitre_limit=5.0
        )
    return buffered


def _thin(curve: Curve) -> dict[str, list[float]]:
    """At most MAX_CURVE_POINTS of the points at which recall rises, the last one among them."""
    rises = np.nonzero(np.diff(curve.recall, prepend=np.float32(0)) > 0)[0]
    chosen = rises[np.unique(np.linspace(0, len(rises) - 1, min(len(rises), MAX_CURVE_POINTS)).round().astype(int))]
    return {
        "recall": [round(float(value), 6) for value in curve.recall[chosen]],
        "precision": [round(float(value), 6) for value in curve.precision[chosen]],
        "confidence": [round(float(value), 6) for value in curve.confidence[chosen]],
    }
