"""AP of vector map elements, as MapTR defines it: by Chamfer distance, and the IoU variant.

Predictions and ground truth are resampled to 100 equidistant points. The distance of a pair is the mean of the two
directed Chamfer distances; it exists only if the two lines, buffered by 2 m with flat caps and mitred joins, intersect.
Every prediction belongs to its nearest ground truth, the first of equals; in order of confidence it is a true positive
if that distance is at most the threshold and that element is not taken yet, and there is no second choice. AP is the
area under the monotone precision-recall curve, in single precision; a class AP is the mean over the thresholds, mAP the
mean over the classes, those without ground truth included as 0. The IoU variant takes the IoU of lines buffered by 1 m
in place of the distance.

Source: MapTR, projects/mmdet3d_plugin/datasets/map_utils/{mean_ap,tpfp,tpfp_chamfer}.py. One difference: equal
confidences keep their order here, where `numpy.argsort` there leaves it to the machine. How far their order can move
the number is the range from `ap_low` to `ap_high`: of predictions with one confidence the number of true positives does
not depend on their order, so the ends are those with all of them first and all of them last.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.datasets.vector_map import CENTERLINE, MAP_CLASSES, MapVector, ego_to_patch
from admlops.errors import RecordError
from admlops.evaluation.metrics import MAP_PROTOCOL, Metric
from admlops.evaluation.polylines import Batch, buffer_iou, nearest_lines, resample
from admlops.results.record import MapElement, Record

THRESHOLDS_M = (0.5, 1.0, 1.5)
IOU_THRESHOLDS = tuple(float(value) for value in np.linspace(0.5, 0.95, 10))
OTHER_TYPES = frozenset({CENTERLINE})
"""Element types that a record may hold and that a protocol may leave alone."""

MAX_CURVE_POINTS = 100
SAMPLES_AT_ONCE = 256
"""Samples evaluated in one go: some 20 MB of resampled lines a class."""

THREADS = min(2, os.cpu_count() or 1)

Points = NDArray[np.float64]
Floats32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class MapProtocol:
    """What is evaluated. `limits` are the largest distances that match; an IoU counts as a distance of minus itself."""

    name: str
    classes: tuple[str, ...]
    thresholds: tuple[float, ...]
    limits: tuple[float, ...]
    nearest: Callable[[Batch, Batch], tuple[NDArray[np.intp], Points]]


def _nearest_by_chamfer(predictions: Batch, truth: Batch) -> tuple[NDArray[np.intp], Points]:
    return nearest_lines(predictions, truth, limit_m=max(THRESHOLDS_M))


def _nearest_by_iou(predictions: Batch, truth: Batch) -> tuple[NDArray[np.intp], Points]:
    return buffer_iou(predictions, truth, least=min(IOU_THRESHOLDS))


CHAMFER = MapProtocol(
    name=MAP_PROTOCOL,
    classes=MAP_CLASSES,
    thresholds=THRESHOLDS_M,
    limits=THRESHOLDS_M,
    nearest=_nearest_by_chamfer,
)
IOU = MapProtocol(
    name="maptr.iou-60x30-0.5_0.05_0.95",
    classes=MAP_CLASSES,
    thresholds=IOU_THRESHOLDS,
    limits=tuple(-value for value in IOU_THRESHOLDS),
    nearest=_nearest_by_iou,
)
CHAMFER_WITH_CENTERLINES = MapProtocol(
    name="maptrv2.chamfer-60x30-0.5_1.0_1.5-centerline",
    classes=(*MAP_CLASSES, CENTERLINE),
    thresholds=THRESHOLDS_M,
    limits=THRESHOLDS_M,
    nearest=_nearest_by_chamfer,
)
PROTOCOLS = (CHAMFER, IOU, CHAMFER_WITH_CENTERLINES)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The predictions of one class in one sample, in the record's order: (M, 2) [m] each, confidences, record ids."""

    lines: tuple[Points, ...]
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

    def true_positives(self, limit: float) -> NDArray[np.bool_]:
        """Which predictions are true positives within `limit`, in the record's order."""
        return _true_positives([self], limit)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A precision-recall curve in order of falling confidence, single precision, and the area under it.

    `ap_low` and `ap_high` bound the areas that other orders of equal confidences give.
    """

    ap: float
    ap_low: float
    ap_high: float
    recall: Floats32
    precision: Floats32
    confidence: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MapEvaluation:
    """Everything the protocol says about a run: curves by class and threshold, and the matches behind them."""

    samples: int
    curves: Mapping[str, Mapping[float, Curve]]
    matches: Mapping[str, Sequence[SampleMatch]]
    protocol: str = MAP_PROTOCOL

    def class_ap(self, name: str) -> float:
        """The mean AP over the thresholds."""
        return float(np.mean([curve.ap for curve in self.curves[name].values()]))

    def tie_ranges(self) -> dict[str, tuple[float, float]]:
        """By metric, the lowest and the highest value that any order of equal confidences can give."""
        ends = {
            f"AP_{name}": (
                float(np.mean([curve.ap_low for curve in curves.values()])),
                float(np.mean([curve.ap_high for curve in curves.values()])),
            )
            for name, curves in self.curves.items()
        }
        low, high = (float(np.mean([end[side] for end in ends.values()])) for side in (0, 1))
        return {"mAP": (low, high), **ends}

    def metrics(self, dataset: str) -> list[Metric]:
        """mAP and the AP of each class."""
        by_class = {f"AP_{name}": self.class_ap(name) for name in self.curves}
        values = {"mAP": float(np.mean(list(by_class.values()))), **by_class}
        return [
            Metric(name=name, protocol=self.protocol, value=value, n=self.samples, dataset=dataset)
            for name, value in values.items()
        ]

    def details(self) -> dict[str, Any]:
        """AP and counts by class, what ties leave open, and the curves, thinned to 100 points, for `metrics.json`."""
        classes = {
            name: {
                "ap": {_label(threshold): curve.ap for threshold, curve in curves.items()},
                "mean_ap": self.class_ap(name),
                "ground_truth": sum(len(match.ground_truth) for match in self.matches[name]),
                "predictions": sum(len(match.ids) for match in self.matches[name]),
            }
            for name, curves in self.curves.items()
        }
        thinned = {
            name: {_label(threshold): _thin(curve) for threshold, curve in curves.items()}
            for name, curves in self.curves.items()
        }
        ranges = {name: list(ends) for name, ends in self.tie_ranges().items()}
        return {"classes": classes, "curves": thinned, "tie_ranges": ranges}


def evaluate_map(
    records: Iterable[Record],
    ground_truth: Mapping[str, Sequence[MapVector]],
    samples: Mapping[str, Mapping[str, Any]],
    *,
    protocol: MapProtocol = CHAMFER,
) -> MapEvaluation:
    """Evaluate the map elements of `records` in their order; a failed record counts as one without elements.

    Args:
        records: standard records, elements in the ego frame; one for each sample of `ground_truth`.
        ground_truth: by sample token, the vectors in the patch frame.
        samples: by sample token, the sample in the shape of docs/architecture.md.

    Raises:
        RecordError: an element has a type that the protocol does not know, a record's sample is not among the ground
            truth, a sample has two records or none.
    """
    found = _read_all(records, ground_truth, samples, protocol.classes)
    if missing := [token for token in ground_truth if token not in found]:
        raise RecordError(
            f"{len(missing)} of {len(ground_truth)} samples have no record, {missing[0]} among them",
            hint="run the model on these samples: admlops run MODEL --run NAME --resume",
        )
    return evaluate_elements(found, ground_truth, protocol=protocol)


def evaluate_elements(
    predictions: Mapping[str, Mapping[str, Predictions]],
    ground_truth: Mapping[str, Sequence[MapVector]],
    *,
    protocol: MapProtocol = CHAMFER,
) -> MapEvaluation:
    """`evaluate_map` from predictions by sample token and class, in the frame of the ground truth."""
    tokens = list(predictions)
    chunks = [tokens[start : start + SAMPLES_AT_ONCE] for start in range(0, len(tokens), SAMPLES_AT_ONCE)]

    def match(job: tuple[str, list[str]]) -> list[SampleMatch]:
        name, chunk = job
        return _match_samples(chunk, [predictions[token][name] for token in chunk], name, ground_truth, protocol)

    jobs = list(itertools.product(protocol.classes, chunks))
    with ThreadPoolExecutor(THREADS) as pool:
        done = zip(jobs, pool.map(match, jobs), strict=True)
        matches: dict[str, list[SampleMatch]] = {name: [] for name in protocol.classes}
        for (name, _), part in done:
            matches[name].extend(part)
    pairs = tuple(zip(protocol.thresholds, protocol.limits, strict=True))
    curves = {name: {t: precision_recall(matches[name], limit) for t, limit in pairs} for name in protocol.classes}
    return MapEvaluation(samples=len(tokens), curves=curves, matches=matches, protocol=protocol.name)


def _read_all(
    records: Iterable[Record],
    ground_truth: Mapping[str, Sequence[MapVector]],
    samples: Mapping[str, Mapping[str, Any]],
    classes: Sequence[str],
) -> dict[str, dict[str, Predictions]]:
    found: dict[str, dict[str, Predictions]] = {}
    for record in records:
        token = record.metadata.sample_token
        if token in found or token not in ground_truth:
            reason = "has two records" if token in found else "is not among the samples evaluated"
            raise RecordError(
                f"sample {token} {reason}", hint=f"admlops results verify {record.metadata.run}   # what the run holds"
            )
        found[token] = read_predictions(record, samples[token], classes=classes)
    return found


def read_predictions(
    record: Record, sample: Mapping[str, Any], *, classes: Sequence[str] = MAP_CLASSES
) -> dict[str, Predictions]:
    """A record's elements by class, moved to the patch frame. Raises RecordError as `evaluate_map`."""
    elements = list(record.map_elements or [])
    for element in elements:
        if element.type not in classes and element.type not in OTHER_TYPES:
            raise RecordError(
                f"the record of sample {record.metadata.sample_token} has a map element {element.id} of type "
                f"{element.type!r}; the types are {', '.join((*classes, *sorted(OTHER_TYPES - {*classes})))}",
                hint=f"mend convert() in the adapter of {record.metadata.model_name} and run it again",
            )
    lines = _move_to_patch(elements, sample)
    by_class: dict[str, list[int]] = {name: [] for name in classes}
    for index, element in enumerate(elements):
        if element.type in by_class:
            by_class[element.type].append(index)
    return {
        name: Predictions(
            lines=tuple(lines[index] for index in indices),
            confidences=np.array([elements[index].confidence for index in indices], dtype=float),
            ids=tuple(elements[index].id for index in indices),
        )
        for name, indices in by_class.items()
    }


