"""Velocities: objects matched with those of the sample before, in the global frame."""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .geometry import rotation_from_quaternion
from .objects import PRIORS, Hypothesis, overlapping, to_object
from .records import Object3D
from .silhouette import YAW, X, Y

MAX_GAP_S = 1.6  # older samples say nothing about speed
MAX_SPEED_M_S = {True: 16.0, False: 2.5}  # of classes with a long side (vehicles) and of the others
NOISE_M = 0.9  # how far a standing object's position jumps between samples
STILL_M, STILL_SIGMAS = 0.5, 0.8  # moves that a standing object may seem to make
STILL_M_S = 1.2  # less is noise
HIT_TRUST = (0.55, 0.8, 0.93, 1.0)  # confidence factor by the number of samples that showed it
FIRST_TRUST = 0.8  # ... on a scene's first sample, which has nothing to compare with
UNSEEN_TRUST = 0.75  # ... and of what this sample does not show
MAX_UNSEEN = 5
MAX_WEIGHT = 60.0


class Track(NamedTuple):
    """An object in the global frame.

    `position` (2,) [m] is the mean of all sightings while it stands still; `weight` their sum of inverse variances;
    `velocity` (2,) [m/s], None on first sight; `item` the last sighting; `yaw` global [rad]; `unseen` the number of
    samples since; `hits` how many samples showed it.
    """

    item: Hypothesis
    position: np.ndarray
    weight: float
    velocity: Optional[np.ndarray]
    yaw: float
    unseen: int = 0
    hits: int = 1

    @property
    def class_name(self) -> str:
        """The class it was last seen as."""
        return self.item.class_name

    def ahead(self, gap_s: float) -> np.ndarray:
        """Where it is expected after some time."""
        return self.position if self.velocity is None else np.asarray(self.position + self.velocity * gap_s)


class Memory:
    """The tracks of the samples before; a new scene begins with a new one."""

    def __init__(self) -> None:
        self.tracks: List[Track] = []
        self.time_s: Optional[float] = None

    def observe(self, found: Sequence[Hypothesis], ego2global: Dict[str, Any], time_s: float) -> List[Object3D]:
        """The objects with velocities in the ego frame; remembers them for the next sample."""
        rotation = rotation_from_quaternion(ego2global["rotation_wxyz"])[:2, :2]
        origin = np.array(ego2global["translation"][:2], dtype=float)
        turn = math.atan2(rotation[1, 0], rotation[0, 0])
        gap_s = time_s - self.time_s if self.time_s is not None else math.inf
        before = self.tracks if 0.0 < gap_s <= MAX_GAP_S else []
        positions = [origin + rotation @ item.box[[X, Y]] for item in found]
        matches = _match(found, positions, before, gap_s, rotation)
        tracks = []
        for index, (item, position) in enumerate(zip(found, positions)):
            new = Track(item, position, 1.0 / _spread(item) ** 2, None, float(item.box[YAW]) + turn)
            if index in matches:
                track = before[matches[index]]
                new = _updated(track, new, gap_s)._replace(hits=track.hits + 1)
            tracks.append(_doubted(new, HIT_TRUST[min(new.hits, len(HIT_TRUST)) - 1] if before else FIRST_TRUST))
        seen = set(matches.values())
        tracks += [
            _coasted(track, gap_s)
            for index, track in enumerate(before)
            if index not in seen and PRIORS[track.class_name].directed
        ]
        self.tracks, self.time_s = _distinct(tracks), time_s
        return [_in_ego(track, origin, rotation, turn) for track in self.tracks]


def _spread(item: Hypothesis) -> float:
    """How far off a sighting may be [m]: a pixel of height is ever more metres with the distance."""
    return 0.25 + 0.0018 * float(item.box[X] ** 2 + item.box[Y] ** 2)


