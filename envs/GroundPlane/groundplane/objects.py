"""Objects as boxes: proposed from the ground contact scan, checked against the silhouette, merged over cameras."""

import math
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .contact import Contact, nearest, scan
from .geometry import Camera
from .ground import Ranges, View
from .records import Object3D
from .road import Directions, Pavement
from .silhouette import GROUND, HEIGHT, LENGTH, UPRIGHT, USUAL_EDGE, WIDTH, YAW, Evidence, X, Y, clearance_at


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
MERGE_M = {"car": 2.3, "truck": 2.8, "bus": 3.2, "pedestrian": 0.6, "traffic_cone": 0.4}
QUEUE_SHARE = 0.85  # of the mean length, the least distance between the middles of vehicles in a queue
MIN_SCORE = {"car": 0.35, "truck": 0.45, "bus": 0.45, "pedestrian": 0.5, "traffic_cone": 0.55}
MAX_SEGMENTS = 40
MIN_VEHICLE_M = 0.4
MAX_FIGURE_M = 1.5  # wider contacts are walls and hedges, not people
MIN_PAVED = 0.25  # of the ground before a vehicle
PLATEAU = 0.02  # of score, within which fits are equal
FAR_MALUS = 0.5
ACROSS_MALUS = 0.1
ACROSS_COST = 0.1
EDGE_BONUS = 0.35
SHADE_BONUS, USUAL_SHADE = 0.25, 0.4
LARGE_HEIGHTS_M = (2.2, 3.8)
LARGE_MALUS = 0.12  # trucks and buses are rarer than cars
LARGE_M = (5.6, 2.4)  # length and width that no car has
MIN_PIXELS = 25
MIN_SHADED, SHADED_BASE = 0.15, 0.3
LEVEL_BASE = 0.7
MAX_ROUNDS = 4  # one segment of the scan may hold a row of objects
REFINED = 2  # the best placements of a segment that are moved to fit


class Hypothesis(NamedTuple):
    """A box (6,) of a class and how sure one camera is of it."""

    class_name: str
    box: np.ndarray
    confidence: float


def _weigh(item: Hypothesis, evidence: Evidence, pavement: Pavement, heading: float) -> Hypothesis:
    """Vehicles stand on the road and along it, are dark beneath, and their edges run level: trust them by the paved
    share of the ground before them and by their looks, and less if they stand across the road's `heading` [rad]."""
    if not PRIORS[item.class_name].directed:
        return item
    paved = pavement.share(_apron(item.box))
    far = float(np.hypot(item.box[X], item.box[Y])) / PRIORS[item.class_name].reach
    shaded, level = evidence.looks(item.box)
    across = abs(math.sin(float(item.box[YAW]) - heading))
    weight = (
        (0.25 + 0.75 * paved) * (1.0 - ACROSS_MALUS * across) * (1.0 - FAR_MALUS * far**2)
        if paved >= MIN_PAVED
        else 0.0
    )
    weight *= min(1.0, SHADED_BASE + shaded) * min(1.0, LEVEL_BASE + level) if shaded >= MIN_SHADED else 0.0
    return item._replace(confidence=item.confidence * weight)


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


def find_objects(
    view: View, upright: np.ndarray, ranges: Ranges, directions: Directions, pavement: Pavement
) -> List[Hypothesis]:
    """Boxes that explain the upright pixels of one image: vehicles first, then what is too small for one.

    Within each, the nearest come first and every pixel is explained only once.
    """
    evidence = Evidence(view.camera, upright, float(ranges.horizon.min()), view.image)
    segments = scan(view.camera, upright)[:MAX_SEGMENTS]
    found: List[Hypothesis] = []
    shades = scan(view.camera, evidence.shade)[:MAX_SEGMENTS]
    for directed in (True, False):
        names = [name for name, prior in PRIORS.items() if prior.directed == directed]
        for segment in sorted(segments + shades, key=nearest) if directed else segments:
            if directed and not _may_be_vehicle(segment, pavement):
                continue
            if not directed and not _may_be_figure(segment, evidence.mask):
                continue
            found += _explain_segment(evidence, segment, names, directions, pavement)
    return found


