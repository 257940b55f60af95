"""Match the lanes of single frames, to classify them as right or wrong.

A lane is right where OpenLane-V2 counts it as a true positive at the middle threshold, 2 m Fréchet distance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from admlops.evaluation.error_analysis import UNMATCHED, ClassMatch
from admlops.evaluation.lane_graph.lanes import LanePrediction, LaneTruth
from admlops.evaluation.lane_graph.matching import Matches, match_lanes
from admlops.evaluation.lane_graph.scores import THRESHOLDS_FRECHET_M, LaneGraphEvaluation

LANE = "lane"
"""The class of every lane."""
MIDDLE = 1
"""The index of the threshold."""


def match_run(evaluation: LaneGraphEvaluation) -> list[dict[str, ClassMatch]]:
    """Match the lanes of every frame of a run; predictions and ground truth are named by their place in the frame."""
    return [{LANE: frame} for part in evaluation.matches for frame in _frames(part)]


def match_frame(truth: LaneTruth, found: LanePrediction) -> dict[str, ClassMatch]:
    """Match the lanes of one frame."""
    return {LANE: next(_frames(match_lanes([truth], [found], THRESHOLDS_FRECHET_M)))}


def _frames(matches: Matches) -> Iterator[ClassMatch]:
    for index, frame in enumerate(matches.by_frame(MIDDLE, averaged=False)):
        own = slice(matches.first[index], matches.first[index + 1])
        confidences = np.asarray(matches.confidences[own], dtype=np.float64)
        partners = np.full(len(confidences), UNMATCHED, dtype=np.intp)
        partners[frame.prediction] = frame.truth
        there = int(matches.truth_first[index + 1] - matches.truth_first[index])
        yield ClassMatch(
            confidences=confidences,
            ids=tuple(range(len(confidences))),
            partners=partners,
            truth=tuple(range(there)),
        )
