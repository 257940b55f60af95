"""Classify every output of single samples as right or wrong, and find the samples with most errors.

Scores are averages; a picture needs a decision. So each class gets one confidence for the whole run, its operating
point: the one with the largest F1. At and above it every output is a match or a false alarm, and every ground truth is
matched or missed. Each task defines what counts as a match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.statistics.ordering import order_descending

UNMATCHED = -1
"""Stands for the partner of an output that has none."""

DEFAULT_CONFIDENCE = 0.5
"""The operating point of a class that is found at no confidence at all."""

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ClassMatch:
    """One class in one sample: each output's confidence, id and partner, an index into `truth` or UNMATCHED.

    `truth` names the ground truth: annotation tokens of boxes, indices into the sample's list of map vectors.
    """

    confidences: NDArray[np.float64]
    ids: tuple[int, ...]
    partners: NDArray[np.intp]
    truth: tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class TaskErrors:
    """The outputs of one task in one sample at the operating points: record ids, and names of ground truth."""

    matched: tuple[int, ...]
    missed: tuple[str | int, ...]
    false_alarms: tuple[int, ...]

    @property
    def count(self) -> int:
        """Return the number of errors."""
        return len(self.missed) + len(self.false_alarms)


class RunErrors(Protocol):
    """The errors of one task over a run."""

    @property
    def operating_points(self) -> Mapping[str, float]:
        """Class → confidence."""

    @property
    def counts(self) -> Integers:
        """(S,) errors in each sample."""

    def of_sample(self, sample: int) -> TaskErrors:
        """Return the outputs of one sample, classified."""


class Confusion(Protocol):
    """Which class was taken for which."""

    def to_json(self) -> dict[str, Any]:
        """Return the form in metrics.json."""


@runtime_checkable
class HasConfusion(Protocol):
    """The errors of a task that can say which class was taken for which."""

    def confusion(self) -> Confusion:
        """Count it over the run, at the operating points."""


@dataclass(frozen=True, kw_only=True)
class SampleErrors:
    """One sample's errors by task; a task is named by the prefix of its keys in metrics.json."""

    sample_token: str
    scene: str
    tasks: Mapping[str, TaskErrors]

    @property
    def cost(self) -> int:
        """Return the number of errors of all tasks."""
        return sum(task.count for task in self.tasks.values())

    def to_json(self) -> dict[str, Any]:
        """Return the counts, and the ids that were counted."""
        shape: dict[str, Any] = {"sample_token": self.sample_token, "scene": self.scene, "cost": self.cost}
        for prefix, task in self.tasks.items():
            shape[f"{prefix}misses"] = len(task.missed)
            shape[f"{prefix}false_alarms"] = len(task.false_alarms)
            shape[f"{prefix}matched"] = list(task.matched)
            shape[f"{prefix}missed"] = list(task.missed)
            shape[f"{prefix}false_alarm_ids"] = list(task.false_alarms)
        return shape


class MatchedRun:
    """The errors of a run whose samples are matched class by class.

    Args:
        samples: of each sample, the match of each class.
        ran: (S,) which samples have outputs; the others have no errors.
    """

    def __init__(self, samples: Sequence[Mapping[str, ClassMatch]], ran: Mask) -> None:
        self._samples = samples
        self.operating_points = choose_confidences([samples[index] for index in np.flatnonzero(ran).tolist()])
        self.counts = np.zeros(len(ran), np.int64)
        for index in np.flatnonzero(ran).tolist():
            self.counts[index] = self.of_sample(index).count

    def of_sample(self, sample: int) -> TaskErrors:
        """Return the outputs of one sample, classified."""
        return find_errors(self._samples[sample], self.operating_points)


def choose_confidences(samples: Sequence[Mapping[str, ClassMatch]]) -> dict[str, float]:
    """Return each class's operating point: the confidence with the largest F1, the highest of equals."""
    names = samples[0] if samples else {}
    return {name: _best_confidence([sample[name] for sample in samples]) for name in names}


def find_errors(matches: Mapping[str, ClassMatch], cutoffs: Mapping[str, float]) -> TaskErrors:
    """Classify the outputs of one sample, over all classes in their order."""
    matched: list[int] = []
    missed: list[str | int] = []
    false_alarms: list[int] = []
    for name, match in matches.items():
        shown = match.confidences >= cutoffs[name]
        found = shown & (match.partners != UNMATCHED)
        taken = set(match.partners[found].tolist())
        matched += [match.ids[index] for index in np.flatnonzero(found)]
        false_alarms += [match.ids[index] for index in np.flatnonzero(shown & ~found)]
        missed += [token for index, token in enumerate(match.truth) if index not in taken]
    return TaskErrors(matched=tuple(matched), missed=tuple(missed), false_alarms=tuple(false_alarms))


def rank_samples(names: Sequence[tuple[str, str]], tasks: Mapping[str, RunErrors], *, limit: int) -> list[SampleErrors]:
    """Return the samples with most errors, the worst first; of equals the earlier in the run.

    Args:
        names: token and scene of each sample.
        tasks: by the prefix of its keys, the errors of each task.
    """
    if not tasks:
        return []
    total = np.sum([errors.counts for errors in tasks.values()], axis=0)
    order = np.argsort(-total, kind="stable")[:limit]
    return [
        SampleErrors(
            sample_token=names[index][0],
            scene=names[index][1],
            tasks={prefix: errors.of_sample(index) for prefix, errors in tasks.items()},
        )
        for index in order[total[order] > 0].tolist()
    ]


def best_confidence(confidences: NDArray[np.float64], positive: Mask, *, truth: int) -> float:
    """Return the confidence with the largest F1, the highest of equals; DEFAULT_CONFIDENCE if nothing was found."""
    if not positive.any():
        return DEFAULT_CONFIDENCE
    order = order_descending(confidences)
    ranked = confidences[order]
    # A cut-off keeps all of equal confidence, so F1 counts at the last of them.
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    f1 = 2 * np.cumsum(positive[order])[last] / (last + 1 + truth)
    return float(ranked[last[int(np.argmax(f1))]])


def _best_confidence(matches: Sequence[ClassMatch]) -> float:
    return best_confidence(
        np.concatenate([match.confidences for match in matches]),
        np.concatenate([match.partners != UNMATCHED for match in matches]),
        truth=sum(len(match.truth) for match in matches),
    )
