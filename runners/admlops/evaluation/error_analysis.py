"""The samples on which a model did worst, and which of its outputs were wrong there.

Scores are averages; a picture needs a decision. So each class gets one confidence for the whole run, the one with the
largest F1, and above it every output is right or a false alarm and every ground truth is found or missed. A box is
right within 2 m of the centre, on the ground plane, of a box of its class, the most confident first (nuScenes'
threshold for true-positive errors); a map element within 1 m Chamfer distance (MapTR's middle threshold). Boxes that
the detection protocol does not count are left out: those out of range, ground truth without a LiDAR or radar point, and
cycles in bicycle racks.

The boxes of a run are judged by the matching that gave its metrics (`judge_run`), a single sample by the same rule
(`match_boxes`), which knows no racks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.datasets.nuscenes.tables import GroundTruthBox
from admlops.evaluation.detection_3d.boxes import CLASSES, Integers, Mask
from admlops.evaluation.detection_3d.scores import ERROR_COLUMN, Matching
from admlops.evaluation.vector_map.curves import SampleMatch
from admlops.results.record import Detection3D

MATCH_DISTANCE_M = 2.0
MATCH_CHAMFER_M = 1.0
NO_PARTNER = -1
DEFAULT_CONFIDENCE = 0.5
"""The cut-off of a class that is found at no confidence at all."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """One class in one sample: each output's confidence, id and partner, an index into `truth` or NO_PARTNER.

    `truth` names the ground truth: annotation tokens of boxes, indices into the sample's list of map vectors.
    """

    confidences: NDArray[np.float64]
    ids: tuple[int, ...]
    partners: NDArray[np.intp]
    truth: tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was right and wrong in one sample of one task, at the run's cut-offs."""

    matched: tuple[int, ...]
    missed: tuple[str | int, ...]
    false_alarms: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SampleErrors:
    """One sample's verdicts; a task that the record does not do is None. `cost` is the number of errors."""

    sample_token: str
    scene: str
    boxes: Verdict | None
    map_elements: Verdict | None

    @property
    def cost(self) -> int:
        verdicts = (verdict for verdict in (self.boxes, self.map_elements) if verdict is not None)
        return sum(len(verdict.missed) + len(verdict.false_alarms) for verdict in verdicts)

    def to_json(self) -> dict[str, Any]:
        """Counts, and the ids behind them: record ids, annotation tokens, indices of map vectors."""
        shape: dict[str, Any] = {"sample_token": self.sample_token, "scene": self.scene, "cost": self.cost}
        for verdict, prefix in ((self.boxes, ""), (self.map_elements, "map_")):
            if verdict is not None:
                shape[f"{prefix}misses"] = len(verdict.missed)
                shape[f"{prefix}false_alarms"] = len(verdict.false_alarms)
                shape[f"{prefix}matched"] = list(verdict.matched)
                shape[f"{prefix}missed"] = list(verdict.missed)
                shape[f"{prefix}false_alarm_ids"] = list(verdict.false_alarms)
        return shape


@dataclass(frozen=True, kw_only=True)
class RunVerdicts:
    """Every box of a run judged at its class's confidence in `cutoffs`.

    Attributes:
        cost: (S,) errors in each sample.
        wrong, right: rows of the predictions above the cut-off, in the order of merit.
        missed: rows of the ground truth.
    """

    matching: Matching
    cutoffs: Mapping[str, float]
    cost: Integers
    wrong: Integers
    right: Integers
    missed: Integers

    def verdict(self, sample: int) -> Verdict:
        """What was right and wrong in one sample."""
        boxes, truth = self.matching.predictions, self.matching.truth
        own = [rows[boxes.sample[rows] == sample] for rows in (self.right, self.wrong)]
        missed = self.missed[truth.boxes.sample[self.missed] == sample]
        return Verdict(
            matched=tuple(boxes.number[own[0]].tolist()),
            missed=tuple(truth.tokens[number] for number in truth.boxes.number[missed].tolist()),
            false_alarms=tuple(boxes.number[own[1]].tolist()),
        )


def judge_run(matching: Matching, ran: Mask) -> RunVerdicts:
    """Judge the boxes of all samples; `ran` (S,) says which samples have outputs, the others are not judged."""
    boxes, truth = matching.predictions, matching.truth.boxes
    partners = matching.partners[ERROR_COLUMN]
    judged = ran[truth.sample]
    cutoffs = {}
    for index, name in enumerate(CLASSES):
        rows = np.flatnonzero(boxes.label == index)
        there = int((judged & (truth.label == index)).sum())
        cutoffs[name] = best_confidence(boxes.score[rows], partners[rows] != NO_PARTNER, truth=there)
    limits = np.array(list(cutoffs.values()))
    shown = matching.order[(boxes.score >= limits[boxes.label])[matching.order]]
    found = partners[shown] != NO_PARTNER
    taken = np.zeros(len(truth), np.bool_)
    taken[partners[shown[found]]] = True
    missed = np.flatnonzero(judged & ~taken)
    wrong = shown[~found]
    return RunVerdicts(
        matching=matching,
        cutoffs=cutoffs,
        cost=np.bincount(boxes.sample[wrong], minlength=len(ran))
        + np.bincount(truth.sample[missed], minlength=len(ran)),
        wrong=wrong,
        right=shown[found],
        missed=missed,
    )


