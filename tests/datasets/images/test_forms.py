"""Every form of data set: the same boxes come out of each, and the official readers say the same."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.datasets.images.fabricate import (
    SIZE,
    TRUTH,
    Box,
    draw,
    draw_all,
    write,
    write_coco,
    write_kitti,
    write_nuimages,
    write_scalabel,
    write_yolo,
)

from admlops.core.errors import DataError
from admlops.core.processes import run
from admlops.datasets.base import ANY_CLASS, BOXES_2D, IMAGE, find_kind, open_data
from admlops.datasets.images.pictures import Images
from admlops.environments import Environment

FLAT: Mapping[str, Sequence[Box]] = {"a.jpg": TRUTH["street 1/a.jpg"], "b.jpg": [], "c.jpg": TRUTH["straße/a.jpg"]}
"""For forms whose pictures lie in one folder."""


def opened(root: Path, version: str | None = None) -> Images:
    data = open_data(root, version)
    assert isinstance(data, Images)
    return data


def boxes_of(data: Images) -> dict[str, list[Box]]:
    """The boxes of every annotated picture by its name."""
    found: dict[str, list[Box]] = {}
    for scene in data.scenes():
        for token in scene.samples:
            for annotation in data.image_annotations(token).values():
                rows = zip(annotation.classes, annotation.boxes.tolist(), strict=True)
                found[data.picture(token).name] = [(name, *box) for name, box in rows]
    return found


def same(found: Mapping[str, Sequence[Box]], wanted: Mapping[str, Sequence[Box]], *, prefix: str = "") -> None:
    assert set(found) == {f"{prefix}{name}" for name in wanted}
    for name, boxes in wanted.items():
        own = found[f"{prefix}{name}"]
        assert [box[0] for box in own] == [box[0] for box in boxes], name
        for one, other in zip(own, boxes, strict=True):
            assert one[1:] == pytest.approx(other[1:], abs=1e-9), name


def _make_coco(root: Path) -> str:
    draw_all(root)
    write_coco(root / "instances.json")
    return ""


def _make_coco_beside(root: Path) -> str:
    """As COCO itself: annotations/ beside the folder of pictures, which file_name leaves out."""
    draw_all(root / "val2017")
    write_coco(root / "annotations" / "instances_val2017.json")
    return "val2017/"


def _make_yolo(root: Path) -> str:
    write_yolo(root)
    return "images/val/"


@pytest.mark.parametrize("make", [_make_coco, _make_coco_beside, _make_yolo])
def test_folders_count(tmp_path: Path, make: Callable[[Path], str]) -> None:
    prefix = make(tmp_path)
    data = opened(tmp_path)
    assert BOXES_2D in data.capabilities
    assert set(data.classes_2d()) == {"car", "truck"}
    same(boxes_of(data), TRUTH, prefix=prefix)
    assert {scene.name for scene in data.scenes()} == {f"{prefix}street 1", f"{prefix}straße"}


def _make_kitti(root: Path) -> str:
    write_kitti(root, FLAT)
    return "training/image_2/"


def _make_scalabel(root: Path) -> str:
    draw_all(root / "images" / "100k" / "val", FLAT)
    write_scalabel(root / "labels" / "det_20" / "det_val.json", FLAT)
    return "images/100k/val/"


def _make_nuimages(root: Path) -> str:
    write_nuimages(root, FLAT)
    return "samples/CAM_FRONT/"


@pytest.mark.parametrize("make", [_make_kitti, _make_scalabel, _make_nuimages])
def test_pictures_in_one_folder(tmp_path: Path, make: Callable[[Path], str]) -> None:
    prefix = make(tmp_path)
    data = opened(tmp_path)
    same(boxes_of(data), FLAT, prefix=prefix)
    (scene,) = data.scenes()
    sample = data.sample(scene.samples[0])
    camera = sample["cameras"][IMAGE]
    assert (camera["width"], camera["height"]) == SIZE
    assert Path(camera["path"]) == tmp_path / f"{prefix}a.jpg"
    assert "intrinsic" not in camera


def test_a_file_is_a_root_too(tmp_path: Path) -> None:
    """The pictures lie beside the file or in a folder above it, and paths on the wire are relative to that folder."""
    draw_all(tmp_path / "val2017")
    draw_all(tmp_path / "train2017")
    file = write_coco(tmp_path / "annotations" / "val.json", {f"val2017/{name}": own for name, own in TRUTH.items()})
    data = opened(file)
    same(boxes_of(data), TRUTH, prefix="val2017/")
    assert (data.root, data.files_root, data.version) == (file, tmp_path, "val.json")


def test_pycocotools_reads_the_same(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    draw_all(tmp_path)
    content = json.loads(write_coco(tmp_path / "i.json").read_text())
    content["annotations"][0] |= {"iscrowd": 1, "area": 77.5}
    write(tmp_path / "i.json", content)
    data = opened(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        official = COCO(tmp_path / "i.json")
    names = {image["file_name"]: number for number, image in official.imgs.items()}
    compared = 0
    for scene in data.scenes():
        for token in scene.samples:
            own = data.image_annotations(token)[IMAGE]
            theirs = official.loadAnns(official.getAnnIds(imgIds=names[data.picture(token).name]))
            wanted = np.array([one["bbox"] for one in theirs]).reshape(-1, 4)
            assert np.array_equal(own.boxes[:, :2], wanted[:, :2])
            assert np.array_equal(own.boxes[:, 2:] - own.boxes[:, :2], wanted[:, 2:])
            assert own.ignore.tolist() == [bool(one["iscrowd"]) for one in theirs]
            assert own.areas.tolist() == [one["area"] for one in theirs]
            assert list(own.classes) == [official.cats[one["category_id"]]["name"] for one in theirs]
            compared += len(theirs)
    assert compared == 3


@pytest.mark.full
def test_the_devkit_reads_the_same_nuimages(official_environment: Environment, tmp_path: Path) -> None:
    version = write_nuimages(tmp_path, FLAT)
    script = (
        "import json, sys, types\n"
        # of masks alone, which are not read here; the evaluator's environment does not have it
        "sys.modules['pycocotools'] = types.SimpleNamespace(mask=None)\n"
        "from nuimages import NuImages\n"
        "nuim = NuImages(dataroot=sys.argv[1], version=sys.argv[2], verbose=False, lazy=True)\n"
        "rows = [(nuim.get('sample_data', one['sample_data_token'])['filename'], one['bbox'],\n"
        "         nuim.get('category', one['category_token'])['name']) for one in nuim.object_ann]\n"
        "keys = [one['filename'] for one in nuim.sample_data if one['is_key_frame']]\n"
        "print(json.dumps([rows, keys]))"
    )
    command: list[str | Path] = [official_environment.python, "-c", script, tmp_path, version]
    done = run(command, variables=official_environment.variables, timeout_s=120)
    assert done.returncode == 0, done.stderr
    rows, keys = json.loads(done.stdout.splitlines()[-1])
    found = boxes_of(opened(tmp_path))
    assert sorted(found) == sorted(keys)
    theirs: dict[str, list[Box]] = {name: [] for name in keys}
    for name, box, category in rows:
        theirs[name].append((category.removeprefix("vehicle."), *map(float, box)))
    same(found, theirs)


@pytest.mark.full
def test_scalabel_reads_the_same(tmp_path: Path) -> None:
    from tests.venvs import make_venv

    draw_all(tmp_path, FLAT)
    file = write_scalabel(tmp_path / "labels.json", FLAT)
    frames = json.loads(file.read_text())
    frames[0]["labels"][1]["attributes"] = {"crowd": True}
    write(file, frames)
    bins = make_venv(tmp_path / ".venv", "scalabel", "pydantic<2")
    script = (
        "import json, sys\n"
        "from scalabel.label.io import load\n"
        "from scalabel.label.to_coco import scalabel2coco_detection\n"
        "from scalabel.label.typing import Category, Config, ImageSize\n"
        "config = Config(imageSize=ImageSize(width=64, height=48),\n"
        "                categories=[Category(name='car'), Category(name='truck')])\n"
        "frames = load(sys.argv[1]).frames\n"
        "print(json.dumps(scalabel2coco_detection(frames, config), default=str))"
    )
    done = run([bins / "python", "-c", script, file], timeout_s=240)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    names = {image["id"]: image["file_name"] for image in theirs["images"]}
    kinds = {one["id"]: one["name"] for one in theirs["categories"]}
    data = opened(tmp_path)
    found = {
        (data.picture(token).name, name, *box, ignored)
        for scene in data.scenes()
        for token in scene.samples
        for own in data.image_annotations(token).values()
        for name, box, ignored in zip(own.classes, own.boxes.tolist(), own.ignore.tolist(), strict=True)
    }
    wanted = {
        (names[one["image_id"]], kinds[one["category_id"]], x, y, x + w, y + h, bool(one["iscrowd"]))
        for one in theirs["annotations"]
        for x, y, w, h in [one["bbox"]]
    }
    assert found == wanted


def test_yolo_by_hand(tmp_path: Path) -> None:
    """A line of the documentation's, an outline, names as a list, `path` that is not there, and three splits."""
    for split in ("train", "val"):
        draw(tmp_path / split / "images" / f"{split}.jpg", size=(200, 100), seed=len(split))
    write(tmp_path / "train" / "labels" / "train.txt", "1 0.5 0.5 0.1 0.2\n0 0.1 0.1 0.3 0.1 0.3 0.4 0.1 0.4\n")
    file = write(
        tmp_path / "data.yaml",
        "path: ../datasets/gone\ntrain: ../train/images\nval: ../val/images\nnames: [Person, Car]\n",
    )
    data = opened(tmp_path)
    found = boxes_of(data)
    same(
        found,
        {
            "train/images/train.jpg": [("car", 90.0, 40.0, 110.0, 60.0), ("person", 20.0, 10.0, 60.0, 40.0)],
            "val/images/val.jpg": [],
        },
    )
    assert data.splits() == {"train": 1, "val": 1}
    assert find_kind(tmp_path).default_split(tmp_path, None) == "val"
    assert boxes_of(opened(file)) == found


