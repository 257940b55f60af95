"""Boxes against silhouettes: how well boxes on the ground explain the upright pixels of one image.

Boxes go in batches: an array (n, 6) of x, y [m], yaw [rad], width, length, height [m]. Where a box's outline crosses
a pixel column, the rows between are counted with sums over columns made beforehand, so a box costs microseconds.
"""

import math
from typing import NamedTuple, Tuple

import cv2
import numpy as np

from .geometry import Camera

GROUND, UPRIGHT, EXPLAINED = 0, 255, 128
"""Values of an evidence mask: ground, something standing on it, and pixels that an accepted box already covers."""

X, Y, YAW, WIDTH, LENGTH, HEIGHT = range(6)
NEAREST_M = 0.5
CLEARANCE_M = 0.11
BODY_SHARE = 0.8  # of a vehicle's height: above it cabins taper, and many a bonnet ends
SAMPLED_COLUMNS = 16
SIDE_SLACK_M = 0.5  # a truck is wider than the car it was first taken for
EDGE_STEP = 30  # grey levels over two pixels
LEVEL_STEP = 24
USUAL_EDGE = 0.4
DARK = 45  # of 255, where the lit road is GREY: no road is as dark, what lies beneath a vehicle is
MIN_SHADE_PIXELS = 7
SHADE_M = 0.4  # up to where there is shade beneath a vehicle, or tyres
RING = 3  # pixels beside the outline that should show ground

_CORNERS = np.array([[u, v, w] for u in (-0.5, 0.5) for v in (-0.5, 0.5) for w in (0.0, 1.0)])
_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1])


class Fits(NamedTuple):
    """How n boxes agree with the evidence, arrays (n,). Shares are in 0..1.

    `fill`: upright among the pixels inside that no other box explains; `leak`: upright among those just outside;
    `fresh`: the share of the inside that no other box explains; `pixels`: the size of that part; `shown`: the share
    of the outline's width inside the image; `edged`: how much of its left and right ends are upright edges in the
    picture, USUAL_EDGE for ends outside it; `shaded`: the share of its lower edge that is dark just above it, less the
    share that is dark just below it. A box behind the camera has `pixels` 0.
    """

    fill: np.ndarray
    leak: np.ndarray
    fresh: np.ndarray
    pixels: np.ndarray
    shown: np.ndarray
    edged: np.ndarray
    shaded: np.ndarray


class Looks(NamedTuple):
    """What a box's pixels look like, shares in 0..1: `shaded` of its lower edge is as dark as the shade and tyres
    beneath a vehicle are, `level` of its inside are edges that run level, as bumpers, bonnets and windows do."""

    shaded: float
    level: float