def _updated(before: Track, new: Track, gap_s: float) -> Track:
    """A track after a new sighting: the mean while it stands still, else the sighting and its speed."""
    moved = new.position - before.position
    velocity = (
        moved / (gap_s * (before.unseen + 1)) if before.velocity is None or before.unseen == 0 else before.velocity
    )
    if before.velocity is not None and np.any(before.velocity):
        velocity = 0.5 * velocity + 0.5 * before.velocity
    tolerance = STILL_M + STILL_SIGMAS * math.hypot(1.0 / math.sqrt(before.weight), 1.0 / math.sqrt(new.weight))
    if np.hypot(*moved) < tolerance and (before.velocity is None or not np.any(before.velocity)):
        weight = before.weight + new.weight
        mean = (before.weight * before.position + new.weight * new.position) / weight
        return new._replace(position=mean, weight=min(weight, MAX_WEIGHT), velocity=np.zeros(2))
    return new._replace(velocity=velocity)


def _coasted(track: Track, gap_s: float) -> Track:
    """A track that this sample does not show: it may be hidden."""
    return _doubted(track, UNSEEN_TRUST)._replace(position=track.ahead(gap_s), unseen=track.unseen + 1)


def _doubted(track: Track, factor: float) -> Track:
    return track._replace(item=track.item._replace(confidence=track.item.confidence * factor))


def _distinct(tracks: Sequence[Track]) -> List[Track]:
    """Drop tracks unseen for too long, of little trust, or where a better one stands."""
    kept: List[Track] = []
    for track in sorted(tracks, key=lambda item: (item.unseen > 0, -item.item.confidence)):
        if track.unseen > MAX_UNSEEN or track.item.confidence < 0.03:
            continue
        if not any(overlapping(o.item, o.position, o.yaw, track.item, track.position) for o in kept):
            kept.append(track)
    return kept


def _in_ego(track: Track, origin: np.ndarray, rotation: np.ndarray, turn: float) -> Object3D:
    """The object in the ego frame; a vehicle that moves points where it goes."""
    velocity = np.zeros(2) if track.velocity is None else track.velocity
    if float(np.hypot(velocity[0], velocity[1])) < STILL_M_S:
        velocity = np.zeros(2)
    box = track.item.box.copy()
    box[[X, Y]] = rotation.T @ (track.position - origin)
    box[YAW] = track.yaw - turn
    heading = np.array([math.cos(track.yaw), math.sin(track.yaw)])
    if PRIORS[track.class_name].directed and float(heading @ velocity) < 0:
        box[YAW] += math.pi
    in_ego = rotation.T @ velocity
    return to_object(track.item._replace(box=box), (float(in_ego[0]), float(in_ego[1])))


def _match(
    found: Sequence[Hypothesis],
    positions: Sequence[np.ndarray],
    tracks: Sequence[Track],
    gap_s: float,
    rotation: np.ndarray,
) -> Dict[int, int]:
    """Object index to track index, cheapest pairs first; vehicles move along their heading more than aside."""
    pairs: List[Tuple[float, int, int]] = []
    for index, (item, position) in enumerate(zip(found, positions)):
        directed = PRIORS[item.class_name].directed
        reach = MAX_SPEED_M_S[directed] * gap_s
        heading = rotation @ np.array([math.cos(item.box[YAW]), math.sin(item.box[YAW])])
        for other, track in enumerate(tracks):
            if track.class_name != item.class_name:
                continue
            moved = position - track.position
            along, aside = abs(float(moved @ heading)), abs(float(moved[0] * heading[1] - moved[1] * heading[0]))
            if along > reach + NOISE_M or (aside > NOISE_M + 0.3 * along if directed else aside > reach + NOISE_M):
                continue
            expected = track.ahead(gap_s)
            pairs.append((float(np.hypot(*(position - expected))) + aside, index, other))
    matches: Dict[int, int] = {}
    taken = set()
    for _, index, other in sorted(pairs):
        if index not in matches and other not in taken:
            matches[index] = other
            taken.add(other)
    return matches
