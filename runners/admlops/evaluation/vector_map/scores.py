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
the number is the range from `ap_low` to `ap_high`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.counting import count_of
from admlops.core.errors import RecordError
from admlops.datasets.base import HasMap
from admlops.datasets.nuscenes.vector_cache import cached_vectors
from admlops.datasets.nuscenes.vector_map import MapVector
from admlops.evaluation.context import Context
from admlops.evaluation.error_analysis import MatchedRun
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.ap_resampling import resample_area
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.evaluation.vector_map.curves import PrecisionRecall, SampleMatch, precision_recall, thin, true_positives_of
from admlops.evaluation.vector_map.element_table import ElementTable, Predictions, read_all_predictions
from admlops.evaluation.vector_map.error_analysis import class_match
from admlops.evaluation.vector_map.polylines import Batch, buffer_iou, nearest_lines, resample
from admlops.evaluation.vector_map.protocols import CHAMFER, CHAMFER_WITH_CENTERLINES, MapProtocol
from admlops.evaluation.vector_map.ready_truth import ReadyTruth, read_map_truth
from admlops.results.record import PartialRecord, Record

SAMPLES_AT_ONCE = 256
"""Samples evaluated in one go: some 20 MB of resampled lines a class."""

DIGITS = 12
"""Of a file's sha256, where it is part of a protocol."""

THREADS = min(2, os.cpu_count() or 1)

Points = NDArray[np.float64]


def _nearest(predictions: Batch, truth: Batch, protocol: MapProtocol) -> tuple[NDArray[np.intp], Points]:
    """Return each prediction's nearest element, and the distance that the protocol counts."""
    if protocol.distance == "chamfer":
        return nearest_lines(predictions, truth, limit_m=max(protocol.limits))
    return buffer_iou(predictions, truth, least=min(protocol.thresholds))


@dataclass(frozen=True, kw_only=True)
class MapEvaluation:
    """Everything the protocol says about a run: curves by class and threshold, and the matches behind them."""

    samples: int
    curves: Mapping[str, Mapping[float, PrecisionRecall]]
    matches: Mapping[str, Sequence[SampleMatch]]
    definition: MapProtocol = CHAMFER
    truth_sha256: str | None = None
    """Of the file with the ground truth, where it was not cut from the map expansion."""

    @property
    def protocol(self) -> str:
        """The protocol; with the digest of a file with ground truth, because others compare with other numbers."""
        return self.definition.name + ("" if self.truth_sha256 is None else f"@{self.truth_sha256[:DIGITS]}")

    def find_errors(self, ran: NDArray[np.bool_]) -> MatchedRun:
        """Classify every element; `ran` (S,) says which samples have outputs."""
        samples = [
            {name: class_match(matches[index]) for name, matches in self.matches.items()}
            for index in range(self.samples)
        ]
        return MatchedRun(samples, ran)

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

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples of scenes; `scenes` holds the scene of each sample."""
        aps = {}
        for name, matches in self.matches.items():
            confidences = np.concatenate([np.zeros(0), *(match.confidences for match in matches)])
            scene = np.repeat(scenes, [len(match.ids) for match in matches])
            there = np.array([len(match.ground_truth) for match in matches])
            truth = np.bincount(scenes, weights=there, minlength=weights.shape[1]).astype(np.int64)
            areas = [
                resample_area(confidences, true_positives_of(matches, limit), scene, truth, weights)
                for limit in self.definition.limits
            ]
            aps[f"AP_{name}"] = np.mean(areas, axis=0)
        return {"mAP": np.mean(list(aps.values()), axis=0), **aps}

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
            name: {_label(threshold): thin(curve) for threshold, curve in curves.items()}
            for name, curves in self.curves.items()
        }
        ranges = {name: list(ends) for name, ends in self.tie_ranges().items()}
        file = {} if self.truth_sha256 is None else {"truth_sha256": self.truth_sha256}
        return {**file, "classes": classes, "curves": thinned, "tie_ranges": ranges}


def evaluate_table(table: ElementTable, context: Context, protocol: MapProtocol) -> MapEvaluation:
    """Evaluate the map elements of a run against the vectors of the map around its samples.

    Raises:
        DataError: a map is missing, older than version 1.3 or not whole.
        RecordError: a coordinate is too large to be measured.
    """
    truth = map_truth(context, centerlines=table.has_centerlines)
    found = evaluate_elements(predictions_of(table, context, protocol), truth, protocol=protocol)
    ready = ready_truth(context)
    return found if ready is None else replace(found, truth_sha256=ready.sha256)


def predictions_of(table: ElementTable, context: Context, protocol: MapProtocol) -> dict[str, dict[str, Predictions]]:
    """Return the run's elements in the patch frame, by sample token and class."""
    classes = protocol.classes
    return context.share(
        ("vector_map.predictions", classes), lambda: table.predictions(context.metadata, context.samples, classes)
    )


def map_truth(context: Context, *, centerlines: bool) -> dict[str, list[MapVector]]:
    """Return by token the map vectors around a sample: from a file if one was named, else cut once and kept.

    Raises:
        DataError: a map or the file is missing or damaged.
    """
    ready = ready_truth(context)
    if ready is not None:
        return {token: list(ready.vectors[token]) for token in context.tokens}
    lines = centerlines or CHAMFER_WITH_CENTERLINES.name in context.on_request
    data = context.data
    assert isinstance(data, HasMap), "an evaluation that needs maps runs on data with maps"

    def cut() -> dict[str, list[MapVector]]:
        places = {token: (data.location(token), sample) for token, sample in context.samples.items()}
        return cached_vectors(data.root / "maps", places, cache=context.cache, centerlines=lines)

    return context.share("vector_map.truth", cut)


def ready_truth(context: Context) -> ReadyTruth | None:
    """Return the ground truth of `--map-truth`, read once; None without it. Raises DataError for an unusable file."""
    path = context.truth_map
    if path is None:
        return None
    return context.share("vector_map.ready", lambda: read_map_truth(path, context.tokens))


def evaluate_map(
    records: Iterable[PartialRecord | Record],
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
    found = read_all_predictions(records, ground_truth, samples, protocol.classes)
    if missing := [token for token in ground_truth if token not in found]:
        raise RecordError(
            f"no record of {len(missing)} of {count_of(len(ground_truth), 'sample')}, such as {missing[0]}",
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
    return MapEvaluation(samples=len(tokens), curves=curves, matches=matches, definition=protocol)


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
    nearest, distance = _nearest(batch, Batch.of(resample(there), [len(own) for own in indices]), protocol)
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


def _label(threshold: float) -> str:
    """0.5, 1.0, 0.65: without the noise of steps of 0.05."""
    return str(round(threshold, 4))
