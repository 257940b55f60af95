"""Boxes in space as boxes in a picture: the bounds of what a pinhole camera sees of them.

Two rules. `devkit`, that of nuscenes-devkit 1.2 (`scripts/export_2d_annotations_as_json.py`): corners with z ≤ 0 are
dropped, and the bounds are those of the convex hull of the others' projections, cut at the picture's border. A box that
reaches behind the camera comes out too small. `clip`: the box itself is cut at `NEAR_M` in front of the camera, so that
nothing of it is lost. Where all corners lie in front of that plane both give the same. Lens distortion is not applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from admlops.conversion.geometry import EDGES, Matrix

NEAR_M = 0.1
Rule = Literal["clip", "devkit"]
RULES: tuple[Rule, ...] = ("clip", "devkit")


@dataclass(frozen=True, kw_only=True)
class Projected:
    """What is seen of N boxes.

    Attributes:
        rows: (M,) which boxes are seen.
        bounds: (M, 4) x1, y1, x2, y2 [pixels], within the picture.
        share: (M,) the part of the hull that lies within the picture, 0 to 1.
    """

    rows: NDArray[np.intp]
    bounds: Matrix
    share: Matrix


def project(corners: Matrix, intrinsic: Matrix, size: tuple[int, int], *, rule: Rule = "clip") -> Projected:
    """Project the corners (N, 8, 3) of boxes in a camera's frame into its picture of `size`, width and height."""
    points, owner = _visible(corners, rule)
    pixels = points @ intrinsic.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    chosen = _near_canvas(pixels, owner, len(corners), size)
    keep = chosen[owner]
    rows, index = np.unique(owner[keep], return_inverse=True)
    if not len(rows):
        return Projected(rows=rows, bounds=np.zeros((0, 4)), share=np.zeros(0))
    hulls = shapely.convex_hull(shapely.multipoints(pixels[keep], indices=index))
    seen = shapely.intersection(hulls, shapely.box(0, 0, *size))
    is_area = shapely.area(seen) > 0  # what only touches the border is not seen
    share = shapely.area(seen[is_area]) / shapely.area(hulls[is_area])
    return Projected(rows=rows[is_area], bounds=shapely.bounds(seen[is_area]), share=share)


def _visible(corners: Matrix, rule: Rule) -> tuple[Matrix, NDArray[np.intp]]:
    """The points whose projections bound the boxes, and the box of each; never falling."""
    if rule == "devkit":
        owner, place = np.nonzero(corners[:, :, 2] > 0)
        return corners[owner, place], owner
    owner, place = np.nonzero(corners[:, :, 2] > NEAR_M)
    first, last = corners[:, EDGES[:, 0]], corners[:, EDGES[:, 1]]
    cut, edge = np.nonzero((first[:, :, 2] > NEAR_M) != (last[:, :, 2] > NEAR_M))
    one, other = first[cut, edge], last[cut, edge]
    along = (NEAR_M - one[:, 2]) / (other[:, 2] - one[:, 2])
    points = np.concatenate([corners[owner, place], one + along[:, np.newaxis] * (other - one)])
    owners = np.concatenate([owner, cut])
    order = np.argsort(owners, kind="stable")
    return points[order], owners[order]


def _near_canvas(pixels: Matrix, owner: NDArray[np.intp], count: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes' points bound a rectangle that meets the picture, with three points or more: hulls cost time."""
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, owner, pixels)
    np.maximum.at(high, owner, pixels)
    meets = (high > 0).all(axis=1) & (low < np.array(size)).all(axis=1)
    found: NDArray[np.bool_] = meets & (np.bincount(owner, minlength=count) > 2)
    return found