def _move_to_patch(elements: Sequence[MapElement], sample: Mapping[str, Any]) -> list[Points]:
    """All lines of a record in one go: converting them one by one would take most of the evaluation's time."""
    if not elements:
        return []
    points = ego_to_patch([point for element in elements for point in element.points], sample)
    ends = np.cumsum([len(element.points) for element in elements]).tolist()
    return [points[start:end] for start, end in itertools.pairwise([0, *ends])]


def match_sample(
    token: str,
    predictions: Predictions,
    name: str,
    ground_truth: Sequence[MapVector],
    *,
    protocol: MapProtocol = CHAMFER,
) -> SampleMatch:
    """Find the nearest element of class `name` for each prediction."""
    (match,) = _match_samples([token], [predictions], name, {token: ground_truth}, protocol)
    return match


def _match_samples(
    tokens: Sequence[str],
    predictions: Sequence[Predictions],
    name: str,
    ground_truth: Mapping[str, Sequence[MapVector]],
    protocol: MapProtocol,
) -> list[SampleMatch]:
    indices = [[i for i, vector in enumerate(ground_truth[token]) if vector.type == name] for token in tokens]
    there = [ground_truth[token][i].points for token, own in zip(tokens, indices, strict=True) for i in own]
    found = [line for batch in predictions for line in batch.lines]
    batch = Batch.of(resample(found), [len(batch.lines) for batch in predictions])
    nearest, distance = protocol.nearest(batch, Batch.of(resample(there), [len(own) for own in indices]))
    return [
        SampleMatch(
            sample_token=token,
            confidences=own.confidences,
            ids=own.ids,
            ground_truth=tuple(elements),
            nearest=nearest[start:end],
            distance=distance[start:end],
        )
        for token, own, elements, (start, end) in zip(
            tokens, predictions, indices, itertools.pairwise(batch.first.tolist()), strict=True
        )
    ]


