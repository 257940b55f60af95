"""nuScenes to another form and back loses what `conversion.json` says, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conversion.generated_scenes import GeneratedRecording, read, write

from admlops.conversion.base import ReadOptions
from admlops.conversion.convert import NOTE, open_recording
from admlops.conversion.features import FEATURES, count_features
from admlops.conversion.frames import Cuboid, Frame, SceneFrames
from admlops.conversion.geometry import invert, rotation_matrices
from admlops.conversion.seen import list_seen
from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.datasets.nuscenes.tables import NuScenes

PLACE_M, TURN = 1e-6, 1e-9
"""What passing a box through another frame and double precision costs, 2 km from the origin."""
KITTI_M, KITTI_HEADING = 1e-5, 5e-3
"""Six digits; and a heading that passes through a camera that hangs up to some degrees from level [rad]."""
COUNTS = [4, pytest.param(200, marks=pytest.mark.full)]


@pytest.fixture(params=COUNTS)
def nuscenes(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Generated scenes in nuScenes' layout."""
    out = tmp_path / "nuscenes"
    done = write(GeneratedRecording(tmp_path / "files", request.param), "nuscenes", out)
    assert done.losses == []
    return out


def same_boxes(ours: Sequence[Cuboid], theirs: Sequence[Cuboid], *, place_m: float, turn: float) -> None:
    """The same objects in the same order, but for rounding."""
    assert [replace(one, center=(0, 0, 0), rotation_wxyz=(1, 0, 0, 0)) for one in ours] == [
        replace(one, center=(0, 0, 0), rotation_wxyz=(1, 0, 0, 0)) for one in theirs
    ]
    if ours:
        assert np.abs(np.array([o.center for o in ours]) - [t.center for t in theirs]).max() < place_m
        turns = [rotation_matrices([one.rotation_wxyz for one in boxes]) for boxes in (ours, theirs)]
        assert np.abs(turns[0] - turns[1]).max() < turn


def by_token(cuboids: Sequence[Cuboid] | None) -> list[Cuboid]:
    return sorted(cuboids or (), key=lambda one: one.token)


def seen_tokens(frame: Frame) -> set[str]:
    boxes = (list_seen(frame, camera, rule="clip") or [] for camera in frame.cameras.values())
    return {one.cuboid.token for own in boxes for one in own if one.cuboid is not None}


def pairs(first: Path, second: Path) -> list[tuple[SceneFrames, SceneFrames, Frame, Frame]]:
    ours, theirs = read(first), read(second)
    assert len(ours) == len(theirs)
    return [
        (one, other, *frames)
        for one, other in zip(ours, theirs, strict=True)
        for frames in zip(one.frames, other.frames, strict=True)
    ]


