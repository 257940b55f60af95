"""Velocities: objects matched with those of the sample before, in the global frame."""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .geometry import rotation_from_quaternion
from .objects import PRIORS, Hypothesis, to_object
from .records import Object3D
from .silhouette import YAW, X, Y

MAX_GAP_S = 1.6  # older samples say nothing about speed
MAX_SPEED_M_S = {True: 16.0, False: 2.5}  # of classes with a long side (vehicles) and of the others
NOISE_M = 0.9  # how far a standing object's position jumps between samples
STILL_M_S = 1.2  # less is noise
LOST_TRUST = 0.85  # confidence factor of what the sample before did not show


class Track(NamedTuple):
    """An object in the global frame: position (2,) [m], velocity (2,) [m/s] or None on its first sight."""

    class_name: str
    position: np.ndarray
    velocity: Optional[np.ndarray]


class Memory:
    """The tracks of the sample before; a new scene begins with a new one."""

    def __init__(self) -> None:
        self.tracks: List[Track] = []
        self.time_s: Optional[float] = None

    def observe(self, found: Sequence[Hypothesis], ego2global: Dict[str, Any], time_s: float) -> List[Object3D]:
        """The objects with velocities in the ego frame; remembers them for the next sample."""
        rotation = rotation_from_quaternion(ego2global["rotation_wxyz"])[:2, :2]
        origin = np.array(ego2global["translation"][:2], dtype=float)
        positions = [origin + rotation @ item.box[[X, Y]] for item in found]
        gap_s = time_s - self.time_s if self.time_s is not None else math.inf
        usable = bool(self.tracks) and 0.0 < gap_s <= MAX_GAP_S
        matches = _match(found, positions, self.tracks, gap_s, rotation) if usable else {}
        tracks, objects = [], []
        for index, (item, position) in enumerate(zip(found, positions)):
            before = self.tracks[matches[index]] if index in matches else None
            velocity = _velocity(before, position, gap_s) if before is not None else None
            tracks.append(Track(item.class_name, position, velocity))
            trust = 1.0 if before is not None or not usable else LOST_TRUST
            objects.append(_oriented(item._replace(confidence=item.confidence * trust), velocity, rotation))
        self.tracks, self.time_s = tracks, time_s
        return objects


def _match(
    found: Sequence[Hypothesis], positions: Sequence[np.ndarray], tracks: Sequence[Track], gap_s: float, rotation: np.ndarray
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
            expected = track.position if track.velocity is None else track.position + track.velocity * gap_s
            pairs.append((float(np.hypot(*(position - expected))) + aside, index, other))
    matches: Dict[int, int] = {}
    taken = set()
    for _, index, other in sorted(pairs):
        if index not in matches and other not in taken:
            matches[index] = other
            taken.add(other)
    return matches


def _velocity(before: Track, position: np.ndarray, gap_s: float) -> np.ndarray:
    """The move since the sample before, averaged with the velocity it had then; small moves are noise."""
    velocity = (position - before.position) / gap_s
    if before.velocity is not None:
        velocity = 0.5 * velocity + 0.5 * before.velocity
    return np.asarray(velocity if np.hypot(*velocity) > STILL_M_S else np.zeros(2))


def _oriented(item: Hypothesis, velocity: Optional[np.ndarray], rotation: np.ndarray) -> Object3D:
    """The object in the ego frame; a vehicle that moves points where it goes."""
    in_ego = np.zeros(2) if velocity is None else rotation.T @ velocity
    box = item.box.copy()
    heading = np.array([math.cos(box[YAW]), math.sin(box[YAW])])
    if PRIORS[item.class_name].directed and float(heading @ in_ego) < 0:
        box[YAW] += math.pi
    return to_object(item._replace(box=box), (float(in_ego[0]), float(in_ego[1])))