def _true_positives(matches: Sequence[SampleMatch], limit: float) -> NDArray[np.bool_]:
    """Which predictions of all samples, one after another, are true positives.

    In order of confidence the first one within the limit takes its nearest element.
    """
    confidences = np.concatenate([np.zeros(0), *(match.confidences for match in matches)])
    distance = np.concatenate([np.zeros(0), *(match.distance for match in matches)])
    counts = [len(match.ground_truth) for match in matches]
    first = np.repeat(np.cumsum(counts) - counts, [len(match.ids) for match in matches]).astype(np.intp)
    element = first + np.concatenate([np.zeros(0, dtype=np.intp), *(match.nearest for match in matches)])
    order = np.argsort(-confidences, kind="stable")
    order = order[distance[order] <= limit]
    positive = np.zeros(len(confidences), dtype=np.bool_)
    positive[order[np.unique(element[order], return_index=True)[1]]] = True
    return positive


def precision_recall(matches: Sequence[SampleMatch], limit: float) -> Curve:
    """The curve of one class at one threshold over all samples."""
    ground_truth = sum(len(match.ground_truth) for match in matches)
    confidences = np.concatenate([np.zeros(0), *(match.confidences for match in matches)])
    positive = _true_positives(matches, limit)
    order = np.argsort(-confidences, kind="stable")
    recall, precision = _accumulate(positive[order], ground_truth)
    low, high = (
        average_precision(*_accumulate(positive[np.lexsort((key, -confidences))], ground_truth))
        for key in (positive, ~positive)
    )
    return Curve(
        ap=average_precision(recall, precision),
        ap_low=low,
        ap_high=high,
        recall=recall,
        precision=precision,
        confidence=confidences[order],
    )


