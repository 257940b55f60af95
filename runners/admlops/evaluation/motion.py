"""Motion metrics of predicted objects as VAD reports them: minADE, minFDE, miss rate and EPA of cars and people.

Predictions with a score above 0.6 are assigned to ground truths one to one, so that the sum of the distances of their
centres is smallest; pairs further apart than 2 m are none, and classes that do not move take no part. Classes need not
agree. Cars, trucks, buses and trailers count as cars. The best of the modes counts: minADE over the known steps, minFDE
and hits (within 2 m at 3 s) where all six are known. EPA = (hits - 0.5 · false alarms) / ground truths with six known
steps, where a false alarm is a prediction that was not assigned. Frame: any; single precision as in the original.

Source: VAD, projects/mmdet3d_plugin/VAD/VAD.py (`assign_pred_to_gt_vip3d`, `compute_motion_metric_vip3d`) and
nuscenes_vad_dataset.py, after J. Gu et al., ViP3D, CVPR 2023.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from admlops.evaluation.metrics import Metric
from admlops.evaluation.planning import positions

VAD_MOTION = "vad.motion"
CLASSES = ("car", "pedestrian")
KINDS = np.array([0, 0, 2, 0, 0, 2, 2, 2, 1, 2])
MOVING = np.array([True, True, False, True, True, False, True, True, True, False])
"""For nuScenes' ten detection classes (car, truck, construction vehicle, bus, trailer, barrier, motorcycle, bicycle,
pedestrian, traffic cone): the position in CLASSES, 2 for none, and whether they take part in the assignment."""

SAMPLES_AT_ONCE = 256

MIN_SCORE = 0.6
MATCH_M = 2.0
NO_PAIR_M = 1e6
FALSE_ALARM_COST = 0.5
STEPS = 6
ORDERS_OF_SUM = ((0,), (0, 1), (0, 1, 2), (0, 1, 2, 3), (0, 4, 1, 2, 3), (0, 4, 5, 1, 2, 3))
"""In which order torch adds up to six numbers: four by four, which shows in the last digit of single precision."""

Floats = NDArray[np.floating]
Indices = NDArray[np.intp]
Kinds = NDArray[np.integer]


@dataclass(frozen=True, kw_only=True)
class MotionTruth:
    """Objects of a sample: `centers` (G, 2) [m], `labels` (G,), `steps` (G, 6, 2) [m] from each position to the next.

    `known` (G, 6) says which steps are known, the first ones without a gap.
    """

    centers: Floats
    labels: NDArray[np.integer]
    steps: Floats
    known: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class MotionPrediction:
    """Predicted objects: `centers` (P, 2) [m], `labels` and `scores` (P,), `steps` (P, modes, 6, 2) [m]."""

    centers: Floats
    labels: NDArray[np.integer]
    scores: Floats
    steps: Floats


@dataclass(frozen=True, kw_only=True)
class MotionEvaluation:
    """Values by name, such as `minADE_car` [m]; None where nothing was there to measure."""

    samples: int
    values: Mapping[str, float | None]

    def metrics(self, dataset: str) -> list[Metric]:
        return [
            Metric(name=name, protocol=VAD_MOTION, value=value, n=self.samples, dataset=dataset)
            for name, value in self.values.items()
        ]


@dataclass
class _Sums:
    """Of one class, over the samples; errors one after another in single precision, as the original adds them."""

    truths: int = 0
    matched: int = 0
    whole: int = 0
    hits: int = 0
    false_alarms: int = 0
    ade: list[np.float32] = field(default_factory=list)
    fde: list[np.float32] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Matched:
    """A sample's assigned pairs: the class of the ground truth, its centre, steps and count of known steps, and the
    centre and modes of the prediction."""

    kinds: Kinds
    there: Floats
    steps: Floats
    known: Indices
    centers: Floats
    modes: Floats


def evaluate_motion(samples: Iterable[tuple[MotionTruth, MotionPrediction]]) -> MotionEvaluation:
    """Evaluate the predicted futures of all samples, in their order."""
    sums = [_Sums() for _ in CLASSES]
    count = 0
    iterator = iter(samples)
    while chunk := list(itertools.islice(iterator, SAMPLES_AT_ONCE)):
        count += len(chunk)
        _add_errors(sums, [_match(sums, truth, found) for truth, found in chunk])
    values: dict[str, float | None] = {}
    for name, own in zip(CLASSES, sums, strict=True):
        values[f"minADE_{name}"] = _mean(own.ade, own.matched)
        values[f"minFDE_{name}"] = _mean(own.fde, own.whole)
        values[f"MR_{name}"] = (own.whole - own.hits) / own.whole if own.whole else None
        values[f"EPA_{name}"] = (own.hits - FALSE_ALARM_COST * own.false_alarms) / own.truths if own.truths else None
    return MotionEvaluation(samples=count, values=values)


def _mean(sums: list[np.float32], count: int) -> float | None:
    if not count:
        return None
    return float(np.cumsum(np.array(sums, dtype=np.float32), dtype=np.float32)[-1] / np.float32(count))


def _match(sums: Sequence[_Sums], truth: MotionTruth, found: MotionPrediction) -> _Matched:
    """Assign the predictions of a sample, and count ground truths and false alarms."""
    sure = np.nonzero(np.asarray(found.scores, dtype=np.float32) > np.float32(MIN_SCORE))[0]
    centers, labels = np.asarray(found.centers, dtype=np.float32)[sure], np.asarray(found.labels)[sure]
    there, kinds = np.asarray(truth.centers, dtype=np.float32), KINDS[np.asarray(truth.labels)]
    assigned = _assign(centers, MOVING[labels], there, MOVING[np.asarray(truth.labels)])
    matched = np.nonzero(assigned >= 0)[0]
    alone = np.ones(len(labels), dtype=np.bool_)
    alone[assigned[matched]] = False
    known = np.asarray(truth.known).sum(axis=1)
    whole, false = np.bincount(kinds[known == STEPS], minlength=3), np.bincount(KINDS[labels[alone]], minlength=3)
    for kind, own in enumerate(sums):
        own.truths += int(whole[kind])
        own.false_alarms += int(false[kind])
    return _Matched(
        kinds=kinds[matched],
        there=there[matched],
        steps=np.asarray(truth.steps, dtype=np.float32)[matched],
        known=known[matched],
        centers=centers[assigned[matched]],
        modes=np.asarray(found.steps, dtype=np.float32)[sure[assigned[matched]]],
    )


def _add_errors(sums: Sequence[_Sums], samples: Sequence[_Matched]) -> None:
    """Add the errors of matched pairs, sample by sample, because single precision shows the order of a sum."""
    filled = [sample for sample in samples if len(sample.kinds)]
    if not filled:
        return
    there, steps, centers, modes, known, kinds = (
        np.concatenate([getattr(sample, name) for sample in filled])
        for name in ("there", "steps", "centers", "modes", "known", "kinds")
    )
    ade, fde = _errors(there, steps, centers, modes, known)
    ends = np.cumsum([len(sample.kinds) for sample in filled])[:-1]
    for kind, own in enumerate(sums):
        use, whole = (kinds == kind) & (known > 0), (kinds == kind) & (known == STEPS)
        own.matched += int(use.sum())
        own.whole += int(whole.sum())
        own.hits += int((fde[whole] <= MATCH_M).sum())
        for errors, chosen, sample_sums in ((ade, use, own.ade), (fde, whole, own.fde)):
            for part in np.split(np.where(chosen, errors, np.float32(0)), ends):
                sample_sums.append(np.cumsum(part, dtype=np.float32)[-1])


def _assign(centers: Floats, moving: NDArray[np.bool_], there: Floats, moving_there: NDArray[np.bool_]) -> Indices:
    """For each ground truth the prediction that is assigned to it, or -1."""
    distance = _length(centers[:, np.newaxis] - there).astype(np.float64)
    distance[~(moving[:, np.newaxis] & moving_there) | (distance > MATCH_M)] = NO_PAIR_M
    rows, columns = linear_sum_assignment(distance)
    near = distance[rows, columns] <= MATCH_M
    assigned = np.full(len(there), -1, dtype=np.intp)
    assigned[columns[near]] = rows[near]
    return assigned


def _errors(there: Floats, steps: Floats, centers: Floats, modes: Floats, known: Indices) -> tuple[Floats, Floats]:
    """minADE over the known steps and minFDE [m] of matched objects, (M,) each."""
    path = positions(np.asarray(steps, dtype=np.float32)) + there[:, np.newaxis]
    paths = positions(modes) + centers[:, np.newaxis, np.newaxis]
    apart = path[:, np.newaxis] - paths
    distance = _length(apart)
    last = np.maximum(known, 1) - 1
    sums = np.empty((*distance.shape[:2], STEPS), dtype=np.float32)
    for step in range(STEPS):
        sums[..., step] = np.cumsum(distance[..., ORDERS_OF_SUM[step]], axis=2, dtype=np.float32)[..., -1]
    ade = sums[np.arange(len(last)), :, last] / (last + 1).astype(np.float32)[:, np.newaxis]
    return ade.min(axis=1), distance[:, :, -1].min(axis=1)


def _length(vectors: Floats) -> Floats:
    """Lengths (…,) of (…, 2) in single precision as torch's `linalg.norm` has them: x², then y² added unrounded."""
    square_x = (vectors[..., 0] * vectors[..., 0]).astype(np.float64)
    square_y = vectors[..., 1].astype(np.float64) ** 2
    return np.sqrt((square_x + square_y).astype(np.float32))
