"""What a root is taken for, and what is refused: by name, with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import Admlops
from tests.datasets.images.fabricate import draw, draw_all, write, write_coco, write_nuimages, write_yolo

from admlops.core.errors import DataError
from admlops.datasets.base import find_kind, open_data
from admlops.datasets.images.pictures import Images
from admlops.datasets.images.recognition import list_versions


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    """Folders are scenes; spaces, other alphabets, links and loops are no obstacle; frame 9 comes before frame 10."""
    outside = draw(tmp_path / "outside" / "linked.png", seed=99)
    root = tmp_path / "pictures"
    for number in (10, 9, 1):
        draw(root / "night drive" / f"frame{number}.JPG", seed=number)
    draw(root / "夜" / "日本 1.webp", seed=50)
    draw(root / "top.bmp", seed=51)
    (root / "夜" / "link.png").symlink_to(outside)
    (root / "loop").symlink_to(root)
    write(root / "notes.txt", "not a list")
    write(root / ".hidden.jpg", "not a picture")
    data = open_data(root)
    assert isinstance(data, Images)
    assert data.capabilities == frozenset()
    names = {scene.name: [data.picture_name(token, "IMAGE") for token in scene.samples] for scene in data.scenes()}
    assert names == {
        "night drive": [f"night drive/frame{number}.JPG" for number in (1, 9, 10)],
        "pictures": ["top.bmp"],
        "夜": ["夜/link.png", "夜/日本 1.webp"],
    }
    assert data.splits() == {"all": 3}


def test_tokens_do_not_depend_on_the_mount_but_on_the_content(tmp_path: Path) -> None:
    for mount in ("a", "b", "c"):
        draw(tmp_path / mount / "x" / "1.jpg", seed=mount == "c")
    a, b, c = (open_data(tmp_path / mount).scenes()[0].samples for mount in ("a", "b", "c"))
    assert a == b
    assert a != c


def test_a_large_folder_is_several_scenes(tmp_path: Path) -> None:
    content = draw(tmp_path / "one.png", size=(2, 2)).read_bytes()
    (tmp_path / "many").mkdir()
    for number in range(201):
        (tmp_path / "many" / f"{number}.png").write_bytes(content)
    scenes = {scene.name: len(scene.samples) for scene in open_data(tmp_path).scenes()}
    assert scenes == {"many#1": 100, "many#2": 100, "many#3": 1, "pictures": 1}


def test_what_could_be_two_is_refused_by_name(tmp_path: Path) -> None:
    write_yolo(tmp_path)
    write_coco(tmp_path / "instances.json")
    with pytest.raises(DataError, match=r"holds instances\.json \(COCO.*data\.yaml \(YOLO") as error:
        open_data(tmp_path)
    assert "--version instances.json" in error.value.hint
    assert open_data(tmp_path, "data.yaml").version == "data.yaml"
    assert open_data(tmp_path, "pictures").capabilities == frozenset(), "labels are left aside where that is asked for"
    with pytest.raises(DataError, match="and no kitti"):
        open_data(tmp_path, "kitti")


def test_labels_without_names_mean_nothing(tmp_path: Path) -> None:
    write_yolo(tmp_path).unlink()
    assert find_kind(tmp_path).id == "images"
    with pytest.raises(DataError, match=r"no data\.yaml, without which the numbers of classes mean nothing"):
        open_data(tmp_path).scenes()


def test_nuimages_is_not_taken_for_nuscenes(tmp_path: Path) -> None:
    write_nuimages(tmp_path, {"a.jpg": []})
    assert find_kind(tmp_path).id == "images"
    assert list_versions(tmp_path) == ["v1.0-mini"]
    (tmp_path / "v1.0-mini" / "log.json").unlink()
    with pytest.raises(DataError, match=r"log\.json is missing"):
        open_data(tmp_path).scenes()


def test_nuscenes_stays_nuscenes_unless_pictures_are_asked_for(synthetic_root: Path) -> None:
    assert find_kind(synthetic_root).id == "nuscenes"
    assert find_kind(synthetic_root, ["openlanev2"]).id == "nuscenes"
    data = open_data(synthetic_root, wanted=["images"])
    assert isinstance(data, Images)
    whole = open_data(synthetic_root)
    scenes, wholes = data.scenes_of_split("mini_val"), whole.scenes_of_split("mini_val")
    assert [scene.name for scene in scenes] == [scene.name for scene in wholes]
    sample = whole.sample(wholes[0].samples[0])
    pictures = [data.sample(token)["cameras"]["IMAGE"] for token in scenes[0].samples[: len(sample["cameras"])]]
    assert {one["path"] for one in pictures} == {one["path"] for one in sample["cameras"].values()}
    assert {one["timestamp_us"] for one in pictures} == {one["timestamp_us"] for one in sample["cameras"].values()}
    with pytest.raises(DataError, match="it is the cameras of nuScenes"):
        data.image_annotations(scenes[0].samples[0])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.json", '{"images": [], "annotations": [], "categories": []}', "names no picture"),
        ("cut.json", '{"images": [{"id": 1, "file_na', "is not COCO ground truth"),
        ("list.json", '[{"image_path": 3, "car_count": 1}]', "entry 0: image_path is not a text"),
        ("list.json", '[{"image_path": "a.jpg", "car_count": "two"}]', "car_count is 'two', not a whole number"),
        ("list.json", '[{"image_path": "a.jpg"}, {"image_path": "a.jpg"}]', r"lists a\.jpg twice"),
        ("frames.json", '[{"name": "a.jpg", "labels": [{"box2d": {"x1": "left"}}]}]', "is not a list of frames"),
        ("data.yaml", "names: [car, car]\nval: .\n", "two classes are called 'car'"),
        ("data.yaml", "names: [car]\nval: nowhere\n", "names nowhere, which is not in"),
        ("data.yaml", "names: car\nval: .\n", "names must be a list"),
        ("readme.md", "pictures", "is a file, and not one of a data set that is known"),
        ("list.txt", "a.jpg\na.jpg\n", r"lists a\.jpg twice"),
    ],
)
def test_a_file_that_is_none_is_explained(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        open_data(write(tmp_path / name, content)).scenes()


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("0 0.5 0.5 0.1", "3 numbers follow the class"),
        ("0 0.5 0.5 0.1 nan", "a number is not finite"),
        ("car 0.5 0.5 0.1 0.1", "invalid literal"),
        ("7 0.5 0.5 0.1 0.1", r"class 7, which .*data\.yaml does not name"),
    ],
)
def test_a_label_that_is_none_is_named_with_its_line(tmp_path: Path, label: str, said: str) -> None:
    write_yolo(tmp_path, {"a.jpg": []})
    write(tmp_path / "labels" / "val" / "a.txt", label)
    data = open_data(tmp_path)
    assert isinstance(data, Images)
    with pytest.raises(DataError, match=rf"labels/val/a\.txt.*{said}"):
        data.image_annotations(data.scenes()[0].samples[0])


def test_the_command_line_says_it(admlops: Admlops, tmp_path: Path) -> None:
    draw_all(tmp_path / "pictures")
    assert "2 scenes, 3 samples" in admlops("data", "stats", str(tmp_path / "pictures")).stdout
    wrong = admlops("data", "check", str(write(tmp_path / "x.json", "{}")), check=False)
    assert wrong.returncode == 2
    assert "is a file, and not one of a data set" in wrong.stderr
    assert "Traceback" not in wrong.stderr
