"""The bird's-eye view: every camera warped onto the ground plane and joined by how well each sees a place.

Inverse perspective mapping: Mallot et al., "Inverse perspective mapping simplifies optical flow computation and
obstacle detection", Biological Cybernetics 64, 1991.
"""

from typing import NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from .geometry import MIN_DEPTH_M, Camera, horizon_rows


class Grid(NamedTuple):
    """A raster on the ground: row 0 is the farthest forward, column 0 the farthest left; `cell` in metres.

    `front` and `left` are the ego coordinates of the outer corner of cell (0, 0).
    """

    front: float
    left: float
    rows: int
    columns: int
    cell: float

    @classmethod
    def around(cls, center: Tuple[float, float], reach: Tuple[float, float], cell: float) -> "Grid":
        """The grid of +-reach[0] forward and +-reach[1] sideways around `center`."""
        rows, columns = round(2 * reach[0] / cell), round(2 * reach[1] / cell)
        return cls(center[0] + reach[0], center[1] + reach[1], rows, columns, cell)

    @property
    def cell_to_ground(self) -> np.ndarray:
        """3x3 matrix from (column, row, 1) of a cell's centre to (x, y, 1) [m]."""
        half = self.cell / 2
        return np.array([[0.0, -self.cell, self.front - half], [-self.cell, 0.0, self.left - half], [0.0, 0.0, 1.0]])

    def to_ground(self, cells: np.ndarray) -> np.ndarray:
        """(x, y) [m] of cells given as (column, row), shape (..., 2)."""
        matrix = self.cell_to_ground
        return np.asarray(cells @ matrix[:2, :2].T + matrix[:2, 2])

    def to_cells(self, points: np.ndarray) -> np.ndarray:
        """(column, row), not rounded, of ground points (..., 2) [m]."""
        half = self.cell / 2
        column = (self.left - half - points[..., 1]) / self.cell
        row = (self.front - half - points[..., 0]) / self.cell
        return np.stack([column, row], axis=-1)

    def centers(self) -> Tuple[np.ndarray, np.ndarray]:
        """x of every row (rows,) and y of every column (columns,) [m]."""
        x = self.front - (np.arange(self.rows) + 0.5) * self.cell
        y = self.left - (np.arange(self.columns) + 0.5) * self.cell
        return x, y


class BirdsEye(NamedTuple):
    """The joined view. `image` rows x columns x 3 (float32), `seen` the cells some camera sees (bool),
    `density` how many image pixels cover a metre across the line of sight and along it, whichever is fewer."""

    grid: Grid
    image: np.ndarray
    seen: np.ndarray
    density: np.ndarray


class Warp(NamedTuple):
    """One camera's image on the grid and its pixel density there."""

    image: np.ndarray
    density: np.ndarray


def warp(camera: Camera, image: np.ndarray, grid: Grid, flags: int = cv2.INTER_LINEAR) -> np.ndarray:
    """An image on the ground grid. Cells that the camera does not see hold anything: `pixel_density` is 0 there."""
    homography = camera.ground_to_pixel @ grid.cell_to_ground
    size = (grid.columns, grid.rows)
    return np.asarray(cv2.warpPerspective(image, homography, size, flags=flags | cv2.WARP_INVERSE_MAP))


def pixel_density(camera: Camera, grid: Grid) -> np.ndarray:
    """How many pixels cover a metre of ground along the line of sight [1/m], float32; 0 where the camera is blind."""
    homography = (camera.ground_to_pixel @ grid.cell_to_ground).astype(np.float32)
    column = np.arange(grid.columns, dtype=np.float32)[None, :]
    row = np.arange(grid.rows, dtype=np.float32)[:, None]
    u, v, depth = (homography[i, 0] * column + (homography[i, 1] * row + homography[i, 2]) for i in range(3))
    width, height = camera.size
    visible = (depth > MIN_DEPTH_M) & (u >= 0) & (v >= 0) & (u <= (width - 1) * depth) & (v <= (height - 1) * depth)
    # Across the line of sight it is f / d, along it f h / d^2, which is fewer.
    density = np.float32(camera.intrinsic[1, 1] * camera.position[2]) / np.maximum(depth, MIN_DEPTH_M) ** 2
    return np.where(visible, density, np.float32(0.0))


def unwarp(camera: Camera, raster: np.ndarray, grid: Grid) -> np.ndarray:
    """A mask on the ground grid (uint8) as the camera sees it; 0 above the horizon and beyond the grid."""
    homography = camera.ground_to_pixel @ grid.cell_to_ground
    seen = cv2.warpPerspective(raster, homography, camera.size, flags=cv2.INTER_NEAREST)
    above = np.arange(camera.size[1])[:, None] <= horizon_rows(camera)[None] + 1
    seen[above] = 0  # the inverse map sends rays above the horizon behind the camera
    return np.asarray(seen)


def join(grid: Grid, warps: Sequence[Warp], masks: Sequence[Optional[np.ndarray]]) -> BirdsEye:
    """One view of all cameras; where a mask on the grid (uint8) is not 0, its camera sees something upright."""
    total = np.zeros((grid.rows, grid.columns, 3), np.float32)
    weight = np.zeros((grid.rows, grid.columns), np.float32)
    best = np.zeros((grid.rows, grid.columns), np.float32)
    for warped, mask in zip(warps, masks):
        density = warped.density if mask is None else np.where(mask > 0, np.float32(0.0), warped.density)
        rows, columns = np.flatnonzero(density.any(axis=1)), np.flatnonzero(density.any(axis=0))
        if not len(rows):
            continue
        part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        share = density[part] ** 2  # where two cameras overlap the sharper one decides
        total[part] += warped.image[part] * share[..., None]
        weight[part] += share
        np.maximum(best[part], density[part], out=best[part])
    image = total / np.maximum(weight, 1e-12)[..., None]
    return BirdsEye(grid, image, weight > 0, best)