def test_nuscenes_keeps_everything(nuscenes: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert write(open_recording(nuscenes, ReadOptions()), "nuscenes", again).losses == []
    for one, other, before, after in pairs(nuscenes, again):
        assert (one.name, one.token, one.description, one.log) == (
            other.name,
            other.token,
            other.description,
            other.log,
        )
        assert before.cuboids == after.cuboids
        assert [replace(file, path=Path()) for file in before.files] == [replace(f, path=Path()) for f in after.files]
    ours, theirs = NuScenes(nuscenes, "v1.0-own"), NuScenes(again, "v1.0-own")
    tokens = [token for scene in ours.scenes() for token in scene.samples]
    assert [ours.ground_truth(token) for token in tokens] == [theirs.ground_truth(token) for token in tokens]
    assert not any(theirs.missing_files(token) for token in tokens)


def test_generated_scenes_come_back_as_they_were_drawn(tmp_path: Path) -> None:
    drawn = GeneratedRecording(tmp_path / "files", 3)
    write(drawn, "nuscenes", tmp_path / "out")
    for ours, theirs in zip(drawn.scenes(drawn.scene_names), read(tmp_path / "out"), strict=True):
        for one, other in zip(ours.frames, theirs.frames, strict=True):
            assert one.cuboids == other.cuboids
            assert (one.ego2global, one.timestamp_us) == (other.ego2global, other.timestamp_us)


def test_openlabel_loses_nothing_of_these(nuscenes: Path, tmp_path: Path) -> None:
    """It has no maps and no sweeps, and these scenes have neither but the empty map that every log needs."""
    done = write(open_recording(nuscenes, ReadOptions()), "openlabel", tmp_path / "openlabel")
    assert {one.what for one in done.losses} == {"maps", "map_folders"}
    back = write(open_recording(tmp_path / "openlabel", ReadOptions()), "nuscenes", tmp_path / "back")
    assert back.losses == []
    for one, other, before, after in pairs(nuscenes, tmp_path / "back"):
        assert (one.name, one.token, one.description, one.log) == (
            other.name,
            other.token,
            other.description,
            other.log,
        )
        assert (before.token, before.timestamp_us) == (after.token, after.timestamp_us)
        same_boxes(by_token(before.cuboids), by_token(after.cuboids), place_m=PLACE_M, turn=TURN)
        for file, copy in zip(before.files, after.files, strict=True):
            assert (file.name, file.token, file.timestamp_us) == (copy.name, copy.token, copy.timestamp_us)
            assert file.intrinsic == copy.intrinsic
            assert file.path.read_bytes() == copy.path.read_bytes()
            assert file.ego2global is not None
            assert copy.ego2global is not None
            assert np.abs(file.ego2global.matrix - copy.ego2global.matrix).max() < PLACE_M


def test_coco_keeps_what_its_pictures_show(nuscenes: Path, tmp_path: Path) -> None:
    done = write(open_recording(nuscenes, ReadOptions()), "coco", tmp_path / "coco")
    hidden = sum(one.count for one in done.losses if one.what == "cuboids")
    assert {one.what for one in done.losses} == {"lidar", "maps", "map_folders", "cuboids"}
    back = write(open_recording(tmp_path / "coco", ReadOptions()), "nuscenes", tmp_path / "back")
    assert {one.what for one in back.losses} == {"lidar"}
    counted = 0
    for _, _, before, after in pairs(nuscenes, tmp_path / "back"):
        tokens = seen_tokens(before)
        shown = [one for one in by_token(before.cuboids) if one.token in tokens]
        counted += len(before.cuboids or ()) - len(shown)
        same_boxes(shown, by_token(after.cuboids), place_m=PLACE_M, turn=TURN)
        assert list(before.cameras) == list(after.cameras)
    assert counted == hidden


def test_kitti_keeps_upright_boxes_of_its_camera_where_they_stand(nuscenes: Path, tmp_path: Path) -> None:
    """In the vehicle's frame: there are no poses. A class stands for its categories; the camera's moment counts."""
    done = write(open_recording(nuscenes, ReadOptions()), "kitti", tmp_path / "kitti")
    assert {"tracks", "attributes", "ego_poses", "timestamps", "points"} <= {one.what for one in done.losses}
    write(open_recording(tmp_path / "kitti", ReadOptions()), "nuscenes", tmp_path / "back")
    after = {frame.token: frame for scene in read(tmp_path / "back") for frame in scene.frames}
    for frame in (frame for scene in read(nuscenes) for frame in scene.frames):
        camera = frame.cameras["CAM_FRONT"]
        seen = [one.cuboid for one in list_seen(frame, camera, rule="clip") or [] if one.cuboid is not None]
        known = [one for one in seen if one.category in CATEGORY_CLASSES]
        own = after[frame.token].cuboids or ()
        assert [CATEGORY_CLASSES[one.category] for one in known] == [CATEGORY_CLASSES[one.category] for one in own]
        for before, kept in zip(known, own, strict=True):
            # Camera and boxes lie to each other as they did when the camera looked.
            place = in_camera(before, frame)[:3, 3] - in_camera(kept, after[frame.token])[:3, 3]
            assert np.abs(place).max() < KITTI_M
            assert np.abs(np.array(before.size_wlh) - kept.size_wlh).max() < KITTI_M
            headings = (in_camera(one, of) for one, of in ((before, frame), (kept, after[frame.token])))
            first, second = (np.arctan2(pose[2, 0], pose[0, 0]) for pose in headings)
            assert abs(np.angle(np.exp(1j * (first - second)))) < KITTI_HEADING
        ours, theirs = frame.lidar, after[frame.token].lidar
        assert ours is not None
        assert theirs is not None
        points = [np.fromfile(one.path, "<f4").reshape(-1, 5)[:, :4] for one in (ours, theirs)]
        assert np.abs(points[0] - points[1]).max() < 1e-5
        assert ours.sensor2ego is not None
        assert theirs.sensor2ego is not None
        assert np.abs(ours.sensor2ego.matrix - theirs.sensor2ego.matrix).max() < 1e-9


def in_camera(cuboid: Cuboid, frame: Frame) -> np.ndarray:
    camera = frame.cameras["CAM_FRONT"]
    assert camera.ego2global is not None
    assert camera.sensor2ego is not None
    matrix: np.ndarray = invert(camera.ego2global.matrix @ camera.sensor2ego.matrix) @ cuboid.pose.matrix
    return matrix


@pytest.mark.parametrize("form", ["coco", "yolo", "kitti", "openlabel", "mmdet3d-infos", "nuscenes"])
def test_the_list_of_losses_names_every_feature_once(tmp_path: Path, form: str) -> None:
    """Of what a source has each feature is held or listed, in the answer and in the file beside the result."""
    drawn = GeneratedRecording(tmp_path / "files", 1)
    done = write(drawn, form, tmp_path / "out")
    held = write_holds(form)
    found = count_features(next(drawn.scenes(drawn.scene_names)))
    for feature, count in found.items():
        listed = [one.count for one in done.losses if one.what == feature and "does not hold" in one.why]
        assert listed == ([] if feature in held else [count]), feature
        assert feature in FEATURES
    assert json.loads((tmp_path / "out" / NOTE).read_text()) == done.to_json()


def write_holds(form: str) -> frozenset[str]:
    from admlops.conversion.convert import find_format

    return find_format(form).holds
