"""What `data check` and `data stats` say of pictures and their labels."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Admlops
from tests.datasets.images.fabricate import TRUTH, draw, draw_all, write, write_coco, write_kitti, write_yolo

from admlops.datasets.base import open_data
from admlops.datasets.images.pictures import Images
from admlops.datasets.statistics import measure


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "repository"))


def found_in(root: Path) -> set[tuple[str, str, bool]]:
    data = open_data(root)
    assert isinstance(data, Images)
    steps: list[tuple[int, int]] = []
    found = {
        (one.name, one.kind, one.is_error) for one in data.problems(lambda done, total: steps.append((done, total)))
    }
    assert steps[-1][0] == steps[-1][1] == len(steps)
    return found


def spoil(root: Path) -> None:
    """One picture of every kind that gives trouble."""
    good = draw(root / "ok.jpg").read_bytes()
    draw(root / "ok.png", seed=1)
    (root / "copy.jpg").write_bytes(good)
    (root / "cut.jpg").write_bytes(good[: len(good) // 2])
    (root / "zero.jpg").touch()
    write(root / "text.jpg", "no picture")
    (root / "dangling.jpg").symlink_to("/nowhere/x.jpg")
    noise = np.random.default_rng(5).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    picture.convert("CMYK").save(root / "print.jpg")
    Image.fromarray(noise[..., 0].astype(np.uint16) * 200).save(root / "wide.png")
    picture.save(root / "moving.webp", save_all=True, append_images=[picture.rotate(90)], lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.rotate(180).save(root / "turned.jpg", exif=exif)


def test_pictures_are_told_by_name(tmp_path: Path, admlops: Admlops) -> None:
    root = tmp_path / "bad pictures"
    root.mkdir()
    spoil(root)
    assert found_in(root) == {
        ("ok.jpg", "duplicate", False),
        ("cut.jpg", "broken", True),
        ("zero.jpg", "broken", True),
        ("text.jpg", "broken", True),
        ("dangling.jpg", "missing", True),
        ("print.jpg", "CMYK", False),
        ("wide.png", "16 bit", False),
        ("moving.webp", "animated", False),
        ("turned.jpg", "turned", False),
    }
    done = admlops("data", "check", str(root), "--json", check=False)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert {one["name"] for one in told["problems"] if one["is_error"]} == {
        "cut.jpg",
        "zero.jpg",
        "text.jpg",
        "dangling.jpg",
    }
    assert sorted(Path(path).name for path in told["missing"]) == ["dangling.jpg", "zero.jpg"]


def test_a_sound_data_set_has_no_problem(tmp_path: Path, admlops: Admlops) -> None:
    write_yolo(tmp_path / "data")
    assert found_in(tmp_path / "data") == set()
    said = admlops("data", "check", str(tmp_path / "data")).stdout
    assert "2 scenes, 3 samples, 3 annotated pictures, 3 boxes" in said


def test_boxes_are_told_by_their_picture(tmp_path: Path) -> None:
    draw_all(tmp_path, ["a.jpg", "b.jpg"])
    write_coco(
        tmp_path / "i.json",
        {
            "a.jpg": [("car", 5.0, 5.0, 5.0, 9.0), ("car", 60.0, 40.0, 90.0, 47.0), ("truck", 0.0, 0.0, 64.9, 48.0)],
            "b.jpg": [("car", 1.0, 1.0, 2.0, 2.0)],
            "gone.jpg": [],
        },
    )
    assert found_in(tmp_path) == {
        ("a.jpg", "empty box", True),
        ("a.jpg", "box outside", False),
        ("gone.jpg", "missing", True),
    }


def test_labels_that_cannot_be_read_are_told(tmp_path: Path, admlops: Admlops) -> None:
    write_kitti(tmp_path / "kitti", {"a.png": TRUTH["street 1/a.jpg"], "b.png": []})
    write(tmp_path / "kitti" / "training" / "label_2" / "b.txt", "Lorry 0 0 0 1 2 3 4 1 1 1 1 1 1 1")
    assert found_in(tmp_path / "kitti") == {("training/image_2/b.png", "label", True)}
    write_yolo(tmp_path / "yolo")
    write(tmp_path / "yolo" / "labels" / "val" / "street 1" / "b.txt", "9 0.5 0.5 0.1 0.1")
    assert found_in(tmp_path / "yolo") == {("images/val/street 1/b.jpg", "label", True)}
    done = admlops("data", "check", str(tmp_path / "yolo"), check=False)
    assert done.returncode == 1
    assert "class 9, which" in done.stdout


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file; run as another user")
def test_a_picture_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg").chmod(0)
    assert found_in(tmp_path) == {("a.jpg", "missing", True)}


def test_statistics(tmp_path: Path, admlops: Admlops) -> None:
    write_yolo(tmp_path / "data")
    draw(tmp_path / "data" / "images" / "val" / "large.png", size=(300, 200), seed=9)
    write(tmp_path / "data" / "labels" / "val" / "large.txt", "0 0.5 0.5 0.5 0.5\n0 0.1 0.1 0.01 0.01")
    found = measure(open_data(tmp_path / "data"), lambda done, total: None)
    assert (found.scenes, found.samples, found.annotated, found.without_objects) == (3, 4, 4, 1)
    assert found.sizes == {"64x48": 3, "300x200": 1}
    car, truck = found.classes["car"], found.classes["truck"]
    # 16x16 and 3x2 are small, 64x48 = 3072 is medium, 150x100 is large; the truck has 32x32 = 1024: medium.
    assert (car.objects, car.pictures, car.small, car.medium, car.large) == (4, 3, 2, 1, 1)
    assert (truck.objects, truck.small, truck.medium, truck.large) == (1, 0, 1, 0)
    assert truck.width_px == {"p5": 32.0, "p50": 32.0, "p95": 32.0}
    said = json.loads(admlops("data", "stats", str(tmp_path / "data"), "--json").stdout)
    assert said["classes"]["car"]["objects"] == 4
    assert said["kind"] == "images"


def test_statistics_of_counts(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    path = write(tmp_path / "list.json", [{"image_path": "a.jpg", "car_count": 2}, {"image_path": "gone.jpg"}])
    found = measure(open_data(path), lambda done, total: None)
    assert (found.counted, found.counts, found.unreadable) == (1, {"car": 2}, 1)
