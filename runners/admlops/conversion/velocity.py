"""Velocities of annotated objects from their positions, as nuScenes states them."""

from __future__ import annotations

import math
from collections import defaultdict

from admlops.conversion.frames import Cuboid, SceneFrames

MAX_GAP_S = 1.5
"""Between neighbouring annotations; twice it where there is one on either side."""


def velocities(scene: SceneFrames) -> dict[str, tuple[float, float]]:
    """Return x and y [m/s], global frame, by annotation token: the centred difference of positions; NaN if not known.

    As nuscenes-devkit's `box_velocity`: times are made seconds before they are subtracted.
    """
    tracks: dict[str, list[tuple[int, Cuboid]]] = defaultdict(list)
    for frame in scene.frames:
        for cuboid in frame.cuboids or ():
            tracks[cuboid.track or cuboid.token].append((frame.timestamp_us, cuboid))
    found: dict[str, tuple[float, float]] = {}
    for track in tracks.values():
        for index, (_, cuboid) in enumerate(track):
            first, last = max(index - 1, 0), min(index + 1, len(track) - 1)
            sides = (first != index) + (last != index)
            found[cuboid.token] = _difference(track[first], track[last], allowed_s=MAX_GAP_S * sides)
    return found


def _difference(first: tuple[int, Cuboid], last: tuple[int, Cuboid], *, allowed_s: float) -> tuple[float, float]:
    gap_s = 1e-6 * last[0] - 1e-6 * first[0]
    if gap_s <= 0 or gap_s > allowed_s:
        return (math.nan, math.nan)
    start, end = first[1].center, last[1].center
    return ((end[0] - start[0]) / gap_s, (end[1] - start[1]) / gap_s)
