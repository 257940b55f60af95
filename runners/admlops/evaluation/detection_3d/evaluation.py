"""The detection metrics of a run: values, intervals, ties, slices, in the form of `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from admlops.datasets.annotations import SampleScene
from admlops.evaluation.context import Context
from admlops.evaluation.detection_3d.box_table import BoxTable
from admlops.evaluation.detection_3d.boxes import Boxes, GroundTruth, Mask
from admlops.evaluation.detection_3d.error_analysis import BoxErrors, classify_run
from admlops.evaluation.detection_3d.filters import submitted
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.protocols import ERROR_NAMES, DetectionProtocol
from admlops.evaluation.detection_3d.refusals import refuse_as_devkit
from admlops.evaluation.detection_3d.resampling import Resampled, resample_scores
from admlops.evaluation.detection_3d.scores import Matching, Score, match_boxes, score
from admlops.evaluation.detection_3d.slices import slice_detections, slice_samples
from admlops.evaluation.detection_3d.ties import TieRange, tie_range
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Resampling, Scenes, Values, Weights, interval, resample_scenes


@dataclass(frozen=True, kw_only=True)
class DetectionResult:
    """One protocol over one run. `resampled` is None where there are too few scenes; `resampling` says so."""

    boxes: DetectionProtocol
    matching: Matching
    score: Score
    ties: TieRange | None
    scenes: Sequence[SampleScene]
    resampling: Resampling
    resampled: Resampled | None
    slices: Mapping[str, Any]

    @property
    def protocol(self) -> str:
        return self.boxes.name

    def find_errors(self, ran: Mask) -> BoxErrors:
        """Classify every box; `ran` (S,) says which samples have outputs."""
        return classify_run(self.matching, ran)

    def metrics(self, dataset: str) -> list[Metric]:
        """mAP, NDS and the five mean errors, with their intervals."""
        values = {"mAP": self.score.mean_ap, "NDS": self.score.nds, **_paper_names(self.score.errors)}
        resampled = self.resamples()
        return [
            Metric(
                name=name,
                protocol=self.protocol,
                value=value,
                n=len(self.scenes),
                dataset=dataset,
                interval=interval(resampled[name]) if resampled else None,
            )
            for name, value in values.items()
        ]

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric, its value in each resample; empty where there are none. They were made with the evaluation."""
        return self.resamples()

    def resamples(self) -> dict[str, Values]:
        """By metric, its value in each resample; empty where there are none."""
        if self.resampled is None:
            return {}
        return {"mAP": self.resampled.mean_ap, "NDS": self.resampled.nds, **_paper_names(self.resampled.errors)}

    def slice_samples(self, groups: Mapping[str, Mask]) -> dict[str, Any]:
        """Return the metrics of groups of samples; see `HasSampleSlices`."""
        return dict(slice_samples(self.matching, groups))

    def details(self) -> dict[str, Any]:
        """Classes, curves, what ties leave open, and the slices."""
        ties: dict[str, Any] = {"tied_predictions": 0, "tie_ranges": {}}
        if self.ties is not None:
            ranges = {"mAP": self.ties.mean_ap, "NDS": self.ties.nds, **_paper_names(self.ties.errors)}
            tied = {name: list(pair) for name, pair in ranges.items()}
            ties = {"tied_predictions": self.ties.tied, "tie_ranges": tied}
        return {**self.score.details(), **ties, "breakdowns": dict(self.slices)}


def evaluate_table(table: BoxTable, context: Context, protocol: DetectionProtocol) -> DetectionResult:
    """Evaluate the boxes of a run against nuScenes' annotations of its samples.

    Raises:
        DataError: the annotations are missing or damaged.
        UsageError: the boxes are a submission that the official code refuses.
    """
    annotations = context.share("annotated", lambda: context.annotations.first(table.records))
    truth = context.share("detection_3d.truth", lambda: make_ground_truth(annotations))
    boxes = context.share("detection_3d.global", lambda: table.in_global_frame(truth))
    if protocol.window_m is not None or protocol.min_score:
        boxes = boxes.take(submitted(table.geometry[:, :3], table.score, protocol))
    result = evaluate_detections(boxes, truth, annotations.scenes, protocol)
    if table.verbatim:
        refuse_as_devkit(result.matching, result.score, context)
    return result


def evaluate_detections(
    boxes: Boxes, truth: GroundTruth, scenes: Sequence[SampleScene], protocol: DetectionProtocol
) -> DetectionResult:
    """Evaluate a run's boxes (global frame); `scenes` holds the scene of each sample of `truth`."""
    matching = match_boxes(boxes, truth, protocol)
    result = score(matching)
    names = sorted({scene.name for scene in scenes})
    resampling = resample_scenes(len(names))
    # By name, so that two runs over the same scenes in another order draw the same ones.
    number = {name: index for index, name in enumerate(names)}
    of_sample = np.array([number[scene.name] for scene in scenes], dtype=np.int64)
    with ThreadPoolExecutor(1) as pool:  # NumPy lets go of the interpreter, so the slices cost no time on two cores
        slices = pool.submit(slice_detections, matching, scenes, protocol=protocol.name)
        weights = resampling.weights
        resampled = None if weights is None else resample_scores(matching, of_sample, weights)
        ties = tie_range(matching, result)
    return DetectionResult(
        boxes=protocol,
        matching=matching,
        score=result,
        ties=ties,
        scenes=scenes,
        resampling=resampling,
        resampled=resampled,
        slices=slices.result(),
    )


def _paper_names(errors: Mapping[str, Any]) -> dict[str, Any]:
    """mATE for trans_err, and so on."""
    return {ERROR_NAMES[name]: value for name, value in errors.items()}