def _may_be_vehicle(segment: Contact, pavement: Pavement) -> bool:
    """Wide enough, and some of the ground before it is road."""
    if _width(segment) < MIN_VEHICLE_M:
        return False
    distance = np.maximum(np.hypot(segment.points[:, 0], segment.points[:, 1]), 1.0)
    before = [segment.points * (1.0 - margin / distance)[:, None] for margin in (0.6, 1.2)]
    return pavement.share(np.concatenate(before)) >= MIN_PAVED


def _may_be_figure(segment: Contact, mask: np.ndarray) -> bool:
    """Narrow, and with ground on both sides of its foot: a piece of a wall or hedge goes on beside itself."""
    if _width(segment) > MAX_FIGURE_M:
        return False
    height, width = mask.shape
    bottom = int(np.max(segment.rows))
    top = max(0, bottom - max(4, int((bottom - np.min(segment.tops)) * 0.4)))
    for column in (int(segment.columns[0]) - 4, int(segment.columns[-1]) + 4):
        if 0 <= column < width and np.any(mask[top : min(bottom, height), column] != GROUND):
            return False
    return True


def _width(segment: Contact) -> float:
    """Metres between the ends of a segment."""
    delta = segment.points[-1] - segment.points[0]
    return float(np.hypot(delta[0], delta[1]))


