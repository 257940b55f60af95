"""LiDAR points in a sample's pictures: where they lie, how many there are, and what is said where there are none."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from tests.reports.lidar_scene import LidarData, make_lidar_data

from admlops.reports.bird_eye import bird_eye_svg
from admlops.reports.camera_view import draw_overlay
from admlops.reports.geometry import box_corners, project, to_camera
from admlops.reports.pictures import draw_sample
from admlops.reports.points import MOST_DRAWN, project_points, with_points
from admlops.reports.scene_view import SceneView

CAR = (14.0, 0.5)
"""Ahead of the vehicle; the sweep has points on its right side."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LidarData:
    return make_lidar_data(tmp_path_factory.mktemp("points"))


def view_of(data: LidarData) -> SceneView:
    return SceneView(token="any", scene="s", model="M", sample=data.sample("any"))


def test_points_over_a_camera_lie_on_the_car_that_gave_them(data: LidarData) -> None:
    view = with_points(view_of(data))
    assert view.points is not None
    assert 500 < len(view.points) <= MOST_DRAWN
    camera = data.sample("any")["cameras"]["CAM_FRONT"]
    found = np.concatenate([pixels for _, pixels in project_points(view, camera)])
    corners = box_corners((*CAR, 0.9), (2.1, 4.6, 1.8), (1.0, 0.0, 0.0, 0.0))
    seen = project(to_camera(corners, ego2global=data.sample("any")["ego2global"], camera=camera), camera["intrinsic"])
    inside = ((found > seen.min(axis=0)) & (found < seen.max(axis=0))).all(axis=1)
    assert inside.sum() > 50
    assert ((found >= 0) & (found < [camera["width"], camera["height"]])).all()


def test_points_are_below_everything_else_in_both_pictures(data: LidarData) -> None:
    plain, drawn = view_of(data), with_points(view_of(data))
    above = bird_eye_svg(drawn)
    assert above.index('class="points"') < above.index('class="grid"')
    dots = re.findall(r"M(-?[\d.]+) (-?[\d.]+)h0", above)
    assert any(abs(float(x) + CAR[1] - 0.95) < 0.1 and abs(float(y) + CAR[0]) < 2.3 for x, y in dots)
    assert 'class="points"' in draw_overlay(drawn, "CAM_FRONT")
    assert "points" not in bird_eye_svg(plain)
    assert draw_overlay(plain, "CAM_FRONT") == ""
    assert draw_sample(drawn) != draw_sample(plain)


def test_a_sweep_that_cannot_be_read_is_said(data: LidarData, tmp_path: Path) -> None:
    sample = data.sample("any")
    gone = {**sample, "lidar": {**sample["lidar"], "path": str(tmp_path / "gone.pcd.bin")}}
    view = with_points(SceneView(token="any", scene="s", model="M", sample=gone))
    assert view.points is None
    assert view.notes[0].startswith("LiDAR points are left out: the sweep")
    blind = SceneView(token="any", scene="s", model="M", sample=None)
    assert with_points(blind) is blind
