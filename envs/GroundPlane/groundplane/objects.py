"""Objects as boxes: proposed from the ground contact scan, checked against the silhouette, merged over cameras."""

import math
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from .contact import Contact, scan
from .geometry import Camera
from .ground import Ranges
from .records import Object3D
from .silhouette import EXPLAINED, UPRIGHT, Box, Fit, fit, outline, raster


class Prior(NamedTuple):
    """Typical size of a class [m], the range [m] over which it is looked for, and the widest contact that fits."""

    width: float
    length: float
    height: float
    reach: float
    along_road: bool


PRIORS: Dict[str, Prior] = {
    "car": Prior(1.9, 4.5, 1.65, 50.0, True),
    "truck": Prior(2.5, 7.5, 3.0, 50.0, True),
    "bus": Prior(2.8, 11.0, 3.3, 50.0, True),
    "pedestrian": Prior(0.65, 0.65, 1.75, 40.0, False),
    "traffic_cone": Prior(0.4, 0.4, 0.85, 30.0, False),
}
MIN_SCORE = 0.45
MIN_PIXELS = 25
MERGE_M = {"car": 1.7, "truck": 2.5, "bus": 3.0, "pedestrian": 0.6, "traffic_cone": 0.4}


class Hypothesis(NamedTuple):
    """A box of a class with its fit in one camera."""

    class_name: str
    box: Box
    fit: Fit
    confidence: float


def find_objects(
    camera: Camera, upright: np.ndarray, ranges: Ranges, headings: Sequence[float]
) -> List[Hypothesis]:
    """Boxes that explain the upright pixels of one image, nearest first, each explaining pixels only once."""
    evidence = upright.copy()
    horizon = float(ranges.horizon.min())
    found = []
    for contact in scan(camera, upright):
        for _ in range(4):  # one segment may hold a row of objects
            best = _best_of_segment(camera, evidence, contact, horizon, headings)
            if best is None:
                break
            found.append(best)
            _explain(camera, evidence, best.box)
            remaining = evidence[contact.rows - 1, contact.columns] == UPRIGHT
            if np.count_nonzero(remaining) < 4:
                break
            contact = Contact(*(values[remaining] for values in contact))
    return found


def _best_of_segment(
    camera: Camera, evidence: np.ndarray, contact: Contact, horizon: float, headings: Sequence[float]
) -> Optional[Hypothesis]:
    """The best-scoring box over classes, headings and placements, refined."""
    best: Optional[Hypothesis] = None
    for name, prior in PRIORS.items():
        for heading in headings if prior.along_road else headings[:1]:
            for start in _placements(camera, contact, prior, heading):
                if math.hypot(start.x, start.y) > prior.reach:
                    continue
                candidate = _score(camera, evidence, name, start, horizon)
                if candidate is None or candidate.confidence < 0.2:
                    continue
                candidate = _refine(camera, evidence, candidate, horizon)
                if best is None or candidate.confidence > best.confidence:
                    best = candidate
    return best if best is not None and best.confidence >= MIN_SCORE else None


def _placements(camera: Camera, contact: Contact, prior: Prior, heading: float) -> List[Box]:
    """Boxes whose near sides lie on the contact points: the visible sides are those that face the camera."""
    cosine, sine = math.cos(heading), math.sin(heading)
    axes = np.array([[cosine, sine], [-sine, cosine]])
    local = contact.points @ axes.T
    eye = axes @ camera.position[:2]
    low, high = np.percentile(local, 4, axis=0), np.percentile(local, 96, axis=0)
    choices = []
    for axis, size in ((0, prior.length), (1, prior.width)):
        from_low, from_high = low[axis] + size / 2, high[axis] - size / 2
        if eye[axis] < low[axis]:
            options = [from_low]
        elif eye[axis] > high[axis]:
            options = [from_high]
        else:
            options = [(low[axis] + high[axis]) / 2]
        if high[axis] - low[axis] > 1.3 * size:
            options = [from_low, from_high]
        choices.append(options)
    boxes = []
    for along in choices[0]:
        for across in choices[1]:
            x, y = np.array([along, across]) @ axes
            boxes.append(Box(float(x), float(y), heading, prior.width, prior.length, prior.height))
    return boxes


def _score(camera: Camera, evidence: np.ndarray, name: str, box: Box, horizon: float) -> Optional[Hypothesis]:
    result = fit(camera, evidence, box, horizon)
    if result is None or result.pixels < MIN_PIXELS or result.whole == 0:
        return None
    fresh = result.pixels / result.whole
    confidence = result.score * min(1.0, 0.3 + fresh)
    return Hypothesis(name, box, result, confidence)


def _refine(camera: Camera, evidence: np.ndarray, start: Hypothesis, horizon: float) -> Hypothesis:
    """Coordinate descent along and across the line of sight, then over the size."""
    best = start
    ray = np.array([best.box.x, best.box.y]) - camera.position[:2]
    distance = max(1.0, float(np.hypot(*ray)))
    ray = ray / distance
    moves = [(ray[0], ray[1]), (-ray[0], -ray[1]), (-ray[1], ray[0]), (ray[1], -ray[0])]
    for step in (0.5, 0.2) if best.box.length > 1.0 else (0.2,):
        for _ in range(3):
            trials = [
                best.box._replace(x=best.box.x + step * dx, y=best.box.y + step * dy) for dx, dy in moves
            ]
            scored = [_score(camera, evidence, best.class_name, box, horizon) for box in trials]
            better = [item for item in scored if item is not None and item.confidence > best.confidence + 1e-6]
            if not better:
                break
            best = max(better, key=lambda item: item.confidence)
    return best


def _explain(camera: Camera, evidence: np.ndarray, box: Box) -> None:
    """Mark what a box covers as explained."""
    hull = outline(camera, box)
    cut = raster(hull, camera.size, 0) if hull is not None else None
    if cut is None:
        return
    inside, (left, top) = cut
    grown = cv2.dilate(inside, np.ones((3, 3), np.uint8))
    view = evidence[top : top + inside.shape[0], left : left + inside.shape[1]]
    view[grown.astype(bool)] = EXPLAINED


def merge(found: Sequence[Hypothesis]) -> List[Hypothesis]:
    """Keep the most confident of boxes that claim the same place, whichever camera they come from."""
    kept: List[Hypothesis] = []
    for item in sorted(found, key=lambda entry: (-entry.confidence, entry.box.x, entry.box.y)):
        if not any(_same_place(item, other) for other in kept):
            kept.append(item)
    return kept


def _same_place(first: Hypothesis, second: Hypothesis) -> bool:
    gap = math.hypot(first.box.x - second.box.x, first.box.y - second.box.y)
    return gap < max(MERGE_M[first.class_name], MERGE_M[second.class_name])


def to_object(item: Hypothesis, velocity: Tuple[float, float]) -> Object3D:
    """The standard form: centre half way up."""
    box = item.box
    size = (box.width, box.length, box.height)
    return Object3D(item.class_name, item.confidence, (box.x, box.y, box.height / 2), size, box.yaw, velocity)
