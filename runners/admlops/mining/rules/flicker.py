"""`flicker`: objects that are there before and after a sample, and not in it.

A box that the run means in the sample before is matched, by class, with one in the sample after: in space where its
velocity takes it, or where it stands if none is estimated, within 2 m; in a picture with an IoU of 0.5. If no box, even
at half the limit, is near the middle of the two in the sample between, it flickers. Of judgements of calibration: the
answer that both neighbours contradict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from admlops.datasets.nuscenes.tables import rotation_matrix
from admlops.evaluation.calibration_status.scores import THRESHOLD
from admlops.mining.found import SPACE, FoundBoxes, FoundRun, FoundSample, empty_boxes, is_near, match_found
from admlops.mining.rules.base import MiningInput, MiningRule, Reason

HALF = 0.5


class _Motion:
    """Moves boxes of one sample to the frame, and the time, of another."""

    def __init__(self, given: MiningInput) -> None:
        self._data = given.data
        self._known: dict[str, tuple[np.ndarray, np.ndarray, float]] = {}

    def _pose(self, token: str) -> tuple[np.ndarray, np.ndarray, float]:
        if token not in self._known:
            sample = self._data.sample(token)
            pose = sample["ego2global"]
            place = np.asarray(pose["translation"], np.float64)
            self._known[token] = (rotation_matrix(pose["rotation_wxyz"]), place, sample["timestamp_us"] / 1e6)
        return self._known[token]

    def move(self, boxes: FoundBoxes, source: str, target: str) -> FoundBoxes:
        """Boxes of `source` as they are at the time of `target`, in its frame; in pictures they stay."""
        if boxes.boxes.shape[1] != 3:
            return boxes
        turn, place, time = self._pose(source)
        to_turn, to_place, to_time = self._pose(target)
        moving = np.nan_to_num(boxes.velocities)
        ahead = boxes.boxes + np.pad(moving, ((0, 0), (0, 1))) * (to_time - time)
        world = ahead @ turn.T + place
        return replace(boxes, boxes=(world - to_place) @ to_turn)


def _find(given: MiningInput) -> dict[str, list[Reason]]:
    found: dict[str, list[Reason]] = {}
    motion, samples = _Motion(given), given.run.samples
    for tokens in given.sequences:
        for before, now, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if before in samples and now in samples and after in samples:
                three = (samples[before], samples[now], samples[after])
                own = [*_boxes(given.run, three, motion), *_statuses(*three)]
                if own:
                    found[now] = own
    return found


def _boxes(run: FoundRun, three: tuple[FoundSample, FoundSample, FoundSample], motion: _Motion) -> Iterator[Reason]:
    before, now, after = three
    for place in dict.fromkeys((*before.places, *after.places)):
        in_space = place == SPACE
        first, last = (one.places.get(place, empty_boxes(in_space=in_space)) for one in (before, after))
        first, last = first.take(run.meant(place, first)), last.take(run.meant(place, last))
        partners = match_found(motion.move(first, before.token, after.token), last, in_space=in_space)
        rows = partners >= 0
        between = _between(
            motion.move(first.take(rows), before.token, now.token),
            motion.move(_pick(last, partners[rows]), after.token, now.token),
        )
        there = now.places.get(place, empty_boxes(in_space=in_space))
        there = there.take(run.meant(place, there, share=HALF))
        near = is_near(between, there, in_space=in_space)
        for row in np.flatnonzero(~near.any(axis=1)).tolist():
            yield _reason(between, row, place)


def _between(first: FoundBoxes, last: FoundBoxes) -> FoundBoxes:
    """The middle of matched boxes."""
    confidences = np.minimum(first.confidences, last.confidences)
    return replace(first, boxes=(first.boxes + last.boxes) / 2, confidences=confidences)


def _pick(boxes: FoundBoxes, rows: np.ndarray) -> FoundBoxes:
    own = rows.tolist()
    return FoundBoxes(
        ids=tuple(boxes.ids[row] for row in own),
        classes=tuple(boxes.classes[row] for row in own),
        confidences=boxes.confidences[own],
        boxes=boxes.boxes[own],
        velocities=boxes.velocities[own],
    )


def _reason(boxes: FoundBoxes, row: int, place: str) -> Reason:
    x, y = boxes.boxes[row, :2].tolist()
    where = f"at x {x:.1f}, y {y:.1f} m" if place == SPACE else f"in {place}"
    confidence = float(boxes.confidences[row])
    what = f"missing between two samples: {boxes.classes[row]} {confidence:.2f} {where}"
    return Reason(weight=confidence, what=what, place=place, class_name=boxes.classes[row], confidence=confidence)


def _statuses(before: FoundSample, now: FoundSample, after: FoundSample) -> Iterator[Reason]:
    sides = [{(one.camera, one.form): one.score >= THRESHOLD for one in side.statuses} for side in (before, after)]
    for one in now.statuses:
        said, key = one.score >= THRESHOLD, (one.camera, one.form)
        if all(side.get(key, said) != said for side in sides):
            what = f"{one.camera}, {one.form}: {one.score:.2f}, and the samples around say otherwise"
            yield Reason(weight=2 * abs(one.score - THRESHOLD), what=what, place=one.camera, confidence=one.score)


RULE = MiningRule(id="flicker", text="objects that are missing in one sample of a sequence", runs=1, find=_find)
