"""Boxes in pictures: the devkit's rule told again, and the cut at the near plane against points of the box itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from scipy.spatial.transform import Rotation
from tests.conversion.generated_scenes import GeneratedRecording, write

from admlops.conversion.geometry import corners
from admlops.conversion.projection import NEAR_M, project
from admlops.datasets.images.coco_file import read_coco_file

K = np.array([[1266.0, 0.0, 816.0], [0.0, 1266.0, 491.0], [0.0, 0.0, 1.0]])
SIZE = (1600, 900)


def draw(rng: np.random.Generator, count: int) -> np.ndarray:
    """Corners (N, 8, 3) of boxes around a camera, many of them across its plane."""
    centers = rng.uniform([-8, -3, -5], [8, 3, 20], (count, 3))
    sizes = rng.uniform(0.4, 8, (count, 3))
    return corners(centers, sizes, Rotation.random(count, rng=rng).as_matrix())


def devkit(points: np.ndarray) -> tuple[float, ...] | None:
    """nuscenes-devkit 1.2's export of 2D boxes, told again for one box (8, 3)."""
    ahead = points[points[:, 2] > 0]
    pixels = [(K @ point)[:2] / point[2] for point in ahead]
    hull = shapely.MultiPoint(pixels).convex_hull
    canvas = shapely.box(0, 0, *SIZE)
    if not hull.intersects(canvas):
        return None
    seen = hull.intersection(canvas)
    if seen.geom_type != "Polygon":  # there the devkit itself fails
        return None
    xy = np.array(seen.exterior.coords)
    return (*xy.min(axis=0), *xy.max(axis=0))


def test_the_devkits_rule_gives_its_boxes() -> None:
    boxes = draw(np.random.default_rng(3), 400)
    found = project(boxes, K, SIZE, rule="devkit")
    told = {row: bounds for row, points in enumerate(boxes) if (bounds := devkit(points)) is not None}
    assert found.rows.tolist() == list(told)
    assert len(told) > 100
    np.testing.assert_allclose(found.bounds, list(told.values()), atol=1e-9)


def test_the_cut_at_the_near_plane_is_what_is_seen_of_the_box() -> None:
    """Points all over the box that lie ahead of the plane, and in the picture, lie within the bounds."""
    rng = np.random.default_rng(4)
    boxes = draw(rng, 300)
    found = dict(zip((rows := project(boxes, K, SIZE)).rows.tolist(), rows.bounds, strict=True))
    steps = np.linspace(0, 1, 13)
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    across = 0
    for row, points in enumerate(boxes):
        origin, edges = points[0], points[[1, 3, 4]] - points[0]
        inside = origin + grid @ edges
        inside = inside[inside[:, 2] > NEAR_M]
        pixels = inside @ K.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        seen = pixels[((pixels >= 0) & (pixels <= SIZE)).all(axis=1)]
        if row not in found:
            assert not len(seen)
            continue
        x1, y1, x2, y2 = found[row]
        if len(seen):
            assert (seen >= [x1 - 1e-6, y1 - 1e-6]).all()
            assert (seen <= [x2 + 1e-6, y2 + 1e-6]).all()
        across += bool((points[:, 2] < NEAR_M).any())
    assert across > 10


def test_the_two_rules_differ_only_where_a_box_reaches_behind_the_camera() -> None:
    boxes = draw(np.random.default_rng(5), 500)
    rules = [project(boxes, K, SIZE, rule=rule) for rule in ("clip", "devkit")]
    bounds = [dict(zip(one.rows.tolist(), one.bounds, strict=True)) for one in rules]
    ahead = set(np.flatnonzero((boxes[:, :, 2] > NEAR_M).all(axis=1)).tolist())
    assert {row for row in bounds[0] if row in ahead} == {row for row in bounds[1] if row in ahead}
    for row in ahead & set(bounds[0]):
        np.testing.assert_allclose(bounds[0][row], bounds[1][row], atol=1e-9)
    smaller = 0
    for row in set(bounds[0]) & set(bounds[1]) - ahead:
        smaller += bool(np.abs(bounds[0][row] - bounds[1][row]).max() > 1)
    assert smaller > 10, "corners behind the camera are dropped by the devkit, and its boxes are too small"


def test_a_box_behind_the_camera_is_not_seen() -> None:
    behind = corners(np.array([[0.0, 0.0, -5.0]]), np.ones((1, 3)), np.eye(3)[np.newaxis])
    assert not len(project(behind, K, SIZE).rows)
    assert not len(project(np.zeros((0, 8, 3)), K, SIZE).rows)


@pytest.mark.parametrize("rule", ["clip", "devkit"])
def test_coco_holds_these_boxes(tmp_path: Path, rule: str) -> None:
    """In the file, which the reader of COCO's form takes: every picture's, within it, with their classes."""
    write(GeneratedRecording(tmp_path / "files", 2), "coco", tmp_path / "coco", rule=rule, names="detection")
    file = read_coco_file(tmp_path / "coco" / "instances.json")
    assert len(file.images) == 2 * 2 * 2
    assert {one.name for one in file.categories} <= {"car", "truck", "pedestrian", "bicycle", "barrier", "bus"}
    assert len(file.annotations) > 10
    for one in file.annotations:
        x, y, width, height = one.bbox
        assert min(x, y) >= 0
        assert x + width <= 160 + 1e-9
        assert y + height <= 90 + 1e-9
        assert one.area == pytest.approx(width * height)
