"""The command: what it prints and leaves, parts of a data set, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import Admlops
from tests.conversion.generated_scenes import GeneratedRecording, read, write

from admlops.conversion.base import ReadOptions
from admlops.conversion.convert import open_recording
from admlops.conversion.placing import Placer
from admlops.core.errors import DataError
from admlops.datasets.nuscenes.tables import NuScenes


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write(GeneratedRecording(tmp_path / "files", 2), "nuscenes", tmp_path / "scenes")
    return tmp_path / "scenes"


def test_a_part_is_taken_and_what_is_lost_is_listed(scenes: Path, tmp_path: Path, admlops: Admlops) -> None:
    data = NuScenes(scenes, "v1.0-own")
    token = data.scenes()[1].samples[0]
    (tmp_path / "tokens.txt").write_text(f"{token}  # why\n")
    convert = ("data", "convert", "--from", scenes)
    planned = admlops(*convert, "--to", "yolo", "--out", tmp_path / "yolo", "--dry-run").stdout
    assert "would write" in planned
    assert not (tmp_path / "yolo").exists()
    shown = admlops(*convert, "--to", "yolo", "--out", tmp_path / "yolo", "--tokens", tmp_path / "tokens.txt").stdout
    assert "1 scene, 1 sample, 2 hard links" in shown
    assert "YOLO does not hold boxes in space" in shown
    told = json.loads((tmp_path / "yolo" / "conversion.json").read_text())
    assert (told["form"], told["source_form"], told["frames"]) == ("yolo", "nuscenes", 1)
    as_json = admlops(*convert, "--to", "kitti", "--out", tmp_path / "kitti", "--scene", "scene-0001", "--json").stdout
    assert json.loads(as_json) == json.loads((tmp_path / "kitti" / "conversion.json").read_text())
    assert json.loads(as_json)["scenes"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--to", "coco", "--camera", "CAM_BACK"), "--camera 'CAM_BACK' means nothing to --to coco"),
        (("--to", "nuscenes", "--tables", "../x"), "--tables '../x' is no name"),
        (("--to", "kitti", "--camera", "CAM_LEFT"), "has no CAM_LEFT, but CAM_FRONT, CAM_BACK"),
        (("--to", "coco", "--scene", "scene-1"), "has no scene 'scene-1'"),
        (("--to", "coco", "--tokens", "{tokens}"), "has no sample 'ffff'"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    scenes: Path, tmp_path: Path, admlops: Admlops, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "tokens.txt").write_text("ffff\n")
    own = [one.format(tokens=tmp_path / "tokens.txt") for one in arguments]
    ended = admlops("data", "convert", "--from", scenes, "--out", tmp_path / "out", *own, check=False)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_another_result_is_not_replaced(scenes: Path, tmp_path: Path, admlops: Admlops) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    ended = admlops("data", "convert", "--from", scenes, "--to", "coco", "--out", tmp_path / "out", check=False)
    assert (ended.returncode, [path.name for path in (tmp_path / "out").iterdir()]) == (2, ["mine.txt"])


def test_what_is_in_no_form_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is in no form that can be converted"):
        open_recording(tmp_path / "empty", ReadOptions())
    with pytest.raises(DataError, match="is not there"):
        open_recording(tmp_path / "nothing", ReadOptions())


def test_synthetic_scenes_stay_marked(scenes: Path, tmp_path: Path) -> None:
    (scenes / "synthetic.json").write_text('{"synthetic": true}')
    write(open_recording(scenes, ReadOptions()), "nuscenes", tmp_path / "out")
    assert NuScenes(tmp_path / "out", "v1.0-own").is_synthetic


def test_files_are_linked_copied_or_pointed_at(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(b"picture")
    for mode, counted in (("hardlink", "hard_links"), ("copy", "copies"), ("symlink", "symlinks")):
        placer = Placer(tmp_path / mode, mode)  # type: ignore[arg-type]
        placed = placer.place(source, "x/a.jpg")
        assert placed.read_bytes() == b"picture"
        assert placer.counts == {counted: 1}
        assert placed.samefile(source) == (mode != "copy")
        placer.place(source, "x/a.jpg")
        assert placer.counts == {counted: 1}, "the same file twice is one"
    (tmp_path / "b.jpg").write_bytes(b"another")
    with pytest.raises(DataError, match=r"two files would be called x/a\.jpg"):
        Placer(tmp_path / "copy", "copy").place(tmp_path / "b.jpg", "x/a.jpg")
    with pytest.raises(DataError, match="which lies outside"):
        Placer(tmp_path / "copy", "copy").place(source, "../a.jpg")
    with pytest.raises(DataError, match="is not there"):
        Placer(tmp_path / "copy", "copy").place(tmp_path / "none.jpg", "none.jpg")


def test_a_missing_picture_is_named(scenes: Path, tmp_path: Path) -> None:
    next((scenes / "samples" / "CAM_BACK").iterdir()).unlink()
    with pytest.raises(DataError, match=r"CAM_BACK.*is not there"):
        write(open_recording(scenes, ReadOptions()), "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(read(scenes)) == 2
