"""Poses and boxes as matrices. Quaternions are w, x, y, z; lengths are in metres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Matrix = NDArray[np.float64]

_SIGNS = np.array(
    [(1, 1, 1), (1, -1, 1), (1, -1, -1), (1, 1, -1), (-1, 1, 1), (-1, -1, 1), (-1, -1, -1), (-1, 1, -1)], np.float64
)
EDGES = np.array(
    [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)], np.intp
)
"""The corners (12, 2) that each edge of a box joins, by their places in `corners`."""


def rotation_matrices(quaternions: Sequence[Sequence[float]] | Matrix) -> Matrix:
    """The (N, 3, 3) matrices of quaternions (N, 4) of any length but zero."""
    rows = np.asarray(quaternions, np.float64).reshape(-1, 4)
    found: Matrix = Rotation.from_quat(rows[:, [1, 2, 3, 0]]).as_matrix() if len(rows) else np.zeros((0, 3, 3))
    return found


def make_matrix(translation: Sequence[float], rotation_wxyz: Sequence[float]) -> Matrix:
    """The (4, 4) matrix of a pose."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrices([rotation_wxyz])[0]
    matrix[:3, 3] = translation
    return matrix


def invert(matrix: Matrix) -> Matrix:
    """The inverse of a rigid (4, 4) matrix."""
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def split_matrix(matrix: Matrix) -> tuple[tuple[float, float, float], tuple[float, float, float, float]]:
    """Translation and quaternion, with w not below 0, of a rigid (4, 4) matrix."""
    x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True).tolist()
    tx, ty, tz = matrix[:3, 3].tolist()
    return (tx, ty, tz), (w, x, y, z)


def corners(centers: Matrix, sizes_wlh: Matrix, rotations: Matrix) -> Matrix:
    """The corners (N, 8, 3) of boxes: centres (N, 3), width, length, height (N, 3), rotations (N, 3, 3).

    Length lies along a box's own x axis, width along y, height along z; the order is nuscenes-devkit's.
    """
    halves = sizes_wlh[:, [1, 0, 2]] / 2
    own = _SIGNS[np.newaxis] * halves[:, np.newaxis]
    found: Matrix = np.einsum("nij,nkj->nki", rotations, own) + centers[:, np.newaxis]
    return found
