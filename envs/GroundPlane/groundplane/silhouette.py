"""Boxes against silhouettes: how well a box on the ground explains the upright pixels of one image."""

import math
from typing import NamedTuple, Optional, Tuple

import cv2
import numpy as np

from .geometry import Camera, project

GROUND, UPRIGHT, EXPLAINED = 0, 255, 128
"""Values of an evidence mask: ground, something standing on it, and pixels that an accepted box already covers."""

_CORNERS = np.array([[u, v, w] for u in (-0.5, 0.5) for v in (-0.5, 0.5) for w in (0.0, 1.0)])


class Box(NamedTuple):
    """A box standing on the ground: centre x, y [m], yaw [rad], width, length, height [m]."""

    x: float
    y: float
    yaw: float
    width: float
    length: float
    height: float

    def corners(self) -> np.ndarray:
        """(8, 3) in the ego frame."""
        local = _CORNERS * (self.length, self.width, self.height)
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        rotation = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        return np.asarray(local @ rotation + (self.x, self.y, 0.0))


class Fit(NamedTuple):
    """How a box's outline agrees with the evidence: shares in 0..1.

    `fill`: upright among the new pixels inside; `leak`: upright among those just outside; `pixels`: new pixels
    inside; `whole`: all pixels inside, also the explained ones; `clipped`: the outline leaves the image sideways.
    """

    fill: float
    leak: float
    pixels: int
    whole: int
    clipped: bool

    @property
    def score(self) -> float:
        """1 for a perfect outline."""
        return self.fill - 0.6 * self.leak


def outline(camera: Camera, box: Box) -> Optional[np.ndarray]:
    """The convex outline (n, 2) [pixels], or None if a corner is not in front of the camera."""
    pixels, depth = project(camera, box.corners())
    if float(depth.min()) < 0.5:
        return None
    return np.asarray(cv2.convexHull(pixels.astype(np.float32)))[:, 0]


def raster(hull: np.ndarray, size: Tuple[int, int], margin: int) -> Optional[Tuple[np.ndarray, Tuple[int, int]]]:
    """The outline filled with 1 in a cut-out of the image with `margin` around it, and its (left, top) corner."""
    left, top = np.floor(hull.min(axis=0)).astype(int) - margin
    right, bottom = np.ceil(hull.max(axis=0)).astype(int) + margin + 1
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1])
    if right - left < 3 or bottom - top < 3:
        return None
    patch = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillConvexPoly(patch, np.round(hull - (left, top)).astype(np.int32), 1)
    return patch, (left, top)


def fit(camera: Camera, evidence: np.ndarray, box: Box, horizon: float) -> Optional[Fit]:
    """Compare a box with the evidence mask; above the `horizon` row the background begins and only `fill` counts."""
    hull = outline(camera, box)
    if hull is None:
        return None
    margin = 2 if camera.size[0] < 1000 else 3
    cut = raster(hull, camera.size, margin)
    if cut is None:
        return None
    inside, (left, top) = cut
    view = evidence[top : top + inside.shape[0], left : left + inside.shape[1]]
    around = cv2.dilate(inside, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)) - inside
    around[: max(0, int(horizon) - top)] = 0
    fresh = view != EXPLAINED
    upright = view == UPRIGHT
    body = inside.astype(bool)
    border = around.astype(bool) & fresh
    pixels = int(np.count_nonzero(body & fresh))
    whole = int(np.count_nonzero(body))
    filled = int(np.count_nonzero(body & upright))
    leaked = int(np.count_nonzero(border & upright))
    clipped = bool(hull[:, 0].min() < 0 or hull[:, 0].max() > camera.size[0] - 1)
    leak = leaked / max(1, int(np.count_nonzero(border)))
    return Fit(filled / max(1, pixels), leak, pixels, whole, clipped)
