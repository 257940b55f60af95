"""The calibration of a picture's camera, which COCO's form lacks: synthetic pictures state it, and models use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Admlops

from admlops.core.errors import DataError
from admlops.datasets.base import IMAGE
from admlops.datasets.images.pictures import Images
from admlops.environments import Environment
from admlops.results.run_folder import RunFolder
from admlops.synthetic.images_writer import ImageOptions, synthesize_images
from admlops.synthetic.rig import make_cameras

INTRINSIC = [[500.0, 0.0, 32.0], [0.0, 500.0, 24.0], [0.0, 0.0, 1.0]]
POSE = {"translation": [1.5, 0.0, 1.6], "rotation_wxyz": [0.5, -0.5, 0.5, -0.5]}


def make_data(folder: Path, *, orientation: int = 1, **stated: Any) -> Images:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(folder / "a.jpg", exif=exif)
    image = {"id": 1, "file_name": "a.jpg", "width": 64, "height": 48, **stated}
    file = folder / "boxes.json"
    file.write_text(json.dumps({"images": [image], "categories": [], "annotations": []}))
    return Images(file)


def camera_of(data: Images) -> dict[str, Any]:
    camera: dict[str, Any] = data.sample(data.scenes()[0].samples[0])["cameras"][IMAGE]
    return camera


def test_a_stated_calibration_is_the_samples(tmp_path: Path) -> None:
    camera = camera_of(make_data(tmp_path, intrinsic=INTRINSIC, sensor2ego=POSE))
    assert (camera["intrinsic"], camera["sensor2ego"]) == (INTRINSIC, POSE)
    assert camera["ego2global"]["translation"] == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("stated", [{}, {"intrinsic": INTRINSIC}, {"sensor2ego": POSE}])
def test_half_a_calibration_is_none(tmp_path: Path, stated: dict[str, Any]) -> None:
    assert set(camera_of(make_data(tmp_path, **stated))) == {"path", "timestamp_us", "width", "height"}


def test_a_turned_picture_has_none(tmp_path: Path) -> None:
    assert "intrinsic" not in camera_of(make_data(tmp_path, orientation=6, intrinsic=INTRINSIC, sensor2ego=POSE))


def test_a_wrong_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"boxes\.json is not COCO ground truth: .*intrinsic"):
        camera_of(make_data(tmp_path, intrinsic=[[1.0, 2.0]], sensor2ego=POSE))


def test_synthetic_pictures_state_their_cameras(tmp_path: Path) -> None:
    synthesize_images(tmp_path / "cars", ImageOptions(scenes=1, samples=1, scale=0.1), workers=1)
    data = Images(tmp_path / "cars")
    for token, rig in zip(data.scenes()[0].samples, make_cameras(0.1), strict=True):
        camera = data.sample(token)["cameras"][IMAGE]
        assert camera["intrinsic"] == [list(row) for row in rig.intrinsic]
        assert camera["sensor2ego"]["translation"] == list(rig.translation)


def test_groundplane_reads_them_and_refuses_pictures_without(
    groundplane_environment: Environment, admlops: Admlops, tmp_path: Path
) -> None:
    root = tmp_path / "cars"
    synthesize_images(root, ImageOptions(scenes=1, samples=1, scale=0.25), workers=1)
    admlops("run", "GroundPlane", "--data", root, "--run", "cars")
    records = list(RunFolder.open(tmp_path / "repository" / "runs" / "cars").records())
    assert len(records) == 6
    assert all(record.metadata.status == "ok" for record in records)
    (root / "annotations.json").unlink()
    done = admlops("run", "GroundPlane", "--data", root, "--limit", "1", "--run", "bare", check=False)
    assert done.returncode != 0
    assert "without calibration GroundPlane cannot tell where the ground is" in done.stderr
