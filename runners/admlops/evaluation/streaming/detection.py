"""Boxes under latency: at each moment of the ground truth the boxes of the last output that was ready.

mAP-S, mATE-S, mASE-S, mAOE-S and mAAE-S are nuScenes' detection metrics over all moments. A velocity error is not
streamed: mAVE is that of the outputs at their own moments, and NDS-S takes it beside the five streaming values. ASAP's
bound of 1000 boxes a frame does not bind, for a record's 500 boxes stay 500.

Source: ASAP (arXiv 2212.08914), sAP3D/eval/evaluate.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from admlops.datasets.annotations import Annotations
from admlops.evaluation.context import Context
from admlops.evaluation.detection_3d.box_table import BoxTable
from admlops.evaluation.detection_3d.boxes import Boxes, Floats, GroundTruth
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.protocols import ERROR_NAMES, NUSCENES
from admlops.evaluation.detection_3d.resampling import resample_scores
from admlops.evaluation.detection_3d.scores import Matching, Score, combine, match_boxes, score
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.evaluation.streaming.options import Strategy, StreamOptions
from admlops.evaluation.streaming.pairing import Integers, Pairing, pair, stream_truth
from admlops.evaluation.streaming.simulation import NONE, RATE_HZ

VELOCITY_ERROR = "vel_err"
OFFLINE = "offline"


@dataclass(frozen=True, kw_only=True)
class StreamingResult:
    """One strategy over one run. `offline` is the matching of outputs at their own moments."""

    protocol: str
    strategy: Strategy
    options: StreamOptions
    pairing: Pairing
    matching: Matching
    score: Score
    offline: Matching
    offline_score: Score

    @property
    def values(self) -> dict[str, float]:
        """The metrics by name."""
        errors = {**self.score.errors, VELOCITY_ERROR: self.offline_score.errors[VELOCITY_ERROR]}
        named = {f"{ERROR_NAMES[name]}-S": value for name, value in errors.items() if name != VELOCITY_ERROR}
        return {"mAP-S": self.score.mean_ap, "NDS-S": combine(self.score.mean_ap, errors), **named}

    def metrics(self, dataset: str) -> list[Metric]:
        """The streaming values; intervals come from the resamples."""
        return [
            Metric(name=name, protocol=self.protocol, value=value, n=len(self.pairing.paired), dataset=dataset)
            for name, value in self.values.items()
        ]

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric, its value in each resample of the scenes."""
        found = resample_scores(self.matching, self.pairing.scene, weights)
        offline = resample_scores(self.offline, self.pairing.scene, weights).errors[VELOCITY_ERROR]
        names = list(found.errors)
        nds = [
            combine(float(ap), {**dict(zip(names, row, strict=True)), VELOCITY_ERROR: float(velocity)})
            for ap, row, velocity in zip(
                found.mean_ap, np.stack(list(found.errors.values()), axis=1).tolist(), offline, strict=True
            )
        ]
        own = {f"{ERROR_NAMES[name]}-S": values for name, values in found.errors.items() if name != VELOCITY_ERROR}
        return {"mAP-S": found.mean_ap, "NDS-S": np.array(nds), **own}

    def details(self) -> dict[str, Any]:
        """The simulation, the counts, the offline values and the classes."""
        errors = self.offline_score.errors
        return {
            "strategy": self.strategy,
            "simulation": self.options.to_json(),
            **self.pairing.to_json(),
            OFFLINE: {
                "mAP": self.offline_score.mean_ap,
                "NDS": combine(self.offline_score.mean_ap, errors),
                **{ERROR_NAMES[name]: value for name, value in errors.items()},
            },
            "classes": {name: {"mean_ap": entry.mean_ap} for name, entry in self.score.classes.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Streams:
    """What every simulation of a run shares: its boxes and the ground truth, both in the global frame."""

    boxes: Boxes
    truth: GroundTruth
    moments: Mapping[str, int]
    offline: Matching
    offline_score: Score


def evaluate_streaming(
    table: BoxTable, context: Context, *, protocol: str, strategy: Strategy, options: StreamOptions
) -> StreamingResult:
    """Evaluate a run over inputs at 12 Hz under its latencies.

    Raises:
        DataError: annotations are missing or damaged, or no record has a time.
    """
    streams = context.share("streaming.boxes", lambda: _prepare(table, context))
    pairing = context.share(("streaming.pairing", repr(options)), lambda: pair(context, dict(streams.moments), options))
    matching = match_boxes(age_boxes(streams.boxes, pairing, strategy), streams.truth, NUSCENES)
    return StreamingResult(
        protocol=protocol + options.suffix,
        strategy=strategy,
        options=options,
        pairing=pairing,
        matching=matching,
        score=score(matching),
        offline=streams.offline,
        offline_score=streams.offline_score,
    )


def age_boxes(boxes: Boxes, pairing: Pairing, strategy: Strategy) -> Boxes:
    """Return the boxes that each moment has, moved on where the strategy says so."""
    paired = repeat_boxes(boxes, pairing.paired)
    if strategy == "copy":
        return paired
    age_s = pairing.age[paired.sample] / RATE_HZ
    return move_on(paired, age_s)


def move_on(boxes: Boxes, age_s: Floats) -> Boxes:
    """Return the boxes moved by their velocity times their age (N,) [s]; one of unknown velocity stays."""
    center = boxes.center.copy()
    center[:, :2] += np.nan_to_num(boxes.velocity, nan=0.0) * age_s[:, np.newaxis]
    return replace(boxes, center=center)


def repeat_boxes(boxes: Boxes, paired: Integers) -> Boxes:
    """Return for each moment the boxes of the record that it is paired with; `sample` counts moments."""
    has = paired != NONE
    start = np.searchsorted(boxes.sample, paired, side="left")
    count = np.where(has, np.searchsorted(boxes.sample, paired, side="right") - start, 0)
    moments = np.repeat(np.arange(len(paired)), count)
    within = np.arange(len(moments)) - np.repeat(np.cumsum(count) - count, count)
    found = boxes.take(np.repeat(start, count) + within)
    return replace(found, sample=moments.astype(np.int32))


def count_moments(truth: Annotations) -> dict[str, int]:
    """How many moments each scene has, in their order."""
    counts: dict[str, int] = {}
    for scene in truth.scenes:
        counts[scene.name] = counts.get(scene.name, 0) + 1
    return counts


def _prepare(table: BoxTable, context: Context) -> Streams:
    annotations = stream_truth(context)
    truth = make_ground_truth(annotations)
    boxes = table.in_global_frame(_poses(context, truth))
    moments = count_moments(annotations)
    pairing = pair(context, moments, StreamOptions(latencies_us=(0,)))
    offline = match_boxes(repeat_boxes(boxes, pairing.paired), truth, NUSCENES)
    return Streams(boxes=boxes, truth=truth, moments=moments, offline=offline, offline_score=score(offline))


def _poses(context: Context, truth: GroundTruth) -> GroundTruth:
    """The run's inputs with their poses, in the form that moves boxes to the global frame."""
    poses = [context.samples[token]["ego2global"] for token in context.tokens]
    return replace(
        truth,
        samples=context.tokens,
        ego=np.array([pose["translation"] for pose in poses], dtype=np.float64).reshape(-1, 3),
        rotation=np.array([pose["rotation_wxyz"] for pose in poses], dtype=np.float64).reshape(-1, 4),
    )
