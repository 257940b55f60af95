"""A TOML that says where own data lie makes a nuScenes set of them: plain folders, T4, Scalabel, KITTI, OpenLABEL."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tests.conversion.generated_scenes import SIZE, GeneratedRecording, read, write

from admlops.conversion.base import ReadOptions
from admlops.conversion.convert import open_recording
from admlops.conversion.formats.nuscenes_names import to_nuscenes
from admlops.conversion.frames import Frame
from admlops.conversion.geometry import invert
from admlops.core.errors import DataError
from admlops.datasets.base import default_split
from admlops.datasets.nuscenes.tables import NuScenes

FOLDERS = """
form = "folders"
root = "data"
scenes = "drive-*"
location = "singapore-onenorth"

[categories]
"vehicle.bus.bendy" = "vehicle.bus.rigid"

[cameras.CAM_FRONT]
files = "front/*.jpg"
calibration = "front.json"

[lidar]
files = "lidar/*.bin"
columns = 4

[poses]
file = "poses.csv"

[boxes]
file = "boxes.csv"
frame = "ego"
"""


def write_folders(folder: Path) -> GeneratedRecording:
    """Two drives in plain folders: times in names, a calibration, poses more often than files, boxes of the vehicle."""
    drawn = GeneratedRecording(folder / "files", 2)
    for number, scene in enumerate(drawn.scenes(drawn.scene_names)):
        drive = folder / "data" / f"drive-{number}"
        for name in ("front", "lidar"):
            (drive / name).mkdir(parents=True)
        poses, boxes = [], []
        for index, frame in enumerate(scene.frames):
            camera, lidar = frame.cameras["CAM_FRONT"], frame.lidar
            assert lidar is not None
            assert camera.sensor2ego is not None
            shutil.copy(camera.path, drive / "front" / f"img_{camera.timestamp_us}.jpg")
            points = np.fromfile(lidar.path, "<f4").reshape(-1, 5)[:, :4]
            points.tofile(drive / "lidar" / f"{lidar.timestamp_us}.bin")
            mount = {"translation": camera.sensor2ego.translation, "rotation_wxyz": camera.sensor2ego.rotation_wxyz}
            (drive / "front.json").write_text(json.dumps({**mount, "intrinsic": camera.intrinsic}))
            for one in (camera, lidar):
                assert one.ego2global is not None
                poses.append((one.timestamp_us, *one.ego2global.translation, *one.ego2global.rotation_wxyz))
            boxes += [(index, *box) for box in ego_boxes(frame)]
        write_csv(drive / "poses.csv", "timestamp,x,y,z,qw,qx,qy,qz", poses)
        write_csv(drive / "boxes.csv", "frame,track,category,x,y,z,width,length,height,qw,qx,qy,qz,points", boxes)
    (folder / "my.toml").write_text(FOLDERS)
    return drawn


def ego_boxes(frame: Frame) -> list[tuple[object, ...]]:
    assert frame.ego2global is not None
    rows = []
    for one in frame.cuboids or ():
        own = invert(frame.ego2global.matrix) @ one.pose.matrix
        x, y, z, w = Rotation.from_matrix(own[:3, :3]).as_quat()
        rows.append((one.track, one.category, *own[:3, 3], *one.size_wlh, w, x, y, z, one.lidar_points))
    return rows


def write_csv(path: Path, head: str, rows: Sequence[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head.split(","))
        writer.writerows(rows)


def test_plain_folders_become_a_set_that_every_reader_takes(tmp_path: Path) -> None:
    drawn = write_folders(tmp_path)
    done = write(open_recording(tmp_path / "my.toml", ReadOptions()), "nuscenes", tmp_path / "out")
    assert {one.what for one in done.losses} <= {"tracks"}
    data = NuScenes(tmp_path / "out", "v1.0-own")
    assert default_split(tmp_path / "out") == "all"
    scenes = data.scenes_of_split("all")
    assert [scene.name for scene in scenes] == ["drive-0", "drive-1"]
    boxes = 0
    for scene, before in zip(scenes, drawn.scenes(drawn.scene_names), strict=True):
        for token, frame in zip(scene.samples, before.frames, strict=True):
            truth = data.ground_truth(token)
            known = [one for one in frame.cuboids or () if one.category != "static_object.bicycle_rack"]
            assert [one.num_lidar_pts for one in truth] == [one.lidar_points for one in known]
            assert frame.ego2global is not None
            for ours, one in zip(truth, known, strict=True):
                own = invert(frame.ego2global.matrix) @ one.pose.matrix
                np.testing.assert_allclose(ours.center, own[:3, 3], atol=1e-6)
                boxes += 1
            sample = data.sample(token)
            assert list(sample["cameras"]) == ["CAM_FRONT"]
            assert not data.missing_files(token)
            # Points go to the frame of nuScenes' LiDAR, and stand where they stood.
            points = np.fromfile(sample["lidar"]["path"], "<f4").reshape(-1, 5)
            assert frame.lidar is not None
            given = np.fromfile(frame.lidar.path, "<f4").reshape(-1, 5)
            mount = sample["lidar"]["sensor2ego"]
            turn = Rotation.from_quat([*mount["rotation_wxyz"][1:], mount["rotation_wxyz"][0]])
            np.testing.assert_allclose(turn.apply(points[:, :3]) + mount["translation"], given[:, :3], atol=1e-4)
            assert not points[:, 4].any()
    assert boxes > 20
    velocities = [one.velocity for scene in scenes for token in scene.samples for one in data.ground_truth(token)]
    assert any(velocity is not None for velocity in velocities), "a track makes a velocity"


def test_t4_is_read_with_its_exceptions(tmp_path: Path) -> None:
    """Tables in annotation/, words for visibilities, points in the vehicle's frame, other names, lens distortion."""
    write(GeneratedRecording(tmp_path / "files", 1), "nuscenes", tmp_path / "nuscenes")
    root = tmp_path / "t4"
    shutil.copytree(tmp_path / "nuscenes", root)
    (root / "v1.0-own").rename(root / "annotation")
    (root / "samples").rename(root / "data")
    tables = root / "annotation"

    def edit(name: str, change: object) -> None:
        rows = json.loads((tables / f"{name}.json").read_text())
        for row in rows:
            change(row)  # type: ignore[operator]
        (tables / f"{name}.json").write_text(json.dumps(rows))

    words = {"1": "none", "2": "partial", "3": "most", "4": "full"}
    edit("visibility", lambda row: row.update(level=words[row["token"]], token=f"t-{row['token']}"))
    edit("sample_annotation", lambda row: row.update(visibility_token=f"t-{row['visibility_token']}"))
    edit("sample_data", lambda row: row.update(filename=row["filename"].replace("samples/", "data/"), info_filename=""))
    edit("sensor", lambda row: row.update(channel=row["channel"].replace("LIDAR_TOP", "LIDAR_CONCAT")))
    edit("calibrated_sensor", lambda row: row.update(camera_distortion=[0.1, 0.0, 0.0, 0.0, 0.0]))
    edit("category", lambda row: row.update(name=row["name"].rpartition(".")[2]))
    done = write(open_recording(root, ReadOptions()), "nuscenes", tmp_path / "out")
    assert done.source_form == "t4"
    assert {one.what for one in done.losses} >= {"distortion", "categories"}
    (before,), (after,) = read(tmp_path / "nuscenes"), read(tmp_path / "out")
    for one, other in zip(before.frames, after.frames, strict=True):
        assert [box.visibility for box in one.cuboids or ()] == [box.visibility for box in other.cuboids or ()]
        assert [box.center for box in one.cuboids or ()] == [box.center for box in other.cuboids or ()]
        assert other.lidar is not None
        assert one.lidar is not None
        assert other.lidar.channel == "LIDAR_TOP"
        assert other.lidar.sensor2ego is not None
        points = np.fromfile(other.lidar.path, "<f4").reshape(-1, 5)[:, :3]
        in_ego = points @ other.lidar.sensor2ego.matrix[:3, :3].T + other.lidar.sensor2ego.matrix[:3, 3]
        np.testing.assert_allclose(in_ego, np.fromfile(one.lidar.path, "<f4").reshape(-1, 5)[:, :3], atol=1e-4)