def match_boxes(
    detections: Sequence[Detection3D], truth: Sequence[GroundTruthBox], class_range: Mapping[str, float]
) -> dict[str, Matches]:
    """Each class's boxes of one sample against its ground truth; `class_range` [m] as in the detection protocol."""
    matches = {}
    for name, limit_m in class_range.items():
        found = [box for box in detections if box.class_name == name and _reach(box.bbox_3d.center) < limit_m]
        there = [
            box
            for box in truth
            if box.class_name == name and _reach(box.center) < limit_m and box.num_lidar_pts + box.num_radar_pts > 0
        ]
        matches[name] = Matches(
            confidences=np.array([box.confidence for box in found], dtype=np.float64),
            ids=tuple(box.id for box in found),
            partners=_nearest_first(found, there),
            truth=tuple(box.token for box in there),
        )
    return matches


def match_elements(match: SampleMatch) -> Matches:
    """The matches of the vector-map protocol at MATCH_CHAMFER_M."""
    positive = match.true_positives(MATCH_CHAMFER_M)
    return Matches(
        confidences=match.confidences,
        ids=match.ids,
        partners=np.where(positive, match.nearest, NO_PARTNER),
        truth=match.ground_truth,
    )


def choose_confidences(samples: Sequence[Mapping[str, Matches]]) -> dict[str, float]:
    """Each class's cut-off: the confidence with the largest F1 over all samples, the highest of equals."""
    names = samples[0] if samples else {}
    return {name: _best_confidence([sample[name] for sample in samples]) for name in names}


def judge(matches: Mapping[str, Matches], cutoffs: Mapping[str, float]) -> Verdict:
    """What is right and wrong in one sample, over all classes in their order."""
    matched: list[int] = []
    missed: list[str | int] = []
    false_alarms: list[int] = []
    for name, match in matches.items():
        shown = match.confidences >= cutoffs[name]
        found = shown & (match.partners != NO_PARTNER)
        taken = set(match.partners[found].tolist())
        matched += [match.ids[index] for index in np.flatnonzero(found)]
        false_alarms += [match.ids[index] for index in np.flatnonzero(shown & ~found)]
        missed += [token for index, token in enumerate(match.truth) if index not in taken]
    return Verdict(matched=tuple(matched), missed=tuple(missed), false_alarms=tuple(false_alarms))


def sort_worst(samples: Sequence[SampleErrors], *, limit: int) -> list[SampleErrors]:
    """The costliest samples with at least one error, the worst first; of equals the earlier in the run."""
    return sorted((sample for sample in samples if sample.cost), key=lambda sample: -sample.cost)[:limit]


def _nearest_first(found: Sequence[Detection3D], there: Sequence[GroundTruthBox]) -> NDArray[np.intp]:
    """Each box's partner: in order of confidence the nearest ground truth that is not taken yet, within reach."""
    partners = np.full(len(found), NO_PARTNER, dtype=np.intp)
    if not found or not there:
        return partners
    centers = np.array([box.bbox_3d.center[:2] for box in found])
    free = np.linalg.norm(centers[:, np.newaxis] - np.array([box.center[:2] for box in there]), axis=-1)
    # Of equal confidences the later box first, as the detection protocol has it.
    for index in sorted(range(len(found)), key=lambda index: (-found[index].confidence, -index)):
        nearest = int(free[index].argmin())
        if free[index, nearest] < MATCH_DISTANCE_M:
            partners[index] = nearest
            free[:, nearest] = np.inf
    return partners


def best_confidence(confidences: NDArray[np.float64], positive: Mask, *, truth: int) -> float:
    """The confidence with the largest F1, the highest of equals; DEFAULT_CONFIDENCE if nothing was found."""
    if not positive.any():
        return DEFAULT_CONFIDENCE
    order = np.argsort(-confidences, kind="stable")
    ranked = confidences[order]
    # A cut-off keeps all of equal confidence, so F1 counts at the last of them.
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    f1 = 2 * np.cumsum(positive[order])[last] / (last + 1 + truth)
    return float(ranked[last[int(np.argmax(f1))]])


def _best_confidence(matches: Sequence[Matches]) -> float:
    return best_confidence(
        np.concatenate([match.confidences for match in matches]),
        np.concatenate([match.partners != NO_PARTNER for match in matches]),
        truth=sum(len(match.truth) for match in matches),
    )


def _reach(center: Sequence[float]) -> float:
    return float(np.hypot(center[0], center[1]))
