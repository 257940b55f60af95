"""Objects over time: sightings joined to tracks in the global frame, with velocities and calibrated confidences."""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .geometry import rotation_from_quaternion
from .motion import Estimate, first_estimate, predicted, updated
from .objects import PRIORS, Hypothesis, overlapping, to_object
from .records import Object3D
from .silhouette import YAW, X, Y

MAX_GAP_S = 1.6  # older samples say nothing about speed
GATE = 11.0  # squared Mahalanobis distance; 99.6 % of true sightings are nearer
HIT_TRUST = (0.55, 0.8, 0.93, 1.0)  # confidence factor by the number of samples that showed it
FIRST_TRUST = 0.8  # ... on a scene's first sample, which has nothing to compare with
UNSEEN_TRUST = 0.75  # ... and for every sample since that did not show it
MEMORY = 0.5  # share of the confidence before in a track's confidence
MAX_UNSEEN = 6
MIN_CONFIDENCE = 0.02
MATCH_DISTANCES_M = (0.5, 1.0, 2.0, 4.0)  # how near counts as found, as nuScenes has it
RADIAL_M = (0.35, 0.0009)  # standard deviation of a place along the line of sight: constant, and with its square
ASIDE_M = (0.15, 0.01)  # ... and across it: constant, and in proportion to the distance
SHAPE_ERROR_M = 0.3  # of a box's middle, for its length is a guess


class Track(NamedTuple):
    """An object in the global frame.

    `item` is its best sighting, `estimate` its motion, `yaw` global [rad]; `confidence` that it exists; `weight` the
    inverse variance of the best sighting; `unseen` samples since the last one; `hits` how many samples showed it.
    """

    item: Hypothesis
    estimate: Estimate
    yaw: float
    confidence: float
    weight: float
    unseen: int = 0
    hits: int = 1


class Memory:
    """The tracks of the samples before, and how common colours were on the `ground`; a new scene has a new one."""

    def __init__(self) -> None:
        self.tracks: List[Track] = []
        self.ground: Optional[np.ndarray] = None
        self.time_s: Optional[float] = None

    def observe(self, found: Sequence[Hypothesis], ego2global: Dict[str, Any], time_s: float) -> List[Object3D]:
        """The objects with velocities in the ego frame; remembers them for the next sample."""
        rotation = rotation_from_quaternion(ego2global["rotation_wxyz"])[:2, :2]
        origin = np.array(ego2global["translation"][:2], dtype=float)
        turn = math.atan2(rotation[1, 0], rotation[0, 0])
        gap_s = time_s - self.time_s if self.time_s is not None else math.inf
        known = 0.0 < gap_s <= MAX_GAP_S
        before = [t._replace(estimate=predicted(t.estimate, gap_s)) for t in self.tracks] if known else []
        sightings = [_Sighting(item, origin, rotation, turn) for item in found]
        matches = _match(sightings, before)
        tracks = [
            _seen_again(before[matches[index]], sighting) if index in matches else _first_seen(sighting)
            for index, sighting in enumerate(sightings)
        ]
        seen = set(matches.values())
        tracks += [
            track._replace(unseen=track.unseen + 1)
            for index, track in enumerate(before)
            if index not in seen and PRIORS[track.item.class_name].directed
        ]
        self.tracks, self.time_s = _distinct(tracks, known), time_s
        return [_in_ego(track, origin, rotation, turn, known) for track in self.tracks]


class _Sighting:
    """What one sample says of an object, in the global frame: `place` (2,) with `spread` (2, 2) [m, m^2]."""

    def __init__(self, item: Hypothesis, origin: np.ndarray, rotation: np.ndarray, turn: float) -> None:
        self.item = item
        local = item.box[[X, Y]]
        self.place = origin + rotation @ local
        self.yaw = float(item.box[YAW]) + turn
        distance = max(1.0, float(np.hypot(local[0], local[1])))
        ray = rotation @ local / distance
        aside = np.array([-ray[1], ray[0]])
        # A pixel of height is ever more metres with the distance, one of width only in proportion.
        self.deviation = RADIAL_M[0] + RADIAL_M[1] * distance**2
        self.spread = self.deviation**2 * np.outer(ray, ray) + (ASIDE_M[0] + ASIDE_M[1] * distance) ** 2 * np.outer(
            aside, aside
        )


