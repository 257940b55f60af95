"""What the ground looks like in this frame, and so what stands on it.

A colour is taken for ground if it is common, in several cameras, among the pixels whose rays meet the ground near the
vehicle: an object fills much of one image, hardly ever of three.
"""

from typing import List, NamedTuple, Sequence

import cv2
import numpy as np

from .geometry import Camera, horizon_rows

NEAR_M = 16.0
BINS = (32, 64, 64)  # of L, a, b in OpenCV's 8-bit Lab
GROUND_SHARE = 0.93  # of near pixels that the ground colours must cover


class View(NamedTuple):
    """One image (BGR, 8 bits) and its camera at that size."""

    camera: Camera
    image: np.ndarray


class Ranges(NamedTuple):
    """Per pixel depth of the ground along the optical axis [m], infinite above the horizon; the horizon's rows."""

    depth: np.ndarray
    horizon: np.ndarray


def ground_ranges(camera: Camera) -> Ranges:
    """How far away the ground is in every pixel; its inverse is linear in the pixel's coordinates."""
    line = np.linalg.inv(camera.ground_to_pixel)[2].astype(np.float32)
    columns = np.arange(camera.size[0], dtype=np.float32)[None, :]
    rows = np.arange(camera.size[1], dtype=np.float32)[:, None]
    inverse = line[0] * columns + (line[1] * rows + line[2])
    depth = np.where(inverse > 1e-5, 1.0 / np.maximum(inverse, 1e-5), np.float32(np.inf))
    return Ranges(depth, horizon_rows(camera))


def upright_masks(views: Sequence[View], ranges: Sequence[Ranges], paint: Sequence[np.ndarray]) -> List[np.ndarray]:
    """For each view the uint8 mask (0 or 255) of pixels below the horizon that are neither ground colour nor paint.

    `paint` are masks (uint8, not 0 where the road is painted) at the images' sizes.
    """
    labs = [cv2.cvtColor(cv2.GaussianBlur(view.image, (3, 3), 0), cv2.COLOR_BGR2Lab) for view in views]
    shares = [_histogram(lab, (item.depth < NEAR_M) & (flat == 0)) for lab, item, flat in zip(labs, ranges, paint)]
    # A colour that only one or two cameras see may be an object that stands close by.
    rank = min(2, max(0, (len(views) - 1) // 2))
    density = np.partition(shares, len(views) - 1 - rank, axis=0)[len(views) - 1 - rank]
    ground_colours = (density > _threshold(density)).astype(np.uint8)
    masks = []
    for lab, item, flat in zip(labs, ranges, paint):
        common = ground_colours[lab[..., 0] >> 3, lab[..., 1] >> 2, lab[..., 2] >> 2]
        upright = ((common == 0) & (flat == 0) & np.isfinite(item.depth)).astype(np.uint8) * 255
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
    ordered = np.sort(density[density > 0])[::-1]
    if not len(ordered):
        return 0.0
    total = np.cumsum(ordered)
    return float(ordered[min(len(ordered) - 1, int(np.searchsorted(total, GROUND_SHARE * total[-1])))])
