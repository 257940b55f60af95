"""`uncertainty`: samples with uncertain outputs.

A confidence p weighs -p log₂ p - (1 - p) log₂(1 - p) bits: 1 at a half, 0 at 0 and 1. Outputs below a tenth are passed
over: detectors list hundreds of them, which say nothing.
"""

from __future__ import annotations

import numpy as np

from admlops.mining.found import SPACE, FoundSample
from admlops.mining.rules.base import MiningInput, MiningRule, Reason

FLOOR = 0.1
LISTED = 0.5
"""An output of at least this many bits is a reason of its own; the others are added up in one."""


def entropy(confidence: float) -> float:
    """The binary entropy of a confidence [bit]."""
    p = min(max(confidence, 1e-12), 1 - 1e-12)
    return float(-p * np.log2(p) - (1 - p) * np.log2(1 - p))


def _find(given: MiningInput) -> dict[str, list[Reason]]:
    found = {token: _of_sample(sample, given.run.name) for token, sample in given.run.samples.items()}
    return {token: own for token, own in found.items() if own}


def _of_sample(sample: FoundSample, run: str) -> list[Reason]:
    reasons: list[Reason] = []
    rest = 0.0
    for place, boxes in sample.places.items():
        for row, confidence in enumerate(boxes.confidences.tolist()):
            bits = entropy(confidence) if confidence >= FLOOR else 0.0
            if bits < LISTED:
                rest += bits
                continue
            name = boxes.classes[row]
            what = f"{name} {confidence:.2f} in {'space' if place == SPACE else place}"
            reasons.append(
                Reason(
                    weight=bits,
                    what=what,
                    run=run,
                    id=boxes.ids[row],
                    place=place,
                    class_name=name,
                    confidence=confidence,
                )
            )
    for one in sample.statuses:
        what = f"{one.camera}, {one.form}: {one.score:.2f}"
        reasons.append(Reason(weight=entropy(one.score), what=what, place=one.camera, confidence=one.score))
    reasons.sort(key=lambda reason: -reason.weight)
    return [*reasons, *([Reason(weight=rest, what="surer outputs together")] if rest else [])]


RULE = MiningRule(id="uncertainty", text="confidences near a half", runs=1, find=_find)
