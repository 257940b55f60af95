"""Projection: a known box falls on known pixels, and what is behind the camera is cut away."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reports.fabricate import FOCAL, HEIGHT, WIDTH, FakeData, make_data, yaw_quaternion

from admlops.core.errors import DataError
from admlops.reports.geometry import box_corners, clip_polyline, clip_segment, on_picture, project, to_camera

coordinate = st.floats(-60, 60)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FakeData:
    return make_data(tmp_path_factory.mktemp("data"))


def test_corners_go_around_the_bottom_and_then_the_top() -> None:
    corners = box_corners((10, 20, 1), (2, 4, 1.5), yaw_quaternion(0))
    assert corners[:4].tolist() == [[12, 21, 0.25], [12, 19, 0.25], [8, 19, 0.25], [8, 21, 0.25]]
    assert corners[4:].tolist() == [[12, 21, 1.75], [12, 19, 1.75], [8, 19, 1.75], [8, 21, 1.75]]


def test_a_turned_box_has_its_length_along_its_heading() -> None:
    corners = box_corners((0, 0, 0), (2, 4, 1), yaw_quaternion(90))
    assert np.allclose(corners[:2].mean(axis=0), [0, 2, -0.5])  # the front looks along y


def test_a_known_box_falls_on_known_pixels(data: FakeData) -> None:
    """The front camera is at x 1.7 and 1.5 m high; a corner 10 m ahead of it, 1 m left, on the ground."""
    sample = data.sample("token-000")
    front = sample["cameras"]["CAM_FRONT"]
    corner = to_camera([[11.7, 1.0, 0.0]], ego2global=sample["ego2global"], camera=front)
    assert np.allclose(corner, [[-1.0, 1.5, 10.0]])
    assert np.allclose(project(corner, front["intrinsic"]), [[WIDTH / 2 - FOCAL / 10, HEIGHT / 2 + FOCAL * 1.5 / 10]])


def test_the_ego_motion_between_lidar_and_camera_counts(data: FakeData) -> None:
    """When the camera fires, the vehicle has moved 2 m along global y, which is forward."""
    sample = data.sample("token-000")
    moved = {**sample["cameras"]["CAM_FRONT"], "ego2global": {**sample["ego2global"], "translation": [100, 202, 0]}}
    assert np.allclose(to_camera([[11.7, 0, 1.5]], ego2global=sample["ego2global"], camera=moved), [[0, 0, 8]])


def test_a_segment_is_cut_at_the_near_plane() -> None:
    kept = clip_segment(np.array([0.0, 0.0, -1.0]), np.array([4.0, 2.0, 3.0]), near_m=1.0)
    assert kept is not None
    assert np.allclose(kept[0], [2, 1, 1])
    assert np.allclose(kept[1], [4, 2, 3])
    assert clip_segment(np.array([0.0, 0.0, -1.0]), np.array([1.0, 1.0, 0.4])) is None


@given(st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=2, max_size=8))
def test_nothing_behind_the_near_plane_is_left(points: list[tuple[float, float, float]]) -> None:
    pieces = clip_polyline(np.array(points), near_m=0.5)
    assert all(piece[:, 2].min() >= 0.5 - 1e-9 for piece in pieces)
    in_front = sum(z >= 0.5 for _, _, z in points)
    kept = {tuple(point) for piece in pieces for point in piece.tolist()}
    alone = len({p for p in points if p[2] >= 0.5} - kept)
    assert alone == 0 or in_front < 2 or pieces  # a vertex in front with both neighbours in front is never lost


def test_a_polyline_that_dips_behind_the_camera_comes_back_in_two_pieces() -> None:
    path = np.array([[0.0, 0, 5], [0, 0, 2], [0, 0, -2], [3, 0, -2], [3, 0, 2], [3, 0, 5]])
    assert [len(piece) for piece in clip_polyline(path)] == [3, 3]


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([[-5, -5], [5, 5]], True),
        ([[-5, 5], [-1, 6]], False),
        ([[90, 10], [120, 20]], True),
        ([[101, 1], [102, 2]], False),
    ],
)
def test_on_picture(pixels: list[list[float]], expected: bool) -> None:
    assert on_picture(np.array(pixels, dtype=float), width=100, height=50) is expected


def test_a_calibration_of_zeros_is_a_data_error(data: FakeData) -> None:
    sample = data.sample("token-000")
    broken = {**sample["cameras"]["CAM_FRONT"], "sensor2ego": {"translation": [0, 0, 0], "rotation_wxyz": [0, 0, 0, 0]}}
    with pytest.raises(DataError, match="rotation of length zero"):
        to_camera([[1, 0, 0]], ego2global=sample["ego2global"], camera=broken)
    with pytest.raises(DataError, match="focal length"):
        project(np.array([[0.0, 0.0, 1.0]]), np.zeros((3, 3)))
    with pytest.raises(DataError, match="focal length"):
        project(np.array([[0.0, 0.0, 1.0]]), [[math.nan] * 3] * 3)
