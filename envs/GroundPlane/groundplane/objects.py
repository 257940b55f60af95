"""Objects as boxes: proposed from the ground contact scan, checked against the silhouette, merged over cameras."""

import math
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .birdseye import Grid
from .contact import Contact, scan
from .geometry import Camera
from .ground import Ranges
from .records import Object3D
from .silhouette import CLEARANCE_M, HEIGHT, LENGTH, UPRIGHT, WIDTH, YAW, Evidence, X, Y


class Prior(NamedTuple):
    """Typical size of a class [m], the range [m] over which it is looked for, and whether it has a long side."""

    width: float
    length: float
    height: float
    reach: float
    directed: bool


PRIORS: Dict[str, Prior] = {
    "car": Prior(1.9, 4.5, 1.6, 52.0, True),
    "truck": Prior(2.5, 7.5, 3.0, 52.0, True),
    "bus": Prior(2.8, 11.0, 3.3, 52.0, True),
    "pedestrian": Prior(0.65, 0.65, 1.75, 42.0, False),
    "traffic_cone": Prior(0.4, 0.4, 0.8, 32.0, False),
}
MERGE_M = {"car": 1.7, "truck": 2.5, "bus": 3.0, "pedestrian": 0.6, "traffic_cone": 0.4}
MIN_SCORE = 0.45
MIN_PIXELS = 25
MAX_ROUNDS = 4  # one segment of the scan may hold a row of objects
REFINED = 4  # the best placements of a segment that are moved to fit


class Hypothesis(NamedTuple):
    """A box (6,) of a class and how sure one camera is of it."""

    class_name: str
    box: np.ndarray
    confidence: float


class Pavement(NamedTuple):
    """Where the road is: masks (bool) on a grid of what is paved and of what some camera sees."""

    grid: Grid
    paved: np.ndarray
    seen: np.ndarray

    def share(self, points: np.ndarray) -> float:
        """The paved share of those of (n, 2) ground points that are seen; 0.5 if none is."""
        column, row = np.round(self.grid.to_cells(points)).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < self.grid.columns) & (row < self.grid.rows)
        column, row = column[inside], row[inside]
        seen = self.seen[row, column]
        return float(np.mean(self.paved[row, column][seen])) if seen.any() else 0.5


def weigh(found: Sequence[Hypothesis], pavement: Pavement) -> List[Hypothesis]:
    """Vehicles stand on the road: trust them by how much of the ground before them is paved."""
    weighed = []
    for item in found:
        if PRIORS[item.class_name].directed:
            paved = pavement.share(_apron(item.box))
            item = item._replace(confidence=item.confidence * (0.25 + 0.75 * paved))
        weighed.append(item)
    return weighed


def _apron(box: np.ndarray) -> np.ndarray:
    """Points (n, 2) around a footprint, 0.5 to 1 m from it, on the side that faces the vehicle."""
    points = []
    for margin in (0.5, 1.0):
        half_l, half_w = box[LENGTH] / 2 + margin, box[WIDTH] / 2 + margin
        along, across = np.linspace(-half_l, half_l, 9), np.linspace(-half_w, half_w, 5)
        points += [(a, side * half_w) for a in along for side in (-1, 1)]
        points += [(side * half_l, c) for c in across for side in (-1, 1)]
    local = np.array(points)
    cosine, sine = math.cos(box[YAW]), math.sin(box[YAW])
    turned = local @ np.array([[cosine, sine], [-sine, cosine]])
    facing = turned @ box[[X, Y]] < 0
    return np.asarray(turned[facing] + box[[X, Y]])


def find_objects(camera: Camera, upright: np.ndarray, ranges: Ranges, headings: Sequence[float]) -> List[Hypothesis]:
    """Boxes that explain the upright pixels of one image, nearest first, each explaining pixels only once."""
    evidence = Evidence(camera, upright, float(ranges.horizon.min()))
    found = []
    for segment in scan(camera, upright):
        contact = segment
        for _ in range(MAX_ROUNDS):
            still = evidence.mask[contact.rows - 1, contact.columns] == UPRIGHT
            if np.count_nonzero(still) < 3:
                break
            contact = Contact(*(values[still] for values in contact))
            best = _best_of_segment(evidence, contact, headings)
            if best is None:
                break
            found.append(best)
            evidence.explain(best.box)
    return found


def _best_of_segment(evidence: Evidence, contact: Contact, headings: Sequence[float]) -> Optional[Hypothesis]:
    """The best box over classes, headings and placements, moved to where it fits best."""
    names: List[str] = []
    starts: List[List[float]] = []
    for name, prior in PRIORS.items():
        for heading in headings if prior.directed else headings[:1]:
            boxes = _placements(evidence.camera, contact, prior, heading)
            names += [name] * len(boxes)
            starts += boxes
    boxes = np.array(starts)
    scores = _scores(evidence, names, boxes)
    order = np.argsort(-scores, kind="stable")[:REFINED]
    best: Optional[Hypothesis] = None
    for index in order:
        if scores[index] < 0.1:
            break
        refined = _refine(evidence, Hypothesis(names[index], boxes[index], float(scores[index])))
        if best is None or refined.confidence > best.confidence:
            best = refined
    return best if best is not None and best.confidence >= MIN_SCORE else None


