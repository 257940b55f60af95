"""The LiDAR's points in a sample's pictures: seen from above, and over what the cameras see.

They are drawn for networks that look at LiDAR. Few enough are taken that a page stays small, one a voxel, so that what
is far away and has few points loses none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import DataError
from admlops.datasets.nuscenes.sweeps import sweep_in_ego
from admlops.reports.geometry import NEAR_M, Points, project, to_camera
from admlops.reports.scene_view import BOX_RANGE_M, SceneView

VOXELS_M = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
MOST_DRAWN = 3000
"""Points of a sample's pictures: some 40 kB of a page in each view."""
BANDS_M = (0.0, 15.0, 30.0, np.inf)
"""Distances from the camera within which points have one colour."""
BAND_COLOURS = ("#f0e442", "#56b4e9", "#cc79a7")
"""Of the points over a camera's picture, the nearest first: from Okabe and Ito's palette."""
ABOVE_COLOUR = "#9aa3ad"


def with_points(view: SceneView, *, most: int = MOST_DRAWN) -> SceneView:
    """The view with the points of its sample's LiDAR; a sweep that cannot be read becomes one of its notes."""
    if view.sample is None or not view.sample.get("lidar", {}).get("path"):
        return view
    try:
        points, _ = sweep_in_ego(view.sample["lidar"])
    except DataError as error:
        note = f"LiDAR points are left out: {error.message}. Next: {error.hint}"
        return replace(view, notes=tuple(dict.fromkeys((*view.notes, note))))
    near = points[np.hypot(points[:, 0], points[:, 1]) < 1.5 * BOX_RANGE_M]
    return replace(view, points=near[thin(near, most=most)])


def thin(points: NDArray[np.float64], *, most: int) -> NDArray[np.intp]:
    """The indices, ascending, of at most `most` points (N, 3) [m], the same each time.

    Points are taken one a voxel, the smallest voxels that leave few enough: the dense ground nearby loses most, a
    distant object that has few points loses none.
    """
    kept = np.arange(len(points))
    for voxel_m in VOXELS_M:
        if len(kept) <= most:
            return kept
        cells = np.floor(points / voxel_m).astype(np.int64) + (1 << 20)
        keys = (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
        kept = np.sort(np.unique(keys, return_index=True)[1])
    return kept[np.linspace(0, len(kept) - 1, min(most, len(kept))).astype(np.intp)]


def project_points(view: SceneView, camera: Mapping[str, Any]) -> Iterator[tuple[str, Points]]:
    """The points over a camera's picture, by the colour of their distance: pixels (N, 2).

    Raises:
        DataError: the calibration is unusable.
    """
    if view.points is None or view.sample is None:
        return
    inside = to_camera(view.points, ego2global=view.sample["ego2global"], camera=camera)
    inside = inside[inside[:, 2] > NEAR_M]
    pixels = project(inside, camera["intrinsic"]) if len(inside) else inside[:, :2]
    there = ((pixels >= 0) & (pixels < [camera["width"], camera["height"]])).all(axis=1)
    pixels, depths = pixels[there], inside[there, 2]
    for colour, nearest, farthest in zip(BAND_COLOURS, BANDS_M[:-1], BANDS_M[1:], strict=True):
        band = pixels[(depths >= nearest) & (depths < farthest)]
        if len(band):
            yield colour, band


def dots(pixels: Points, *, digits: int) -> str:
    """The path of an SVG that has a dot at each point: lines without length, which round ends make visible."""
    return "".join(f"M{x:.{digits}f} {y:.{digits}f}h0" for x, y in pixels)
