"""What the ground looks like in this frame, and so what stands on it.

A colour is taken for ground if it is common among the pixels whose rays meet the ground near the vehicle, over all
cameras together: an object fills much of one image, hardly ever of all six.
"""

from typing import List, NamedTuple, Sequence

import cv2
import numpy as np

from .geometry import Camera, ground_points, horizon_rows

NEAR_M = 16.0
BINS = (32, 64, 64)  # of L, a, b in OpenCV's 8-bit Lab
GROUND_SHARE = 0.93  # of near pixels that the ground colours must cover
OWN_WEIGHT = 0.3


class View(NamedTuple):
    """One image (BGR, 8 bits) and its camera at that size."""

    camera: Camera
    image: np.ndarray


class Ranges(NamedTuple):
    """Per pixel ground distance from the camera [m], infinite above the horizon, and the horizon's rows (width,)."""

    distance: np.ndarray
    horizon: np.ndarray


def ground_ranges(camera: Camera) -> Ranges:
    """Where each pixel's ray meets the ground."""
    columns, rows = np.meshgrid(np.arange(camera.size[0]), np.arange(camera.size[1]))
    points = ground_points(camera, np.stack([columns, rows], axis=-1).astype(float))
    distance = np.hypot(points[..., 0] - camera.position[0], points[..., 1] - camera.position[1])
    return Ranges(np.where(np.isfinite(distance), distance, np.inf).astype(np.float32), horizon_rows(camera))


def upright_masks(views: Sequence[View], ranges: Sequence[Ranges]) -> List[np.ndarray]:
    """For each view the uint8 mask (0 or 255) of pixels below the horizon that do not look like ground."""
    labs = [cv2.cvtColor(cv2.GaussianBlur(view.image, (3, 3), 0), cv2.COLOR_BGR2Lab) for view in views]
    own = [_histogram(lab, item.distance < NEAR_M) for lab, item in zip(labs, ranges)]
    common = np.mean(own, axis=0)
    masks = []
    for lab, histogram, item in zip(labs, own, ranges):
        density = np.maximum(common, OWN_WEIGHT * histogram)
        common_colours = (density > _threshold(density)).astype(np.uint8)
        flat = common_colours[lab[..., 0] >> 3, lab[..., 1] >> 2, lab[..., 2] >> 2]
        upright = ((flat == 0) & np.isfinite(item.distance)).astype(np.uint8) * 255
        masks.append(cv2.morphologyEx(upright, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    return masks


def _histogram(lab: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Smoothed colour shares of the near pixels."""
    counts = cv2.calcHist([lab], [0, 1, 2], near.astype(np.uint8), list(BINS), [0, 256] * 3)
    counts /= max(1.0, float(counts.sum()))
    for axis in range(3):
        counts = (np.roll(counts, 1, axis) + 2 * counts + np.roll(counts, -1, axis)) / 4
    return np.asarray(counts)


def _threshold(density: np.ndarray) -> float:
    """The density that the most common colours, together GROUND_SHARE of all, exceed."""
    ordered = np.sort(density, axis=None)[::-1]
    total = np.cumsum(ordered)
    return float(ordered[min(len(ordered) - 1, int(np.searchsorted(total, GROUND_SHARE * total[-1])))])