def test_scalabels_boxes_in_space_stand_where_its_camera_saw_them(tmp_path: Path) -> None:
    drawn = GeneratedRecording(tmp_path / "files", 1)
    (scene,) = drawn.scenes(drawn.scene_names)
    rows = []
    (tmp_path / "pictures" / "drive").mkdir(parents=True)
    for index, frame in enumerate(scene.frames):
        camera = frame.cameras["CAM_FRONT"]
        shutil.copy(camera.path, tmp_path / "pictures" / "drive" / f"{index}.jpg")
        assert camera.ego2global is not None
        assert camera.sensor2ego is not None
        to_camera = invert(camera.ego2global.matrix @ camera.sensor2ego.matrix)
        labels = []
        for one in frame.cuboids or ():
            own = to_camera @ one.pose.matrix
            width, length, height = one.size_wlh
            turn = -np.arctan2(own[2, 0], own[0, 0])
            box = {"location": own[:3, 3].tolist(), "dimension": (height, width, length), "orientation": (0, turn, 0)}
            labels.append({"id": one.track, "category": "car", "box3d": {**box, "alpha": 0.0}})
        place = camera.ego2global
        rotation = Rotation.from_matrix(place.matrix[:3, :3]).as_rotvec().tolist()
        rows.append(
            {
                "name": f"{index}.jpg",
                "videoName": "drive",
                "frameIndex": index,
                "timestamp": frame.timestamp_us,
                "intrinsics": {"focal": [126.5, 126.5], "center": [81.0, 46.0]},
                "extrinsics": {"location": place.translation, "rotation": rotation},
                "labels": labels,
            }
        )
    (tmp_path / "labels.json").write_text(json.dumps({"frames": rows}))
    mount = scene.frames[0].cameras["CAM_FRONT"].sensor2ego
    assert mount is not None
    toml = f'form = "scalabel"\nlabels = "labels.json"\n[cameras.CAM_FRONT]\ntranslation = {list(mount.translation)}\n'
    (tmp_path / "my.toml").write_text(f"{toml}rotation_wxyz = {list(mount.rotation_wxyz)}\n")
    done = write(open_recording(tmp_path / "my.toml", ReadOptions()), "nuscenes", tmp_path / "out")
    assert {one.what for one in done.losses} == {"lidar", "points"}
    (after,) = read(tmp_path / "out")
    for given, taken in zip(scene.frames, after.frames, strict=True):
        assert {box.category for box in taken.cuboids or ()} == {"vehicle.car"}
        for before, kept in zip(given.cuboids or (), taken.cuboids or (), strict=True):
            np.testing.assert_allclose(before.center, kept.center, atol=1e-6)
            np.testing.assert_allclose(before.size_wlh, kept.size_wlh)
            # Upright for the camera, which hangs a few degrees from level.
            assert np.degrees(np.arccos(np.clip((before.pose.matrix[:3, 0] @ kept.pose.matrix[:3, 0]), -1, 1))) < 4
        assert (taken.cameras["CAM_FRONT"].width, taken.cameras["CAM_FRONT"].height) == SIZE


