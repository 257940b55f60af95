"""`disagreement`: where two models differ, without any ground truth.

Boxes of one class that lie within 2 m, of pictures with an IoU of 0.5, are one object. A box that one run means (at its
class's limit of confidence) and for which the other has none, even at half its own limit, is a reason; it weighs as
much as its confidence. Of judgements of calibration, the difference of the scores of one camera and form, from 0.5 on.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from admlops.core.errors import UsageError
from admlops.mining.found import SPACE, FoundBoxes, FoundRun, FoundSample, empty_boxes, match_found
from admlops.mining.rules.base import MiningInput, MiningRule, Reason

HALF = 0.5
STATUS_GAP = 0.5


def _find(given: MiningInput) -> dict[str, list[Reason]]:
    first, second = given.runs
    shared = [token for token in first.samples if token in second.samples]
    if not shared:
        raise UsageError(
            f"runs {first.name} and {second.name} have no sample in common",
            hint="admlops results list   # name two runs over the same data",
        )
    found: dict[str, list[Reason]] = {}
    for token in shared:
        one, other = first.samples[token], second.samples[token]
        own = [*_alone(first, one, second, other), *_alone(second, other, first, one), *_statuses(one, other)]
        if own:
            found[token] = own
    return found


def _alone(run: FoundRun, sample: FoundSample, against: FoundRun, other: FoundSample) -> Iterator[Reason]:
    """What one run means and the other does not have."""
    for place, boxes in sample.places.items():
        if not (SPACE in other.places if place == SPACE else other.is_flat):
            continue  # the other run does another task
        meant = boxes.take(run.meant(place, boxes))
        theirs = other.places.get(place, empty_boxes(in_space=place == SPACE))
        theirs = theirs.take(against.meant(place, theirs, share=HALF))
        partners = match_found(meant, theirs, in_space=place == SPACE)
        for row in np.flatnonzero(partners < 0).tolist():
            yield _reason(run.name, place, meant, row)


def _reason(run: str, place: str, boxes: FoundBoxes, row: int) -> Reason:
    if place == SPACE:
        x, y = boxes.boxes[row, :2].tolist()
        where = f"at x {x:.1f}, y {y:.1f} m"
    else:
        where = f"in {place}"
    confidence = float(boxes.confidences[row])
    return Reason(
        weight=confidence,
        what=f"only {run}: {boxes.classes[row]} {confidence:.2f} {where}",
        run=run,
        id=boxes.ids[row],
        place=place,
        class_name=boxes.classes[row],
        confidence=confidence,
    )


def _statuses(one: FoundSample, other: FoundSample) -> Iterator[Reason]:
    theirs = {(status.camera, status.form): status.score for status in other.statuses}
    for status in one.statuses:
        score = theirs.get((status.camera, status.form))
        if score is not None and abs(score - status.score) >= STATUS_GAP:
            what = f"{status.camera}, {status.form}: {status.score:.2f} and {score:.2f}"
            yield Reason(weight=abs(score - status.score), what=what, place=status.camera, confidence=status.score)


RULE = MiningRule(id="disagreement", text="what one of two models sees and the other does not", runs=2, find=_find)