def _accumulate(positive: NDArray[np.bool_], ground_truth: int) -> tuple[Floats32, Floats32]:
    """Recall and precision after each prediction."""
    tiny = np.finfo(np.float32).eps
    tp = np.cumsum(positive.astype(np.float32))
    fp = np.cumsum((~positive).astype(np.float32))
    recall = tp / np.float32(max(float(ground_truth), float(tiny)))
    return recall, tp / np.maximum(tp + fp, tiny)


def average_precision(recall: Floats32, precision: Floats32) -> float:
    """The area under the curve after making precision monotone from the right; single precision as in MapTR."""
    ends = np.zeros(1, np.float32), np.ones(1, np.float32)
    recall = np.concatenate([ends[0], recall, ends[1]])
    precision = np.concatenate([ends[0], precision, ends[0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.nonzero(recall[1:] != recall[:-1])[0]
    return float(np.sum((recall[steps + 1] - recall[steps]) * envelope[steps + 1]))


def _thin(curve: Curve) -> dict[str, list[float]]:
    """At most MAX_CURVE_POINTS of the points at which recall rises, the last one among them."""
    rises = np.nonzero(np.diff(curve.recall, prepend=np.float32(0)) > 0)[0]
    chosen = rises[np.unique(np.linspace(0, len(rises) - 1, min(len(rises), MAX_CURVE_POINTS)).round().astype(int))]
    return {
        "recall": [round(float(value), 6) for value in curve.recall[chosen]],
        "precision": [round(float(value), 6) for value in curve.precision[chosen]],
        "confidence": [round(float(value), 6) for value in curve.confidence[chosen]],
    }


def _label(threshold: float) -> str:
    """0.5, 1.0, 0.65: without the noise of steps of 0.05."""
    return str(round(threshold, 4))