def _placements(camera: Camera, contact: Contact, prior: Prior, heading: float) -> List[List[float]]:
    """Boxes whose near sides lie on the contact points: the visible sides are those that face the camera."""
    cosine, sine = math.cos(heading), math.sin(heading)
    axes = np.array([[cosine, sine], [-sine, cosine]])
    eye = axes @ camera.position[:2]
    raised = 1.0 - (CLEARANCE_M if prior.directed else 0.0) / camera.position[2]
    local = eye + (contact.points @ axes.T - eye) * raised
    ordered = np.sort(local, axis=0)
    trim = len(ordered) // 25
    low, high = ordered[trim], ordered[len(ordered) - 1 - trim]
    choices = []
    for axis, size in ((0, prior.length), (1, prior.width)):
        from_low, from_high, middle = low[axis] + size / 2, high[axis] - size / 2, (low[axis] + high[axis]) / 2
        if eye[axis] < low[axis]:
            options = [from_low]
        elif eye[axis] > high[axis]:
            options = [from_high]
        else:
            options = [middle]
        if high[axis] - low[axis] > 1.2 * size:
            options = [from_low, from_high]
        choices.append(options)
    places = [np.array([along, across]) @ axes for along in choices[0] for across in choices[1]]
    return [[x, y, heading, prior.width, prior.length, prior.height] for x, y in places]


def _scores(evidence: Evidence, names: Sequence[str], boxes: np.ndarray) -> np.ndarray:
    """Evidence for each box, about 0..1: a filled outline with ground around it."""
    fits = evidence.fit(boxes)
    priors = np.array([PRIORS[name][:4] for name in names])
    score = (fits.fill - 0.6 * fits.leak) * np.minimum(1.0, 0.3 + fits.fresh)
    odd = np.abs(np.log(boxes[:, [WIDTH, LENGTH, HEIGHT]] / priors[:, :3])).sum(axis=1)
    score -= 0.12 * odd
    far = np.hypot(boxes[:, X], boxes[:, Y]) > priors[:, 3]
    return np.where(far | (fits.pixels < MIN_PIXELS), -1.0, score)


_COARSE = [(a, c, t, 1.0) for a in (-0.6, -0.3, 0.0, 0.3, 0.6) for c in (-0.4, 0.0, 0.4) for t in (0.0,)]
_TURNS = [(a, c, t, 1.0) for t in (-0.2, -0.1, 0.1, 0.2) for a in (-0.3, 0.0, 0.3) for c in (0.0,)]
_FINE = [(a, c, 0.0, s) for a in (-0.15, 0.0, 0.15) for c in (-0.15, 0.0, 0.15) for s in (0.92, 1.0, 1.08)]


def _refine(evidence: Evidence, start: Hypothesis) -> Hypothesis:
    """Try moves along and across the line of sight, turns and sizes, coarse then fine."""
    directed = PRIORS[start.class_name].directed
    best = start
    for moves in (_COARSE, _TURNS, _FINE) if directed else (_COARSE, _FINE):
        scale = 1.0 if directed else 0.5
        best = _best_move(evidence, best, np.array(moves), scale)
    return best


def _best_move(evidence: Evidence, start: Hypothesis, moves: np.ndarray, scale: float) -> Hypothesis:
    ray = start.box[[X, Y]] - evidence.camera.position[:2]
    ray = ray / max(1e-6, float(np.hypot(*ray)))
    boxes = np.repeat(start.box[None], len(moves), axis=0)
    boxes[:, X] += scale * (moves[:, 0] * ray[0] - moves[:, 1] * ray[1])
    boxes[:, Y] += scale * (moves[:, 0] * ray[1] + moves[:, 1] * ray[0])
    boxes[:, YAW] += moves[:, 2]
    boxes[:, [WIDTH, LENGTH, HEIGHT]] *= moves[:, 3:]
    scores = _scores(evidence, [start.class_name] * len(moves), boxes)
    index = int(np.argmax(scores))
    if scores[index] <= start.confidence:
        return start
    return Hypothesis(start.class_name, boxes[index], float(scores[index]))


def merge(found: Sequence[Hypothesis]) -> List[Hypothesis]:
    """Keep the most confident of boxes that claim the same place, whichever camera they come from."""
    kept: List[Hypothesis] = []
    for item in sorted(found, key=lambda entry: (-entry.confidence, entry.box[X], entry.box[Y])):
        if not any(_same_place(item, other) for other in kept):
            kept.append(item)
    return kept


def _same_place(first: Hypothesis, second: Hypothesis) -> bool:
    gap = math.hypot(first.box[X] - second.box[X], first.box[Y] - second.box[Y])
    return gap < max(MERGE_M[first.class_name], MERGE_M[second.class_name])


def to_object(item: Hypothesis, velocity: Tuple[float, float]) -> Object3D:
    """The standard form: centre half way up."""
    x, y, yaw, width, length, height = (float(value) for value in item.box)
    return Object3D(item.class_name, item.confidence, (x, y, height / 2), (width, length, height), yaw, velocity)
