"""Where things touch the ground: a virtual scan of the bottom edges of upright regions.

Each image column is a ray. The lowest pixels of what stands on the ground give the distances at which the rays meet
it, so the scan is read like one of a planar laser: it breaks into segments where the distance jumps.
"""

from typing import List, NamedTuple

import cv2
import numpy as np

from .geometry import Camera, ground_points

MAX_RANGE_M = 56.0
MIN_COLUMNS = 3


class Contact(NamedTuple):
    """A piece of the scan: pixel columns (n,), the row below the lowest upright pixel (n,), ground points (n, 2)
    in metres and the topmost row of the run above each contact (n,)."""

    columns: np.ndarray
    rows: np.ndarray
    points: np.ndarray
    tops: np.ndarray


def scan(camera: Camera, upright: np.ndarray) -> List[Contact]:
    """The segments of every connected upright region (mask, uint8), nearest first."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((upright > 0).astype(np.uint8), connectivity=8)
    segments: List[Contact] = []
    for index in range(1, count):
        left, top, width, height, area = stats[index]
        if width < MIN_COLUMNS or area < 12:
            continue
        region = labels[top : top + height, left : left + width] == index
        segments += _segments_of_region(camera, region, left, top)
    return sorted(segments, key=nearest)


def nearest(segment: Contact) -> float:
    """The least distance [m] of a segment's points."""
    return float(np.min(np.hypot(segment.points[:, 0], segment.points[:, 1])))


def _segments_of_region(camera: Camera, region: np.ndarray, left: int, top: int) -> List[Contact]:
    """Split a region's lower edge where the distance jumps."""
    height = region.shape[0]
    columns = np.arange(region.shape[1])
    rows = height - 1 - np.argmax(region[::-1], axis=0)
    filled = np.logical_not(region)
    above = np.where(np.arange(height)[:, None] <= rows, filled, False)
    tops = np.where(above.any(axis=0), height - np.argmax(above[::-1], axis=0), 0)
    pixels = np.stack([columns + left, rows + top + 0.5], axis=-1).astype(float)
    points = ground_points(camera, pixels)
    reach = np.hypot(points[:, 0] - camera.position[0], points[:, 1] - camera.position[1])
    usable = np.isfinite(reach) & (reach < MAX_RANGE_M) & (rows + top < camera.size[1] - 1)
    pieces = _split(reach, usable, camera)
    return [
        Contact(columns[piece] + left, rows[piece] + top + 1, points[piece], tops[piece] + top)
        for piece in pieces
        if len(piece) >= MIN_COLUMNS
    ]


def _split(reach: np.ndarray, usable: np.ndarray, camera: Camera) -> List[np.ndarray]:
    """Index ranges of usable columns without a jump. A pixel of height is reach^2 / (f h) metres of distance."""
    pixel_m = reach**2 / (camera.intrinsic[1, 1] * camera.position[2])
    jump = np.abs(np.diff(reach)) > 0.8 + 2.5 * np.minimum(pixel_m[1:], pixel_m[:-1])
    breaks = np.flatnonzero(jump | ~usable[1:] | ~usable[:-1]) + 1
    return [piece for piece in np.split(np.arange(len(reach)), breaks) if usable[piece].all()]