def test_yolo_lists_of_files_as_splits(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.jpg")
    write(tmp_path / "labels" / "a.txt", "0 0.5 0.5 1 1")
    write(tmp_path / "val.txt", "./images/a.jpg\n")
    write(tmp_path / "data.yaml", "val: val.txt\nnames: {0: car}\n")
    assert boxes_of(opened(tmp_path)) == {"images/a.jpg": [("car", 0.0, 0.0, 64.0, 48.0)]}


def test_kitti_by_hand(tmp_path: Path) -> None:
    """The first lines of the development kit's own example form; a Van is not a Car, DontCare is ignored."""
    draw(tmp_path / "image_2" / "000000.png", size=(1242, 375))
    draw(tmp_path / "image_2" / "000001.png", seed=1)
    write(
        tmp_path / "label_2" / "000000.txt",
        "Car 0.00 0 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n"
        "Van 0.00 2 -1.20 50.5 60 70 80.25 1 1 1 0 0 9 0\n"
        "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10\n",
    )
    data = opened(tmp_path)
    tokens = data.scenes()[0].samples
    own = data.image_annotations(tokens[0])[IMAGE]
    assert own.classes == ("car", "van", ANY_CLASS)
    assert own.boxes.tolist() == [
        [387.63, 181.54, 423.81, 203.12],
        [50.5, 60.0, 70.0, 80.25],
        [503.89, 169.71, 590.61, 190.13],
    ]
    assert own.ignore.tolist() == [False, False, True]
    assert data.image_annotations(tokens[1]) == {}, "a picture without a label file is not annotated"
    assert data.count_annotations(tokens) == {"annotated_pictures": 1, "boxes": 3}


def test_pictures_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    draw_all(tmp_path)
    bare = {"a.jpg": TRUTH["straße/a.jpg"], "b.jpg": TRUTH["street 1/b.jpg"]}
    write_coco(tmp_path / "i.json", bare)
    with pytest.raises(DataError, match=r"names a\.jpg, and 2 pictures in .* are called that: .*street 1/a\.jpg"):
        opened(tmp_path).scenes()


def test_the_truth_is_named_by_its_content(tmp_path: Path) -> None:
    write_yolo(tmp_path / "one")
    write_yolo(tmp_path / "other")
    one, other = (opened(tmp_path / name) for name in ("one", "other"))
    assert one.truth_sha256() == other.truth_sha256()
    assert [scene.samples for scene in one.scenes()] == [scene.samples for scene in other.scenes()]
    label = tmp_path / "other" / "labels" / "val" / "straße" / "a.txt"
    write(label, label.read_text().replace("0 ", "1 ", 1))
    assert opened(tmp_path / "other").truth_sha256() != one.truth_sha256()
