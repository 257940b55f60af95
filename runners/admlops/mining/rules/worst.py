"""`worst`: the samples with most errors.

Of boxes and maps it is the list that `admlops evaluate` wrote: misses and false alarms at the operating points. Of
pictures with classes beyond cars, the boxes are matched here with the data set's own, at IoU 0.5, from each class's
limit on. Of judgements of calibration, the wrong ones: a seeded error is wrong, and of a camera as it is given the
data set's class label is the truth. Without a file of labels it is right; without a label it is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from admlops.core.errors import UsageError
from admlops.datasets.annotations import ImageAnnotation
from admlops.datasets.base import BOXES_2D, HasBoxes2D
from admlops.datasets.class_labels import ClassLabels, read_class_labels
from admlops.evaluation.calibration_status.scores import CLASSES, THRESHOLD
from admlops.mining.found import SPACE, FoundBoxes, FoundSample, empty_boxes, match_found, read_metrics
from admlops.mining.rules.base import MiningInput, MiningRule, Reason
from admlops.results.record import CalibrationStatus

KINDS = {"misses": "missed", "false_alarms": "false alarms"}


def _find(given: MiningInput) -> dict[str, list[Reason]]:
    listed = read_metrics(given.run.run).get("worst", [])
    if listed:
        return {str(entry["sample_token"]): list(_of_entry(entry)) for entry in listed}
    found: dict[str, list[Reason]] = {}
    is_flat = isinstance(given.data, HasBoxes2D) and BOXES_2D in given.data.capabilities
    labels = read_class_labels(given.data.root, "calibration_status")
    for token, sample in given.run.samples.items():
        own = [*_of_statuses(sample, labels), *(_of_pictures(given, sample) if is_flat else ())]
        if own:
            found[token] = own
    if not found and not is_flat and not any(sample.statuses for sample in given.run.samples.values()):
        raise UsageError(
            f"run {given.run.name} has no list of its worst samples",
            hint=f"admlops evaluate {given.run.name}   # it is in metrics.json, where there is ground truth",
        )
    return found


def _of_entry(entry: Mapping[str, Any]) -> Iterator[Reason]:
    for key, value in entry.items():
        for kind, word in KINDS.items():
            if key.endswith(kind) and isinstance(value, int) and value:
                task = key.removesuffix(kind).rstrip("_") or "boxes"
                yield Reason(weight=float(value), what=f"{task}: {value} {word}")


def _of_statuses(sample: FoundSample, labels: ClassLabels | None) -> Iterator[Reason]:
    for one in sample.statuses:
        said = CLASSES[int(one.score >= THRESHOLD)]
        label = _true_class(sample.token, one, labels)
        if label is not None and said != label:
            sure = one.score if one.score >= THRESHOLD else 1 - one.score
            what = f"{one.camera}, {one.form}: taken for {said}"
            yield Reason(weight=sure, what=what, place=one.camera, confidence=one.score)


def _true_class(token: str, one: CalibrationStatus, labels: ClassLabels | None) -> str | None:
    miscalibrated, calibrated = CLASSES
    if one.form != "given":
        return miscalibrated
    return calibrated if labels is None else labels.get(token, {}).get(one.camera)


def _of_pictures(given: MiningInput, sample: FoundSample) -> Iterator[Reason]:
    assert isinstance(given.data, HasBoxes2D)
    for camera, truth in given.data.image_annotations(sample.token).items():
        found = sample.places.get(camera, empty_boxes(in_space=False))
        known = set(given.data.classes_2d())
        meant = given.run.meant(camera, found) & np.array([name in known for name in found.classes], dtype=np.bool_)
        boxes = found.take(meant)
        there = _to_found(truth)
        partners = match_found(boxes, there, in_space=False)
        for row in np.flatnonzero(partners < 0).tolist():
            yield _reason(given.run.name, camera, boxes, row, "false alarm")
        missed = np.setdiff1d(np.arange(len(there)), partners[partners >= 0])
        for row in missed.tolist():
            yield Reason(weight=1.0, what=f"{camera}: missed {there.classes[row]}", place=camera)


def _to_found(truth: ImageAnnotation) -> FoundBoxes:
    """The annotated objects as boxes; what is to be ignored is left out."""
    rows = np.flatnonzero(~truth.ignore).tolist()
    return FoundBoxes(
        ids=tuple(rows),
        classes=tuple(truth.classes[row] for row in rows),
        confidences=np.ones(len(rows)),
        boxes=truth.boxes[rows].reshape(-1, 4),
        velocities=np.full((len(rows), 2), np.nan),
    )


def _reason(run: str, place: str, boxes: FoundBoxes, row: int, what: str) -> Reason:
    where = place if place != SPACE else "space"
    return Reason(
        weight=1.0,
        what=f"{where}: {what} {boxes.classes[row]} {boxes.confidences[row]:.2f}",
        run=run,
        id=boxes.ids[row],
        place=place,
        class_name=boxes.classes[row],
        confidence=float(boxes.confidences[row]),
    )


RULE = MiningRule(id="worst", text="most errors against ground truth", runs=1, find=_find)