@pytest.mark.parametrize("form", ["kitti", "openlabel"])
def test_other_names_for_what_is_in_a_known_form(tmp_path: Path, form: str) -> None:
    write(GeneratedRecording(tmp_path / "files", 2), form, tmp_path / form)
    name = "car" if form == "kitti" else "vehicle.car"
    (tmp_path / "my.toml").write_text(f'form = "{form}"\nroot = "{form}"\n[categories]\n"{name}" = "vehicle.truck"\n')
    write(open_recording(tmp_path / "my.toml", ReadOptions()), "nuscenes", tmp_path / "out")
    found = {one.category for scene in read(tmp_path / "out") for frame in scene.frames for one in frame.cuboids or ()}
    assert "vehicle.truck" in found
    assert "vehicle.car" not in found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('form = "folders"', 'form = "folder"'), "Invalid enum value 'folder'"),
        (('root = "data"', 'root = "nowhere"'), "root is 'nowhere'"),
        (('scenes = "drive-*"', 'scenes = "ride-*"'), "scenes is 'ride-*'"),
        (('files = "front/*.jpg"', 'files = "front/*.png"'), "cameras.CAM_FRONT.files is 'front/*.png'"),
        (('calibration = "front.json"', 'calibration = "back.json"'), "calibration"),
        (("columns = 4", "colums = 4"), "colums"),
        (("columns = 4", "columns = 7"), "which are no points of 7"),
        (('file = "poses.csv"', 'file = "boxes.csv"'), "boxes.csv has no column timestamp"),
        (('file = "boxes.csv"', 'file = "poses.csv"'), "poses.csv has no column category"),
        (('form = "folders"', "form = "), "cannot be read as TOML"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_key(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    write_folders(tmp_path)
    (tmp_path / "my.toml").write_text(FOLDERS.replace(*change))
    with pytest.raises(DataError) as caught:
        write(open_recording(tmp_path / "my.toml", ReadOptions()), "nuscenes", tmp_path / "out")
    assert says in caught.value.message
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*")), "nothing half-written stays"


def test_a_number_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    write_folders(tmp_path)
    path = tmp_path / "data" / "drive-0" / "boxes.csv"
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace(lines[2].split(",")[3], "here", 1)
    path.write_text("\n".join(lines))
    recording = open_recording(tmp_path / "my.toml", ReadOptions())
    with pytest.raises(DataError, match=r"boxes.csv, line 3: x is 'here', not a number"):
        write(recording, "nuscenes", tmp_path / "out")


def test_classes_of_others_are_nuscenes_categories() -> None:
    assert to_nuscenes("Pedestrian") == "human.pedestrian.adult"
    assert to_nuscenes("traffic cone") == "movable_object.trafficcone"
    assert to_nuscenes("vehicle.bus.bendy") == "vehicle.bus.bendy"
    assert to_nuscenes("Misc") is None