def _explain_segment(
    evidence: Evidence, segment: Contact, names: Sequence[str], directions: Directions, pavement: Pavement
) -> List[Hypothesis]:
    """Boxes of the named classes along one segment of the scan."""
    found: List[Hypothesis] = []
    contact = segment
    for _ in range(MAX_ROUNDS):
        still = evidence.mask[contact.rows - 1, contact.columns] == UPRIGHT
        if np.count_nonzero(still) < max(3, len(segment.columns) // 6):
            break
        contact = Contact(*(values[still] for values in contact))
        headings = directions.candidates(np.median(contact.points, axis=0))
        if not PRIORS[names[0]].directed:
            headings = headings[:1]
        best = _best_of_segment(evidence, contact, names, headings)
        if best is None:
            break
        best = _weigh(_measured(evidence, best), evidence, pavement, headings[0])
        if best.confidence <= 0.0:
            break
        found.append(best)
        evidence.explain(best.box)
    return found


def _best_of_segment(
    evidence: Evidence, contact: Contact, names: Sequence[str], headings: Sequence[float]
) -> Optional[Hypothesis]:
    """The best box over classes, headings and placements, moved to where it fits best."""
    starts: List[Hypothesis] = []
    for name in names:
        for heading in headings:
            boxes = _placements(evidence.camera, contact, PRIORS[name], heading)
            starts += [Hypothesis(name, np.array(box), 0.0) for box in boxes]
    if not starts:
        return None
    scores = _scores(
        evidence, [item.class_name for item in starts], np.array([item.box for item in starts]), headings[0]
    )
    order = [index for index in np.argsort(-scores, kind="stable")[:REFINED] if scores[index] > 0.1]
    refined = [starts[index]._replace(confidence=float(scores[index])) for index in order]
    if not refined:
        return None
    for moves in (_COARSE, _TURNS, _FINE) if PRIORS[names[0]].directed else (_COARSE, _FINE):
        refined = _moved(evidence, refined, moves, headings[0])
    best = max(refined, key=lambda item: item.confidence)
    return _settled(evidence, best, headings[0]) if best.confidence >= MIN_SCORE[best.class_name] else None


def _settled(evidence: Evidence, item: Hypothesis, heading: float) -> Hypothesis:
    """The middle of the positions along the line of sight that fit as well: a pixel is decimetres to metres there."""
    camera = evidence.camera
    ray = item.box[[X, Y]] - camera.position[:2]
    distance = max(1e-6, float(np.hypot(*ray)))
    pixel_m = distance**2 / (camera.intrinsic[1, 1] * camera.position[2])
    steps = np.linspace(-1.2, 1.2, 25) * pixel_m
    boxes = np.repeat(item.box[None], len(steps), axis=0)
    boxes[:, [X, Y]] += steps[:, None] * ray / distance
    scores = _scores(evidence, [item.class_name] * len(steps), boxes, heading)
    box = item.box.copy()
    box[[X, Y]] += float(np.mean(steps[scores > scores.max() - PLATEAU])) * ray / distance
    return item._replace(box=box)


def _measured(evidence: Evidence, item: Hypothesis) -> Hypothesis:
    """A car whose sides go on far above the horizon is a truck or a bus, seen from the same near end."""
    if item.class_name != "car":
        return item
    height = evidence.height_of(item.box, LARGE_HEIGHTS_M)
    if height == 0.0:
        return item
    prior = PRIORS["truck"]
    box = item.box.copy()
    heading = np.array([math.cos(box[YAW]), math.sin(box[YAW])])
    away = math.copysign(1.0, float(heading @ (box[[X, Y]] - evidence.camera.position[:2])))
    along = abs(float(heading @ box[[X, Y]])) / max(1e-6, float(np.hypot(box[X], box[Y])))
    if along > 0.5:
        box[[X, Y]] += away * heading * (prior.length - box[LENGTH]) / 2
    box[[WIDTH, LENGTH, HEIGHT]] = prior.width, prior.length, height
    return Hypothesis("truck", box, item.confidence)


def _placements(camera: Camera, contact: Contact, prior: Prior, heading: float) -> List[List[float]]:
    """Boxes whose near sides lie on the contact points: the visible sides are those that face the camera."""
    cosine, sine = math.cos(heading), math.sin(heading)
    axes = np.array([[cosine, sine], [-sine, cosine]])
    eye = axes @ camera.position[:2]
    points = contact.points @ axes.T
    if prior.directed:  # the lowest pixel seen is the body's edge, a little above the ground
        height = clearance_at(np.hypot(points[:, 0], points[:, 1]))
        points = eye + (points - eye) * (1.0 - height / camera.position[2])[:, None]
    local = points
    ordered = np.sort(local, axis=0)
    trim = len(ordered) // 25
    low, high = ordered[trim], ordered[len(ordered) - 1 - trim]
    if prior.length > 6.0 and high[0] - low[0] < LARGE_M[0] and high[1] - low[1] < LARGE_M[1]:
        return []  # the horizon hides its height, so only a long side tells a truck from a car
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


def _scores(evidence: Evidence, names: Sequence[str], boxes: np.ndarray, heading: float) -> np.ndarray:
    """Evidence for each box, about 0..1: a filled outline with ground around it."""
    fits = evidence.fit(boxes)
    priors = np.array([PRIORS[name][:4] for name in names])
    strict = np.array([0.6 if PRIORS[name].directed else 1.2 for name in names])
    score = (fits.fill - strict * fits.leak) * np.minimum(1.0, 0.3 + fits.fresh)
    odd = np.abs(np.log(boxes[:, [WIDTH, LENGTH, HEIGHT]] / priors[:, :3])).sum(axis=1)
    score -= 0.12 * odd
    score += np.where(priors[:, 1] > 1.2, SHADE_BONUS * (fits.shaded - USUAL_SHADE), 0.0)
    score += EDGE_BONUS * (fits.edged - USUAL_EDGE)
    score -= np.where(priors[:, 1] > 6.0, LARGE_MALUS, 0.0)
    score -= ACROSS_COST * np.abs(np.sin(boxes[:, YAW] - heading))
    far = np.hypot(boxes[:, X], boxes[:, Y]) > priors[:, 3]
    return np.where(far | (fits.pixels < MIN_PIXELS), -1.0, score)


# along and across the line of sight [m], turn [rad], factor of the size; halved for small things
_COARSE = np.array([(a, c, 0.0, 1.0) for a in (-0.8, -0.4, 0.0, 0.4, 0.8) for c in (-0.5, -0.25, 0.0, 0.25, 0.5)])
_TURNS = np.array([(a, 0.0, t, 1.0) for t in (-0.2, -0.1, 0.0, 0.1, 0.2) for a in (-0.3, 0.0, 0.3)])
_FINE = np.array([(a, c, 0.0, s) for a in (-0.2, 0.0, 0.2) for c in (-0.12, 0.0, 0.12) for s in (0.93, 1.0, 1.07)])


def _moved(evidence: Evidence, starts: Sequence[Hypothesis], moves: np.ndarray, heading: float) -> List[Hypothesis]:
    """Each hypothesis after the move that scores best, or where it was."""
    count = len(moves)
    boxes = np.repeat([item.box for item in starts], count, axis=0)
    names = [item.class_name for item in starts for _ in range(count)]
    step = np.tile(moves, (len(starts), 1))
    scale = np.array([1.0 if PRIORS[name].directed else 0.5 for name in names])
    ray = boxes[:, [X, Y]] - evidence.camera.position[:2]
    ray = ray / np.maximum(np.hypot(ray[:, 0], ray[:, 1]), 1e-6)[:, None]
    boxes[:, X] += scale * (step[:, 0] * ray[:, 0] - step[:, 1] * ray[:, 1])
    boxes[:, Y] += scale * (step[:, 0] * ray[:, 1] + step[:, 1] * ray[:, 0])
    boxes[:, YAW] += step[:, 2]
    boxes[:, [WIDTH, LENGTH, HEIGHT]] *= step[:, 3:]
    scores = _scores(evidence, names, boxes, heading).reshape(len(starts), count)
    best = np.argmax(scores, axis=1)
    return [
        item._replace(box=boxes[row * count + best[row]], confidence=float(scores[row, best[row]]))
        if scores[row, best[row]] > item.confidence
        else item
        for row, item in enumerate(starts)
    ]


def merge(found: Sequence[Hypothesis]) -> List[Hypothesis]:
    """Keep the most confident of boxes that claim the same place, whichever camera they come from."""
    kept: List[Hypothesis] = []
    for item in sorted(found, key=lambda entry: (-entry.confidence, entry.box[X], entry.box[Y])):
        if not any(_same_place(item, other) for other in kept):
            kept.append(item)
    return kept


def _same_place(first: Hypothesis, second: Hypothesis) -> bool:
    return overlapping(first, first.box[[X, Y]], float(first.box[YAW]), second, second.box[[X, Y]])


def overlapping(first: Hypothesis, place: np.ndarray, yaw: float, second: Hypothesis, other: np.ndarray) -> bool:
    """Whether objects at two places [m] cannot both be: vehicles keep nearly their length apart along their heading."""
    gap = other - place
    radius = max(MERGE_M[first.class_name], MERGE_M[second.class_name])
    if not (PRIORS[first.class_name].directed and PRIORS[second.class_name].directed):
        return float(np.hypot(gap[0], gap[1])) < radius
    along = gap[0] * math.cos(yaw) + gap[1] * math.sin(yaw)
    across = gap[1] * math.cos(yaw) - gap[0] * math.sin(yaw)
    length = QUEUE_SHARE * (first.box[LENGTH] + second.box[LENGTH]) / 2
    return math.hypot(along / max(radius, length), across / radius) < 1.0


def to_object(item: Hypothesis, velocity: Tuple[float, float]) -> Object3D:
    """The standard form: centre half way up."""
    x, y, yaw, width, length, height = (float(value) for value in item.box)
    return Object3D(item.class_name, item.confidence, (x, y, height / 2), (width, length, height), yaw, velocity)
