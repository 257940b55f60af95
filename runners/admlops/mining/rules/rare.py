"""`rare`: samples with objects that the run rarely met under their conditions.

A cell is a class, in light and weather as the scene's description says them, in a town. An object weighs 1 / n, where n
is how many objects its cell holds in the whole run: the objects that the run means, so no ground truth is needed. Of
judgements of calibration a cell is a camera, a form and an answer.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from admlops.evaluation.calibration_status.scores import THRESHOLD
from admlops.evaluation.slices import find_conditions
from admlops.mining.found import SPACE, FoundSample
from admlops.mining.rules.base import MiningInput, MiningRule, Reason

Cell = tuple[str, ...]


def _find(given: MiningInput) -> dict[str, list[Reason]]:
    conditions = _conditions(given)
    cells: dict[str, list[tuple[Cell, Reason]]] = {
        token: list(_cells(given, sample, conditions[token])) for token, sample in given.run.samples.items()
    }
    counts = Counter(cell for own in cells.values() for cell, _ in own)
    found: dict[str, list[Reason]] = {}
    for token, own in cells.items():
        groups: dict[Cell, list[Reason]] = defaultdict(list)
        for cell, reason in own:
            groups[cell].append(reason)
        rare = [
            Reason(
                weight=len(members) / counts[cell],
                what=f"{len(members)} of {counts[cell]}: {' '.join(part for part in cell if part)}",
                place=members[0].place,
                class_name=members[0].class_name,
            )
            for cell, members in groups.items()
        ]
        if rare:
            found[token] = sorted(rare, key=lambda reason: -reason.weight)
    return found


def _conditions(given: MiningInput) -> dict[str, Cell]:
    """By sample, light, weather and town, as far as they are known."""
    masks = find_conditions(given.scenes)
    found: dict[str, Cell] = {}
    for index, (token, scene) in enumerate(zip(given.run.samples, given.scenes, strict=True)):
        words = [name for name, mask in masks.items() if mask[index]]
        found[token] = (*words, scene.location)
    return found


def _cells(given: MiningInput, sample: FoundSample, condition: Cell) -> list[tuple[Cell, Reason]]:
    cells: list[tuple[Cell, Reason]] = []
    for place, boxes in sample.places.items():
        meant = boxes.take(given.run.meant(place, boxes))
        for name in meant.classes:
            where = () if place == SPACE else ("in pictures",)
            cells.append(((name, *condition, *where), Reason(weight=0.0, what="", place=place, class_name=name)))
    for one in sample.statuses:
        said = "calibrated" if one.score >= THRESHOLD else "miscalibrated"
        cell = (f"{one.camera} {one.form} taken for {said}", *condition)
        cells.append((cell, Reason(weight=0.0, what="", place=one.camera)))
    return cells


RULE = MiningRule(id="rare", text="classes that are seldom under their conditions", runs=1, find=_find)