class Evidence:
    """An evidence mask with its column sums. `horizon` is the row above which the background begins."""

    def __init__(self, camera: Camera, upright: np.ndarray, horizon: float, image: np.ndarray) -> None:
        self.camera = camera
        self.mask = upright.copy()
        self.horizon = horizon
        to_camera = np.column_stack([camera.rotation.T, -camera.rotation.T @ camera.position])
        self._projection = camera.intrinsic @ to_camera
        height, width = upright.shape
        self._upright = np.zeros((height + 1, width), np.int32)
        self._fresh = np.zeros((height + 1, width), np.int32)
        self._solid = np.zeros((height + 1, width), np.int32)
        self._sum_columns(0, width)
        self._image = cv2.GaussianBlur(image, (3, 3), 0)
        self._dark, self._level = self._sum_looks()
        self._edges = self._sum_edges()

    def _sum_edges(self) -> np.ndarray:
        """Column sums of pixels beside an upright edge."""
        height, width = self.mask.shape
        first = int(np.clip(self.horizon - 1, 0, height - 1))
        steps = np.zeros((height - first, width), np.uint8)
        part = self._image[first:]
        steps[:, 1:-1] = _brightest(cv2.absdiff(part[:, 2:], part[:, :-2]))
        edges = cv2.dilate((steps > EDGE_STEP).astype(np.uint8), np.ones((1, 3), np.uint8))
        sums = np.zeros((height + 1, width), np.int32)
        np.cumsum(edges, axis=0, out=sums[first + 1 :])
        return sums

    def _sum_looks(self) -> Tuple[np.ndarray, np.ndarray]:
        """Column sums of what is dark and of level edges, below the horizon."""
        height, width = self.mask.shape
        first = int(np.clip(self.horizon - 1, 1, height - 1))
        part = self._image[first - 1 :]
        steps = cv2.absdiff(part[2:], part[:-2])
        level = np.zeros((height + 1, width), np.int32)
        dark = np.zeros((height + 1, width), np.int32)
        np.cumsum(_brightest(steps) > LEVEL_STEP, axis=0, out=level[first + 1 : height])
        level[height] = level[height - 1]
        np.cumsum(_brightest(part[1:]) < DARK, axis=0, out=dark[first + 1 :])
        return dark, level

    @property
    def shade(self) -> np.ndarray:
        """Mask (uint8) of what is dark, and wide enough for a vehicle's underside, below the horizon."""
        dark = np.diff(self._dark, axis=0).astype(np.uint8)
        return np.asarray(cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((1, MIN_SHADE_PIXELS), np.uint8)))

    def looks(self, box: np.ndarray) -> Looks:
        """What a vehicle's box (6,) looks like."""
        body = box.copy()[None]
        body[0, HEIGHT] *= BODY_SHARE
        pixels, depth = self._project(body)
        height, width = self.mask.shape
        u, v = pixels[..., 0], pixels[..., 1]
        first, last = max(0, math.ceil(float(u.min()))), min(width - 1, math.floor(float(u.max())))
        if depth.min() < NEAREST_M or last <= first:
            return Looks(0.0, 0.0)
        column = np.arange(first, last + 1)
        top, bottom = _outline_rows(u, v, column[None].astype(float))
        shown = np.isfinite(bottom[0])
        column, top, bottom = column[shown], top[0][shown], bottom[0][shown]
        if not len(column):
            return Looks(0.0, 0.0)
        lowest = np.clip(bottom.astype(int), 0, height - 3)
        band = int(SHADE_M * self.camera.intrinsic[1, 1] / float(depth.min())) + 1
        shaded = self._dark[lowest + 3, column] > self._dark[np.maximum(lowest - band, 0), column]
        upper = np.clip(np.maximum(top, self.horizon), 0, lowest).astype(int)
        level = (self._level[lowest, column] - self._level[upper, column]).sum()
        return Looks(float(shaded.mean()), float(level / max(1, (lowest - upper).sum())))

    def height_of(self, box: np.ndarray, limits: Tuple[float, float]) -> float:
        """The height [m] at which a box (6,) has its roof, if between `limits` there is one: a level edge over its
        whole width, and upright edges from the horizon to it at both sides. Else 0."""
        tall = box.copy()[None]
        tall[0, HEIGHT] = limits[1]
        pixels, depth = self._project(tall)
        left, right = int(pixels[0, :, 0].min()), int(pixels[0, :, 0].max())
        metre = self.camera.intrinsic[1, 1] / max(NEAREST_M, float(depth.min()))
        horizon = int(np.clip(self.horizon, 0, self.mask.shape[0]))
        first, last = (int(horizon - (limit - self.camera.position[2]) * metre) for limit in limits[::-1])
        slack = max(3, int(SIDE_SLACK_M * metre))
        start, end = left - slack - 1, right + slack + 2
        if depth.min() < NEAREST_M or first < 2 or start < 0 or end > self.mask.shape[1] or last - first < 3:
            return 0.0
        part = self._image[first - 1 : horizon, start:end].astype(np.int16)
        level = np.abs(part[2:] - part[:-2]).max(axis=-1)[:, slack + 3 : -slack - 3] > EDGE_STEP
        level = level[:-1] | level[1:]  # a row's slack for roofs that are not quite level
        rows = level[: last - first].mean(axis=1)
        roof = int(np.argmax(rows))
        if rows[roof] < 0.75:
            return 0.0
        upright = np.abs(part[:, 2:] - part[:, :-2]).max(axis=-1)[roof + 3 :] > EDGE_STEP
        straight = upright.mean(axis=0)  # of every column, how much of it is an edge
        if min(straight[: 2 * slack].max(), straight[-2 * slack :].max()) < 0.8:
            return 0.0
        return float(self.camera.position[2] + (horizon - first - roof) / metre)

    def explain(self, box: np.ndarray) -> None:
        """Mark what a box (6,) covers, and a pixel around it, as explained."""
        pixels, depth = self._project(box[None])
        if depth.min() < NEAREST_M:
            return
        width = self.camera.size[0]
        inside = np.zeros(self.mask.shape, np.uint8)
        hull = cv2.convexHull(np.clip(pixels[0], -20000, 20000).astype(np.float32))
        cv2.fillConvexPoly(inside, np.round(hull).astype(np.int32), 1)
        grown = np.asarray(cv2.dilate(inside, np.ones((5, 3), np.uint8)))
        self.mask[grown > 0] = EXPLAINED
        left, right = pixels[0, :, 0].min() - 3, pixels[0, :, 0].max() + 4
        self._sum_columns(int(np.clip(left, 0, width)), int(np.clip(right, 0, width)))

    def fit(self, boxes: np.ndarray) -> Fits:
        """Compare boxes (n, 6) with the mask."""
        bodies = boxes.copy()
        bodies[:, HEIGHT] *= np.where(boxes[:, LENGTH] > 1.2, BODY_SHARE, 1.0)
        pixels, depth = self._project(bodies)
        ahead = depth.min(axis=1) > NEAREST_M
        height, width = self.mask.shape
        u, v = pixels[..., 0], pixels[..., 1]
        left, right = u.min(axis=1), u.max(axis=1)
        first, last = np.clip(left, 0, width - 1), np.clip(right, 0, width - 1)
        columns = first[:, None] + (last - first)[:, None] * ((np.arange(SAMPLED_COLUMNS) + 0.5) / SAMPLED_COLUMNS)
        top, bottom = _outline_rows(u, v, columns)
        column = np.clip(columns.astype(int), 0, width - 1)
        upper = np.clip(np.round(np.where(np.isfinite(top), top, 0)), 0, height).astype(int)
        lower = np.clip(np.round(np.where(np.isfinite(bottom), bottom, 0)) + 1, 0, height).astype(int)
        # The mask ends at the horizon, so only what lies below it counts.
        upper = np.maximum(upper, int(np.clip(self.horizon + 1, 0, height)))
        lower = np.maximum(upper, lower)
        inside_fresh = self._count(self._fresh, upper, lower, column).sum(axis=1)
        inside_upright = self._count(self._upright, upper, lower, column).sum(axis=1)
        area = (lower - upper).sum(axis=1)
        leak = self._leak(column, upper, lower, left, right, boxes[:, LENGTH] > 1.2)
        edged = self._edged(upper, lower, left, right)
        shaded = self._shaded(lower, column, self.camera.intrinsic[1, 1] / np.maximum(depth.min(axis=1), NEAREST_M))
        step = (last - first) / SAMPLED_COLUMNS
        good = ahead & (area > 0) & (last > first)
        fresh = np.where(good, inside_fresh / np.maximum(area, 1), 0.0)
        fill = np.where(good, inside_upright / np.maximum(inside_fresh, 1), 0.0)
        shown = (last - first) / np.maximum(right - left, 1e-6)
        return Fits(fill, leak, fresh, np.where(good, inside_fresh * step, 0.0), shown, edged, shaded)

    def _shaded(self, lower: np.ndarray, column: np.ndarray, metre: np.ndarray) -> np.ndarray:
        """Shade above the lower edges (n, m) less shade below them; `metre` is how many pixels a metre has (n,)."""
        height = self.mask.shape[0]
        band = (SHADE_M * metre).astype(int)[:, None] + 1
        above = self._count(self._dark, np.maximum(lower - band, 0), np.minimum(lower + 1, height), column) > 0
        start = np.minimum(lower + 2, height)
        below = self._count(self._dark, start, np.minimum(start + np.maximum(2, band // 2), height), column) > 0
        return np.asarray(above.mean(axis=1) - below.mean(axis=1))

    def _edged(self, upper: np.ndarray, lower: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """The mean over both ends of the share of their rows that lie on an upright edge."""
        width = self.mask.shape[1]
        total = np.zeros(len(left))
        for edge, place in ((left, 0), (right, -1)):
            column = np.clip(np.round(edge), 0, width - 1).astype(int)
            count = self._edges[lower[:, place], column] - self._edges[upper[:, place], column]
            share = count / np.maximum(lower[:, place] - upper[:, place], 1)
            total += np.where((edge > 2) & (edge < width - 3), share, USUAL_EDGE)
        return np.asarray(total / 2)

    def _leak(
        self,
        column: np.ndarray,
        upper: np.ndarray,
        lower: np.ndarray,
        left: np.ndarray,
        right: np.ndarray,
        crowded: np.ndarray,
    ) -> np.ndarray:
        """Upright share of the strips below, above (under the horizon only), left and right of the outlines.

        What other boxes explain is left out where `crowded`, for cars queue and overlap; else it counts as well.
        """
        height, width = self.mask.shape
        below = np.minimum(lower + 1, height), np.minimum(lower + 1 + RING, height)
        limit = int(np.clip(self.horizon + RING, 0, height))
        roof = np.maximum(upper - RING, limit), np.maximum(upper, limit)
        strips = [(column, *below, 0.4), (column, *roof, 0.2)]
        for edge, place in ((left - RING, 0), (right + RING, -1)):
            within = ((edge >= 0) & (edge < width))[:, None]
            at = np.clip(edge, 0, width - 1).astype(int)[:, None]
            # Higher up the background may be upright as well: a wall, or the next car.
            start = np.maximum((upper[:, [place]] + lower[:, [place]]) // 2, limit)
            strips.append((at, start, np.where(within, np.maximum(lower[:, [place]], start), start), 0.3))
        leak = np.zeros(len(column))
        for at, start, end, weight in strips:
            end = np.maximum(start, end)
            upright = self._count(self._upright, start, end, at).sum(axis=1)
            fresh = self._count(self._fresh, start, end, at).sum(axis=1)
            solid = self._count(self._solid, start, end, at).sum(axis=1)
            size = np.maximum((end - start).sum(axis=1), 1)
            leak += weight * np.where(crowded, upright / np.maximum(fresh, 1), solid / size)
        return leak

    @staticmethod
    def _count(sums: np.ndarray, start: np.ndarray, end: np.ndarray, column: np.ndarray) -> np.ndarray:
        return np.asarray(sums[end, column] - sums[start, column])

    def _sum_columns(self, first: int, last: int) -> None:
        part = self.mask[:, first:last]
        np.cumsum(part == UPRIGHT, axis=0, out=self._upright[1:, first:last])
        np.cumsum(part != EXPLAINED, axis=0, out=self._fresh[1:, first:last])
        np.cumsum(part != GROUND, axis=0, out=self._solid[1:, first:last])

    def _project(self, boxes: np.ndarray) -> "tuple[np.ndarray, np.ndarray]":
        """Pixels (n, 8, 2) and depths (n, 8) of the corners."""
        homogeneous = corners_of(boxes, clearance_of(boxes)) @ self._projection[:, :3].T + self._projection[:, 3]
        depth = homogeneous[..., 2]
        return homogeneous[..., :2] / np.maximum(depth, 0.05)[..., None], depth


def _brightest(image: np.ndarray) -> np.ndarray:
    """The greatest of each pixel's three channels."""
    blue, green, red = cv2.split(image)
    return np.asarray(cv2.max(cv2.max(blue, green), red))


def clearance_of(boxes: np.ndarray) -> np.ndarray:
    """(n,) height [m] above the ground at which boxes begin to differ from it: under a vehicle lies its shadow."""
    distance = np.hypot(boxes[:, X], boxes[:, Y])
    return np.where(boxes[:, LENGTH] > 1.2, clearance_at(distance), 0.0)


def clearance_at(distance: np.ndarray) -> np.ndarray:
    """The same for a vehicle at a distance [m]: close by, its tyres and the edge of its shadow can be told apart."""
    return np.asarray(CLEARANCE_M * np.clip(distance / 18.0, 0.15, 1.0))


def corners_of(boxes: np.ndarray, clearance: np.ndarray) -> np.ndarray:
    """(n, 8, 3) corners of boxes (n, 6), the lower ones at a height (n,), in the ego frame [m]."""
    local = _CORNERS[None] * boxes[:, None, [LENGTH, WIDTH, HEIGHT]]
    local[..., 2] = np.maximum(local[..., 2], clearance[:, None])
    cosine, sine = np.cos(boxes[:, YAW])[:, None], np.sin(boxes[:, YAW])[:, None]
    x = boxes[:, X, None] + cosine * local[..., 0] - sine * local[..., 1]
    y = boxes[:, Y, None] + sine * local[..., 0] + cosine * local[..., 1]
    return np.stack([x, y, local[..., 2]], axis=-1)


def _outline_rows(u: np.ndarray, v: np.ndarray, columns: np.ndarray) -> "tuple[np.ndarray, np.ndarray]":
    """Top and bottom row of the outlines at columns (n, m): the extremes over the twelve edges (u, v are (n, 8))."""
    start_u, start_v = u[:, _EDGES[:, 0], None], v[:, _EDGES[:, 0], None]
    delta_u, delta_v = u[:, _EDGES[:, 1], None] - start_u, v[:, _EDGES[:, 1], None] - start_v
    steep = np.abs(delta_u) < 1e-6
    share = (columns[:, None, :] - start_u) / np.where(steep, 1.0, delta_u)
    crossed = (share >= 0) & (share <= 1) & ~steep
    rows = start_v + share * delta_v
    return np.where(crossed, rows, np.inf).min(axis=1), np.where(crossed, rows, -np.inf).max(axis=1)
