"""Synthetic pictures: the same bytes each time, with boxes round what is seen and of nothing that is hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Admlops

from admlops.datasets.base import IMAGE, open_data
from admlops.datasets.images.pictures import Images
from admlops.synthetic.images_writer import ImageOptions, synthesize_images
from admlops.synthetic.options import list_scenes
from admlops.synthetic.renderer import Placed, render_camera
from admlops.synthetic.rig import Sensor, pose_matrix
from admlops.synthetic.shadows import Caster
from admlops.synthetic.stage import Stage, set_stage
from admlops.synthetic.visible_boxes import find_visible

OPTIONS = ImageOptions(scenes=1, samples=1, seed=1, scale=0.3)


@pytest.fixture(scope="module")
def stage() -> Stage:
    return set_stage(list_scenes(OPTIONS.of_world())[0], OPTIONS.of_world())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("synthetic") / "pictures"
    assert synthesize_images(target, OPTIONS, workers=1)
    return target


def test_a_data_set_with_truth(root: Path) -> None:
    data = open_data(root)
    assert isinstance(data, Images)
    assert (data.version, data.is_synthetic) == ("annotations.json", True)
    assert list(data.problems(lambda done, total: None)) == []
    (scene,) = data.scenes()
    assert len(scene.samples) == 6
    found = [data.image_annotations(token)[IMAGE] for token in scene.samples]
    cars = sum(name == "car" for own in found for name in own.classes)
    assert cars >= 5
    assert data.classes_2d()[0] == "car"


def test_a_picture_has_its_cameras_calibration(root: Path, stage: Stage) -> None:
    data = open_data(root)
    for token in data.scenes()[0].samples:
        camera = data.sample(token)["cameras"][IMAGE]
        sensor = next(one for one in stage.cameras if one.channel in f"{Path(camera['path']).stem}-".split("-"))
        assert np.array_equal(camera["intrinsic"], sensor.intrinsic)
        pose = camera["sensor2ego"]
        assert np.allclose(pose_matrix(pose["translation"], pose["rotation_wxyz"]), sensor.to_ego)
        assert camera["ego2global"] == data.sample(token)["ego2global"]


@pytest.mark.full
def test_the_same_options_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    assert synthesize_images(tmp_path / "again", OPTIONS, workers=1)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    assert len(files) == 8
    for name in files:
        assert (tmp_path / "again" / name).read_bytes() == (root / name).read_bytes(), name
    assert not synthesize_images(tmp_path / "again", OPTIONS), "it is there"


def test_a_box_is_where_the_picture_changes_without_the_actor(stage: Stage) -> None:
    """And where an actor has no box, the picture is the same without it; shadows stay."""
    camera = next(one for one in stage.cameras if one.channel == "CAM_FRONT")
    things, casters = stage.place(0.0)
    whole = draw(stage, camera, things, casters)
    boxes = {box.actor: box for box in find_visible(stage, camera, 0.0)}
    large = sorted(boxes.values(), key=lambda box: -box.area)[:4]
    assert large[0].area > 500
    for box in large:
        changed = np.abs(whole - draw(stage, camera, stage.place(0.0, without=box.actor)[0], casters)).sum(axis=2) > 0
        rows, columns = np.nonzero(changed)
        outline = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.subtract(outline, box.xyxy)).max() <= 1.5, box
        assert changed.sum() == pytest.approx(box.area, rel=0.25), box
    hidden = [actor.index for actor in stage.actors if actor.index not in boxes][:6]
    assert hidden
    for index in hidden:
        assert np.array_equal(whole, draw(stage, camera, stage.place(0.0, without=index)[0], casters)), index


def test_boxes_lie_in_the_picture(stage: Stage) -> None:
    for camera in stage.cameras:
        for box in find_visible(stage, camera, 0.0):
            x1, y1, x2, y2 = box.xyxy
            assert 0 <= x1 < x2 <= camera.width
            assert 0 <= y1 < y2 <= camera.height
            assert 0 < box.area <= (x2 - x1) * (y2 - y1)


def draw(stage: Stage, camera: Sensor, things: list[Placed], casters: list[Caster]) -> NDArray[np.int64]:
    """The picture without noise."""
    picture = render_camera(stage.backdrop, camera, stage.ego_pose(0.0), things, casters, None)
    return np.asarray(picture, dtype=np.int64)


def test_the_command_line(admlops: Admlops, tmp_path: Path) -> None:
    target = tmp_path / "cars"
    planned = admlops("data", "synthesize", str(target), "--format", "images", "--dry-run")
    assert "2 scenes of 2 key frames" in planned.stdout
    assert not target.exists()
    wrong = admlops("data", "synthesize", str(target), "--format", "images", "--samples", "0", check=False)
    assert wrong.returncode == 2
    assert "--samples is 0" in wrong.stderr