def _first_seen(sighting: _Sighting) -> Track:
    directed = PRIORS[sighting.item.class_name].directed
    estimate = first_estimate(sighting.place, sighting.spread, sighting.yaw if directed else None)
    return Track(sighting.item, estimate, sighting.yaw, sighting.item.confidence, 1.0 / sighting.deviation**2)


def _seen_again(track: Track, sighting: _Sighting) -> Track:
    """A track after a new sighting; its shape is that of the nearest one if it stands, else of the latest."""
    estimate = updated(track.estimate, sighting.place, sighting.spread)
    confidence = MEMORY * track.confidence + (1.0 - MEMORY) * sighting.item.confidence
    weight = 1.0 / sighting.deviation**2
    if estimate.moves or weight > track.weight:
        item, yaw = sighting.item, sighting.yaw
    else:
        item, yaw, weight = track.item, track.yaw, track.weight
    return Track(item, estimate, yaw, confidence, weight, 0, track.hits + 1)


def _trust(track: Track, known: bool) -> float:
    """The confidence that a track is an object, and as near to where it is said to be as it must be to count."""
    hits = HIT_TRUST[min(track.hits, len(HIT_TRUST)) - 1] if known else FIRST_TRUST
    deviation = math.hypot(track.estimate.deviation, SHAPE_ERROR_M)
    near = np.mean([math.erf(distance / (math.sqrt(2.0) * deviation)) for distance in MATCH_DISTANCES_M])
    return float(track.confidence * hits * UNSEEN_TRUST**track.unseen * near)


def _distinct(tracks: Sequence[Track], known: bool) -> List[Track]:
    """Drop tracks unseen for too long, of little trust, or where a better one stands."""
    kept: List[Track] = []
    for track in sorted(tracks, key=lambda item: (item.unseen > 0, -_trust(item, known))):
        if track.unseen > MAX_UNSEEN or _trust(track, known) < MIN_CONFIDENCE:
            continue
        place = track.estimate.place
        if not any(overlapping(o.item, o.estimate.place, o.yaw, track.item, place) for o in kept):
            kept.append(track)
    return kept


def _in_ego(track: Track, origin: np.ndarray, rotation: np.ndarray, turn: float, known: bool) -> Object3D:
    """The object in the ego frame; a vehicle that moves points where it goes."""
    velocity = track.estimate.velocity if track.hits > 1 else np.zeros(2)
    box = track.item.box.copy()
    box[[X, Y]] = rotation.T @ (track.estimate.place - origin)
    box[YAW] = track.yaw - turn
    heading = np.array([math.cos(track.yaw), math.sin(track.yaw)])
    if PRIORS[track.item.class_name].directed and float(heading @ velocity) < 0:
        box[YAW] += math.pi
    in_ego = rotation.T @ velocity
    item = track.item._replace(box=box, confidence=_trust(track, known))
    return to_object(item, (float(in_ego[0]), float(in_ego[1])))


def _match(sightings: Sequence[_Sighting], tracks: Sequence[Track]) -> Dict[int, int]:
    """Sighting index to track index, likeliest pairs first."""
    pairs: List[Tuple[float, int, int]] = []
    for index, sighting in enumerate(sightings):
        for other, track in enumerate(tracks):
            if track.item.class_name != sighting.item.class_name:
                continue
            gate, cost = track.estimate.distance(sighting.place, sighting.spread)
            if gate < GATE:
                pairs.append((cost, index, other))
    matches: Dict[int, int] = {}
    taken = set()
    for _, index, other in sorted(pairs):
        if index not in matches and other not in taken:
            matches[index] = other
            taken.add(other)
    return matches
