"""Pictures that EXIF says lie on their side: all eight orientations, their labels, and what stays untouched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.datasets.images.fabricate import Box, write, write_coco, write_yolo

from admlops.core.errors import DataError
from admlops.datasets.base import IMAGE, open_data
from admlops.datasets.images.pictures import Images

ORIENTATION = 0x0112
UPRIGHT = (40, 30)
"""Width and height."""
BLACK = (5, 3, 12, 21)
"""x1, y1, x2, y2 of the black rectangle in the upright picture."""
UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera held that way stores an upright scene: the inverse of what a viewer does."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "repository"))


def upright() -> Image.Image:
    pixels = np.full((UPRIGHT[1], UPRIGHT[0], 3), 255, dtype=np.uint8)
    x1, y1, x2, y2 = BLACK
    pixels[y1:y2, x1:x2] = 0
    return Image.fromarray(pixels)


def store(path: Path, orientation: int) -> Path:
    """Write what the camera writes."""
    picture = upright() if orientation == 1 else upright().transpose(UNDO[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, exif=exif, quality=95)
    return path


def box_of(corners: tuple[int, int, int, int]) -> Box:
    x1, y1, x2, y2 = map(float, corners)
    return ("car", x1, y1, x2, y2)


def black_box(picture: Image.Image) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(np.asarray(picture.convert("L")) < 128)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_adapters_get_an_upright_picture(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = store(tmp_path / "data" / f"a{suffix}", orientation)
    before = path.read_bytes()
    data = open_data(tmp_path / "data")
    camera = data.sample(data.scenes()[0].samples[0])["cameras"][IMAGE]
    assert (camera["width"], camera["height"]) == UPRIGHT
    with Image.open(camera["path"]) as shown:
        assert shown.size == UPRIGHT
        assert shown.getexif().get(ORIENTATION, 1) == 1
        assert black_box(shown) == BLACK
        with Image.open(path) as original:
            assert np.array_equal(np.asarray(ImageOps.exif_transpose(original)), np.asarray(shown)), "not lossless"
    assert path.read_bytes() == before
    assert (Path(camera["path"]) == path) == (orientation == 1), "an upright picture is taken as it is"


def truth_of(root: Path) -> list[float]:
    data = open_data(root)
    assert isinstance(data, Images)
    box: list[float] = data.image_annotations(data.scenes()[0].samples[0])[IMAGE].boxes[0].tolist()
    return box


@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_are_of_the_upright_picture(tmp_path: Path, orientation: int) -> None:
    """COCO's size says which pixels its boxes are of: of the stored ones they are turned with the picture."""
    path = store(tmp_path / "data" / "a.png", orientation)
    with Image.open(path) as stored:
        size, drawn = stored.size, black_box(stored)
    write_coco(tmp_path / "data" / "i.json", {"a.png": [box_of(BLACK)]})
    content = (tmp_path / "data" / "i.json").read_text()
    whole = content.replace('"width": 64, "height": 48', f'"width": {UPRIGHT[0]}, "height": {UPRIGHT[1]}')
    write(tmp_path / "data" / "i.json", whole)
    assert truth_of(tmp_path / "data") == list(BLACK)
    if orientation >= 5:
        write_coco(tmp_path / "data" / "i.json", {"a.png": [box_of(drawn)]})
        content = (tmp_path / "data" / "i.json").read_text()
        write(
            tmp_path / "data" / "i.json",
            content.replace('"width": 64, "height": 48', f'"width": {size[0]}, "height": {size[1]}'),
        )
        assert truth_of(tmp_path / "data") == list(BLACK)


def test_labels_of_a_picture_of_another_size_are_refused(tmp_path: Path) -> None:
    store(tmp_path / "a.png", 1)
    write_coco(tmp_path / "i.json", {"a.png": [("car", 1.0, 1.0, 2.0, 2.0)]})
    with pytest.raises(DataError, match=r"labels of a\.png are of a picture of 64x48 pixels, and it has 40x30"):
        truth_of(tmp_path)


def test_shares_are_of_the_upright_picture(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a.jpg": []})
    store(tmp_path / "images" / "val" / "a.jpg", 6)
    write(tmp_path / "labels" / "val" / "a.txt", "0 0.5 0.5 1 1")
    assert truth_of(tmp_path) == [0.0, 0.0, *map(float, UPRIGHT)]


def test_a_turned_picture_that_is_cut_fails_alone(tmp_path: Path) -> None:
    """Its header says that it lies on its side, and its pixels cannot be had: the sample has no size."""
    path = store(tmp_path / "a.jpg", 6)
    path.write_bytes(path.read_bytes()[:-400])
    data = open_data(tmp_path)
    camera = data.sample(data.scenes()[0].samples[0])["cameras"][IMAGE]
    assert (camera["path"], camera["width"]) == (str(path), 0)
