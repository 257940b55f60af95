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
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from admlops.evaluation.context import Context
from admlops.evaluation.metrics import Metric
from admlops.evaluation.motion.protocols import VAD_MOTION
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights, resample_ratios
from admlops.evaluation.trajectories.arrays import STEPS, MotionPrediction, MotionTruth, positions
from admlops.evaluation.trajectories.ground_truth import motion_ground_truth
from admlops.evaluation.trajectories.outputs import MIN_SCORE, FutureTable

CLASSES = ("car", "pedestrian")
KINDS = np.array([0, 0, 2, 0, 0, 2, 2, 2, 1, 2])
MOVING = np.array([True, True, False, True, True, False, True, True, True, False])
"""For each of LABELS the position in CLASSES, 2 for none, and whether it takes part in the assignment."""

SAMPLES_AT_ONCE = 256

ERRORS = ("minADE", "minFDE")
MATCH_M = 2.0
NO_PAIR_M = 1e6
FALSE_ALARM_COST = 0.5
ORDERS_OF_SUM = ((0,), (0, 1), (0, 1, 2), (0, 1, 2, 3), (0, 4, 1, 2, 3), (0, 4, 5, 1, 2, 3))
"""In which order torch adds up to six numbers: four by four, which shows in the last digit of single precision."""

Floats = NDArray[np.floating]
Indices = NDArray[np.intp]
Kinds = NDArray[np.integer]
Column = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MotionEvaluation:
    """Values by name, such as `minADE_car` [m]; None where nothing was there to measure."""

    samples: int
    values: Mapping[str, float | None]
    sums: NDArray[np.float64]
    counts: NDArray[np.float64]
    """(samples, 8) each: what a sample adds to numerator and denominator of each of `values`, in their order."""

    protocol = VAD_MOTION

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By name the values in resamples of scenes; `scenes` holds the scene of each sample."""
        return dict(zip(self.values, resample_ratios(self.sums, self.counts, scenes, weights).T, strict=True))

    def details(self) -> dict[str, Any]:
        """Count how many objects each metric is of."""
        counts = dict(zip(self.values, self.counts.sum(axis=0).astype(int).tolist(), strict=True))
        return {"protocol": VAD_MOTION, "objects": counts}

    def metrics(self, dataset: str) -> list[Metric]:
        return [
            Metric(name=name, protocol=VAD_MOTION, value=value, n=self.samples, dataset=dataset)
            for name, value in self.values.items()
        ]


@dataclass
class _Sums:
    """Of one class, sample by sample; errors are added in single precision, one after another, as in the original."""

    truths: list[int] = field(default_factory=list)
    false_alarms: list[int] = field(default_factory=list)
    matched: list[int] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    hits: list[int] = field(default_factory=list)
    ade: list[np.float32] = field(default_factory=list)
    fde: list[np.float32] = field(default_factory=list)

    def ratios(self) -> dict[str, tuple[Column, Column]]:
        """By metric what each sample adds to the numerator and to the denominator."""
        truths, false, matched, whole, hits = (
            np.array(column, dtype=np.float64)
            for column in (self.truths, self.false_alarms, self.matched, self.whole, self.hits)
        )
        return {
            "minADE": (np.array(self.ade, dtype=np.float64), matched),
            "minFDE": (np.array(self.fde, dtype=np.float64), whole),
            "MR": (whole - hits, whole),
            "EPA": (hits - FALSE_ALARM_COST * false, truths),
        }


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


def evaluate_table(table: FutureTable, context: Context) -> MotionEvaluation:
    """Evaluate the futures of a run. Raises DataError: the annotations are missing or damaged."""
    truth = motion_ground_truth(context)
    return evaluate_motion((truth.motion(index), found) for index, found in enumerate(table.predictions(context)))


def evaluate_motion(samples: Iterable[tuple[MotionTruth, MotionPrediction]]) -> MotionEvaluation:
    """Evaluate the predicted futures of all samples, in their order."""
    sums = [_Sums() for _ in CLASSES]
    iterator = iter(samples)
    while chunk := list(itertools.islice(iterator, SAMPLES_AT_ONCE)):
        _add_errors(sums, [_match(sums, truth, found) for truth, found in chunk])
    ratios = {
        f"{metric}_{name}": ratio
        for name, own in zip(CLASSES, sums, strict=True)
        for metric, ratio in own.ratios().items()
    }
    return MotionEvaluation(
        samples=len(sums[0].truths),
        values={name: _ratio(*ratio, single=name.startswith(ERRORS)) for name, ratio in ratios.items()},
        sums=np.stack([above for above, _ in ratios.values()], axis=1),
        counts=np.stack([below for _, below in ratios.values()], axis=1),
    )


def _ratio(above: Column, below: Column, *, single: bool) -> float | None:
    """The ratio of two sums, None where nothing was there; in single precision for errors."""
    count = below.sum()
    if not count:
        return None
    if single:
        return float(np.cumsum(above.astype(np.float32), dtype=np.float32)[-1] / np.float32(count))
    return float(above.sum() / count)


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
        own.truths.append(int(whole[kind]))
        own.false_alarms.append(int(false[kind]))
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
    lengths = [len(sample.kinds) for sample in samples]
    of, ends = np.repeat(np.arange(len(samples)), lengths), np.cumsum(lengths)[:-1]
    # One sample without pairs, where there is no other, has the shapes that a sum over nothing needs.
    filled = [sample for sample in samples if len(sample.kinds)] or samples[:1]
    there, steps, centers, modes, known, kinds = (
        np.concatenate([getattr(sample, name) for sample in filled])
        for name in ("there", "steps", "centers", "modes", "known", "kinds")
    )
    ade, fde = _errors(there, steps, centers, modes, known)
    for kind, own in enumerate(sums):
        use, whole = (kinds == kind) & (known > 0), (kinds == kind) & (known == STEPS)
        for chosen, counts in ((use, own.matched), (whole, own.whole), (whole & (fde <= MATCH_M), own.hits)):
            counts.extend(np.bincount(of[chosen], minlength=len(samples)).tolist())
        for errors, chosen, added in ((ade, use, own.ade), (fde, whole, own.fde)):
            parts = np.split(np.where(chosen, errors, np.float32(0)), ends)
            added.extend(np.cumsum(part, dtype=np.float32)[-1] if len(part) else np.float32(0) for part in parts)


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
