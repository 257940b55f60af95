"""A picture that is missing or damaged is the data's fault, and the message names the file."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from worker.mmlab.common.inputs import check_pictures, check_sizes
from worker.mmlab.v1.inputs import make_batch
from worker.samples.nuscenes import DataError


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "front.jpg"
    Image.effect_noise((320, 180), 60).save(path)
    return path


def test_a_whole_picture_passes(picture: Path) -> None:
    check_pictures([str(picture)])
    picture.write_bytes(picture.read_bytes() + b"\0" * 100)
    check_pictures([str(picture)])


@pytest.mark.parametrize("share", [0.999, 0.5, 0.01])
def test_a_jpeg_that_ends_early_is_refused(picture: Path, share: float) -> None:
    content = picture.read_bytes()
    picture.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"front\.jpg is not a whole picture"):
        check_pictures([str(picture)])


def test_a_picture_that_was_scaled_is_refused(picture: Path) -> None:
    """Its calibration is for other pixels: the network would see everything at another range."""

    def camera(width: int, height: int) -> dict[str, Any]:
        return {"path": str(picture), "width": width, "height": height}

    check_sizes({"CAM_FRONT": camera(320, 180)})
    check_sizes({"CAM_FRONT": camera(0, 0)})
    with pytest.raises(DataError, match=r"front\.jpg is 320x180, but its calibration is for 1600x900"):
        check_sizes({"CAM_BACK": camera(320, 180), "CAM_FRONT": camera(1600, 900)})


def test_a_picture_that_is_not_there_is_named(picture: Path) -> None:
    with pytest.raises(DataError, match=r"back\.jpg cannot be read: No such file"):
        check_pictures([str(picture), str(picture.with_name("back.jpg"))])


@pytest.mark.parametrize("decodes", [True, False])
def test_a_pipelines_error_is_the_datas_where_a_picture_cannot_be_decoded(
    picture: Path, decodes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compose(_: Any) -> Any:
        raise TypeError("a NoneType has no shape")

    image = object() if decodes else None
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(imread=lambda path: image))
    kind, text = (TypeError, "NoneType") if decodes else (DataError, r"front\.jpg is not a whole picture")
    with pytest.raises(kind, match=text):
        make_batch(compose, {}, [str(picture)])
