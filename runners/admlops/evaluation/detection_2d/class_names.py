"""One class under several names: what COCO calls a person others call a pedestrian.

A model's name that the ground truth does not have is read as another name for the same class, where the ground truth
has that one. Riders are part of COCO's person and of few other classes, so the two are close but not equal: `notes`
says when one was read as the other.
"""

from __future__ import annotations

from collections.abc import Iterable

SAME = (
    ("person", "pedestrian"),
    ("motorcycle", "motorbike", "motor"),
    ("bicycle", "bike"),
    ("traffic_cone", "traffic cone"),
    ("construction_vehicle", "construction vehicle"),
)
"""Names of one class in COCO, nuScenes, BDD100K, KITTI and PASCAL VOC."""


def translate(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Map each of `names` to the one in `known` with the same meaning; names without one are left out."""
    there = frozenset(known)
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        others = next((group for group in SAME if name in group), ())
        own = next((other for other in (name, *others) if other in there), None)
        if own is not None:
            found[name] = own
    return found
