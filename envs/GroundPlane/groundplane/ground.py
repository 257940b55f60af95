"""What the ground looks like in this frame, and so what stands on it.

A colour is taken for ground if it is common, in several cameras, among the pixels whose rays meet the ground near the
vehicle: an object fills much of one image, hardly ever of three.
"""

import math
from typing import List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from .geometry import Camera, horizon_rows, project

NEAR_M = 16.0
BINS = (32, 64, 64)  # of L, a, b in OpenCV's 8-bit Lab
FADING = 0.9  # of how common a colour is held to be, from sample to sample
GROUND_SHARE = 0.9  # of near pixels that the ground colours must cover


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


def upright_masks(
    views: Sequence[View],
    ranges: Sequence[Ranges],
    paint: Sequence[np.ndarray],
    road: "RoadColours",
    before: Optional[np.ndarray] = None,
) -> Tuple[List[np.ndarray], np.ndarray]:
    """For each view the uint8 mask (0 or 255) of pixels below the horizon that are neither ground colour nor paint.

    `paint` are masks (uint8, not 0 where the road is painted) at the images' sizes. `before` and the second value are
    how common colours are on the ground: what was ground near the vehicle is ground far from it as well.
    """
    labs = road.labs
    near = [(item.depth < NEAR_M) & (flat == 0) for item, flat in zip(ranges, paint)]
    shares = [_histogram(lab, there) for lab, there in zip(labs, near)]
    # A colour that only one or two cameras see may be an object that stands close by.
    rank = min(2, max(0, (len(views) - 1) // 2))
    density = _ranked(shares, rank)
    if before is not None:
        density = np.maximum(density, FADING * before)
    ground_colours = (density > _needed_share(density, road.middle)) | road.bins
    shadow = _neutral_bins(road.middle, WHITE_CHROMA) & (_lightness() < SHADED * road.middle[0])
    looks = (ground_colours * GROUND_LOOK + shadow * SHADOW_LOOK).astype(np.uint8)
    return [_upright_mask(*parts, looks) for parts in zip(views, labs, ranges, paint)], density


def _ranked(shares: Sequence[np.ndarray], rank: int) -> np.ndarray:
    """Of every bin, the share that `rank` of the views exceed."""
    flat = np.stack([share.ravel() for share in shares])
    used = np.flatnonzero(flat.any(axis=0))
    density = np.zeros(flat.shape[1], flat.dtype)
    density[used] = np.sort(flat[:, used], axis=0)[len(shares) - 1 - rank]
    return density.reshape(shares[0].shape)


def _upright_mask(view: View, lab: np.ndarray, item: Ranges, flat: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """One view's mask, worked out below the horizon only. `looks` says of each histogram bin what it can be."""
    mask = np.zeros(flat.shape, np.uint8)
    first = int(np.clip(math.floor(float(item.horizon.min())), 0, flat.shape[0] - 1))
    part, depth = lab[first:], item.depth[first:]
    look = looks[part[..., 0] >> 3, part[..., 1] >> 2, part[..., 2] >> 2]
    ground = (look & GROUND_LOOK > 0) | (flat[first:] > 0) | ~np.isfinite(depth)
    upright = np.where(ground, np.uint8(0), np.uint8(255))
    # Specks go, but the shadow line under a distant car, a pixel or two high, stays.
    solid = np.asarray(cv2.morphologyEx(upright, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    dark = np.where(look & SHADOW_LOOK > 0, upright, np.uint8(0))
    lines = np.asarray(cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((1, 9), np.uint8)))
    bodies = _fill_bodies(np.maximum(solid, lines), depth, float(view.camera.intrinsic[1, 1]))
    mask[first:] = cv2.morphologyEx(bodies, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return mask


def _fill_bodies(upright: np.ndarray, depth: np.ndarray, focal: float) -> np.ndarray:
    """Fill gaps in columns that are no higher than BODY_M at the depth of the upright pixel below them.

    A car in the road's own grey shows only its dark underside and windows; the body is what lies between.
    """
    height = upright.shape[0]
    rows = np.arange(height, dtype=np.int32)[:, None]
    above = np.maximum.accumulate(np.where(upright > 0, rows, np.int32(-1)), axis=0)
    below = np.minimum.accumulate(np.where(upright > 0, rows, np.int32(height))[::-1], axis=0)[::-1]
    at = np.take_along_axis(depth, np.minimum(below, height - 1), axis=0)
    gap_m = (below - above) * at / focal
    bridged = (above >= 0) & (below < height) & (gap_m < BODY_M)
    return np.where(bridged, np.uint8(255), upright)


def to_lab(view: View) -> np.ndarray:
    """The image in 8-bit Lab, slightly smoothed."""
    return np.asarray(cv2.cvtColor(cv2.GaussianBlur(view.image, (3, 3), 0), cv2.COLOR_BGR2Lab))


class RoadColours(NamedTuple):
    """The road's own colour in full light, (L, a, b) in 8-bit Lab, and the histogram bins (bool) it may have.

    `bins` includes shade, `painted` also whatever is brighter in the same hue, as crossings seen from afar are. `labs`
    are the views in Lab.
    """

    middle: np.ndarray
    bins: np.ndarray
    painted: np.ndarray
    labs: List[np.ndarray]


SHADED, BRIGHT = 0.56, 1.22  # of the lit road's lightness; what is darker than any cast shadow is no road
CHROMA_TOLERANCE = 7.0
WHITE_CHROMA = 10.0
WHITE_SHARE = 0.004  # of the near pixels in three cameras
GROUND_LOOK, SHADOW_LOOK = 1, 2  # what a colour can be
ROAD_GREY = 110.0
BODY_M = 1.1  # from a car's underside to its windows


def road_colours(views: Sequence[View]) -> RoadColours:
    """The road's colours in balanced views."""
    labs = [to_lab(view) for view in views]
    middle = _lit_mode(_corridor(views, labs))
    painted = (_lightness() > SHADED * middle[0] - 4) & _neutral_bins(middle)
    return RoadColours(middle, painted & (_lightness() < BRIGHT * middle[0] + 4), painted, labs)


def balance(views: Sequence[View]) -> List[View]:
    """The views with exposure and white balance set so that the lit road is a middle grey, by day and at dusk."""
    blurred = [cv2.GaussianBlur(view.image, (3, 3), 0) for view in views]
    colours = _corridor(views, blurred)
    grey = colours.mean(axis=1)
    lit = _lit_mode(np.column_stack([grey, colours]))
    gain = np.clip(ROAD_GREY / np.maximum(lit[1:], 1.0), 0.3, 6.0)
    table = np.clip(np.arange(256)[:, None] * gain + 0.5, 0, 255).astype(np.uint8)[None]
    return [view._replace(image=cv2.LUT(view.image, table)) for view in views]


def _corridor(views: Sequence[View], pictures: Sequence[np.ndarray]) -> np.ndarray:
    """The pixels (n, 3) of the pictures that show the ground just before and behind the vehicle, which is road."""
    samples = []
    for view, picture in zip(views, pictures):
        pixels, depth = project(view.camera, _corridor_points())
        u, v = np.round(pixels).astype(int).T
        inside = (depth > 1.0) & (u >= 0) & (v >= 0) & (u < picture.shape[1]) & (v < picture.shape[0])
        samples.append(picture[v[inside], u[inside]])
    colours = np.concatenate(samples).astype(float)
    if len(colours) < 30:  # no camera looks ahead or back: what is nearest will do
        colours = np.concatenate([picture[-picture.shape[0] // 8 :].reshape(-1, 3) for picture in pictures]).astype(
            float
        )
    return colours


def _corridor_points() -> np.ndarray:
    """(n, 3) ground points 3 to 14 m before and behind the vehicle, within 1.4 m of its middle line."""
    x = np.concatenate([np.arange(-13.0, -3.0, 0.1), np.arange(4.0, 15.0, 0.1)])
    grid = np.stack(np.meshgrid(x, np.arange(-1.4, 1.45, 0.1), indexing="ij"), axis=-1).reshape(-1, 2)
    return np.column_stack([grid, np.zeros(len(grid))])


def _lit_mode(colours: np.ndarray) -> np.ndarray:
    """The brighter of the common lightnesses (paint is rare), with the median colour there."""
    counts, edges = np.histogram(colours[:, 0], bins=64, range=(0.0, 256.0))
    counts = np.convolve(counts, [1, 2, 1], "same") / 4.0
    peaks = np.flatnonzero(counts > 0.35 * counts.max())
    middle = edges[int(peaks[-1])]
    near = np.abs(colours[:, 0] - middle) < 8
    return np.asarray(np.median(colours[near], axis=0))


def _lightness() -> np.ndarray:
    """The lightness in the middle of every bin, (L bins, 1, 1)."""
    return np.asarray((np.arange(BINS[0]) * 8.0 + 4.0)[:, None, None])


def _needed_share(density: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """The share of the near pixels that a bin needs to be a colour of the ground.

    Kerbs are white and so are many cars: whites are ground only where there is much of them, as on a concrete walkway.
    Greys of the road's hue are judged by the road's own range of lightness alone.
    """
    bright = _lightness() > BRIGHT * middle[0]
    whites = bright & _neutral_bins(middle, WHITE_CHROMA)
    greys = _neutral_bins(middle) & ~bright
    usual = _threshold(np.where(whites | greys, np.float32(0.0), density))
    return np.where(whites, max(WHITE_SHARE, usual), np.where(greys, np.inf, usual))


def _neutral_bins(middle: np.ndarray, tolerance: float = CHROMA_TOLERANCE) -> np.ndarray:
    """Bins whose chroma is the road's, whatever their lightness."""
    chroma = np.arange(BINS[1]) * 4.0 + 2.0
    alike = np.abs(chroma[:, None] - middle[1]) <= tolerance, np.abs(chroma[None] - middle[2]) <= tolerance
    return np.broadcast_to(alike[0] & alike[1], BINS)


def _histogram(lab: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Smoothed colour shares of the near pixels."""
    counts: np.ndarray = cv2.calcHist([lab], [0, 1, 2], near.astype(np.uint8), list(BINS), [0, 256] * 3)
    shares: np.ndarray = counts / np.float32(max(1.0, float(counts.sum())))
    for axis in range(3):
        shares = (np.roll(shares, 1, axis) + 2 * shares + np.roll(shares, -1, axis)) / 4
    return shares


def _threshold(density: np.ndarray) -> float:
    """The density that the most common colours, together GROUND_SHARE of all, exceed."""
    ordered = np.sort(density[density > 0])[::-1]
    if not len(ordered):
        return 0.0
    total = np.cumsum(ordered)
    return float(ordered[min(len(ordered) - 1, int(np.searchsorted(total, GROUND_SHARE * total[-1])))])
