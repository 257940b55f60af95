"""Reading OpenLane-V2's layout: subset A from synthetic scenes, subset B from a frame written here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation
from tests.conftest import Admlops

from admlops.core.errors import DataError
from admlops.datasets.base import HasContext, open_data
from admlops.datasets.nuscenes.tables import NuScenes, rotation_matrix
from admlops.datasets.openlane.frames import OpenLaneV2
from admlops.pipeline.selection import Selection, select
from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane
from admlops.worker.samples.nuscenes import DataError as InsideError
from admlops.worker.samples.openlane import OpenLane, find_version, jpeg_size, quaternion


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scenes of two frames: two of val, one of train."""
    target = tmp_path_factory.mktemp("openlane") / "data"
    synthesize_openlane(target, OpenLaneOptions(scenes=3, samples=2, seed=1, scale=0.1))
    return target


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A data set that a test may spoil."""
    return Path(shutil.copytree(root, tmp_path / "copy"))


@pytest.fixture
def subset_b(tmp_path: Path) -> Path:
    """Two frames of a test split and one of val, with nuScenes' cameras and microseconds."""
    folder = tmp_path / "b"
    stamps = {"val/10100": ["1531883530412470"], "test/20100": ["1531883531412470", "1531883530912470"]}
    for segment, own in stamps.items():
        for stamp in own:
            write_frame(folder, segment, stamp, annotated=segment.startswith("val"))
    listed = {"val": {"10100": [f"{s}.json" for s in stamps["val/10100"]]}}
    listed["test"] = {"20100": [f"{s}.json" for s in stamps["test/20100"]]}
    (folder / "data_dict_subset_B.json").write_text(json.dumps(listed))
    return folder


def write_frame(folder: Path, segment: str, stamp: str, *, annotated: bool) -> None:
    sensor = {}
    for name, yaw in (("CAM_FRONT", 0), ("CAM_BACK", 180)):
        picture = f"{segment}/image/{name}/{stamp}.jpg"
        (folder / picture).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (160, 90), (yaw, 60, 80)).save(folder / picture)
        sensor[name] = {
            "image_path": picture,
            "extrinsic": {
                "rotation": Rotation.from_euler("z", yaw, degrees=True).as_matrix().tolist(),
                "translation": [1.7, 0.0, 1.5],
            },
            "intrinsic": {"K": [[1266.0, 0, 816], [0, 1266, 491], [0, 0, 1]], "distortion": []},
        }
    pose = {"rotation": np.eye(3).tolist(), "translation": [600.0, 1600.0, 0.0]}
    info: dict[str, Any] = {"segment_id": segment[4:], "timestamp": int(stamp), "sensor": sensor, "pose": pose}
    if annotated:
        line = [[float(x), 1.0, 0.0] for x in range(201)]
        info["annotation"] = {
            "lane_centerline": [{"id": "7", "points": line}],
            "traffic_element": [{"id": "9", "category": 1, "attribute": 3, "points": [[5, 6], [7, 8]]}],
            "topology_lclc": [[0]],
            "topology_lcte": [[1.0]],
        }
    path = folder / segment / "info" / f"{stamp}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(info))


def test_scenes_and_samples_come_in_order(root: Path) -> None:
    data = open_data(root)
    assert (data.kind, data.version, data.is_synthetic) == ("openlanev2", "subset_A", True)
    assert [scene.name for scene in data.scenes()] == ["val-10000", "val-10001", "train-00000"]
    assert [scene.name for scene in data.scenes_of_split("val")] == ["val-10000", "val-10001"]
    for scene in data.scenes():
        samples = [data.sample(token) for token in scene.samples]
        assert [sample["index_in_scene"] for sample in samples] == [0, 1]
        assert samples[1]["timestamp_us"] - samples[0]["timestamp_us"] == 500_000
        assert {sample["scene"] for sample in samples} == {scene.name}
        assert isinstance(data, HasContext)
        assert data.context(scene.samples[0])["next"] == scene.samples[1]
        assert data.context(scene.samples[1])["next"] == data.context(scene.samples[0])["prev"] == ""
    chosen = select(data, Selection(split="val", limit=3))
    assert [len(scene.samples) for scene in chosen] == [2, 1]


def test_a_sample_is_its_frame(root: Path) -> None:
    data = OpenLaneV2(root)
    token = data.scenes()[1].samples[1]
    split, segment, stamp = token.split("-")
    info = json.loads((root / split / segment / "info" / f"{stamp}.json").read_text())
    sample = data.sample(token)
    assert list(sample["cameras"]) == list(info["sensor"])
    assert next(iter(sample["cameras"])) == "ring_front_center"
    assert sample["timestamp_us"] == int(stamp) // 1000
    assert "lidar" not in sample
    assert np.allclose(rotation_matrix(sample["ego2global"]["rotation_wxyz"]), info["pose"]["rotation"], atol=1e-14)
    assert sample["ego2global"]["translation"] == info["pose"]["translation"]
    for name, camera in sample["cameras"].items():
        theirs = info["sensor"][name]
        assert Path(camera["path"]) == root / theirs["image_path"]
        assert camera["intrinsic"] == theirs["intrinsic"]["K"]
        with Image.open(camera["path"]) as image:
            assert (camera["width"], camera["height"]) == image.size
        rotation = rotation_matrix(camera["sensor2ego"]["rotation_wxyz"])
        assert np.allclose(rotation, theirs["extrinsic"]["rotation"], rtol=0, atol=1e-14)
        assert camera["ego2global"] == sample["ego2global"]


def test_both_sides_of_the_pipe_read_the_same(root: Path) -> None:
    data = OpenLaneV2(root)
    token = data.scenes()[0].samples[0]
    frames = OpenLane(str(root), find_version(str(root), token))
    assert frames.sample(token) == data.sample(token)
    with pytest.raises(InsideError, match="val-10000-1"):
        find_version(str(root), "val-10000-1")


def test_ground_truth_is_what_the_devkit_keeps(root: Path) -> None:
    """Every 20th of 201 points of val, all of train; single precision."""
    data = OpenLaneV2(root)
    for scene in data.scenes():
        truth = data.lane_annotation(scene.samples[0])
        assert len(truth.lanes) > 3
        assert {lane.shape for lane in truth.lanes} == {(201, 3) if scene.name.startswith("train") else (11, 3)}
        assert truth.lane_to_lane.shape == (len(truth.lanes), len(truth.lanes))
        assert truth.lane_to_traffic.shape == (len(truth.lanes), len(truth.elements))
        assert (truth.lanes[0].dtype.name, truth.lane_to_lane.dtype.name) == ("float32", "int8")


def test_subset_b(subset_b: Path) -> None:
    data = open_data(subset_b)
    assert data.version == "subset_B"
    (scene,) = data.scenes_of_split("val")
    assert scene.samples == ("val-10100-1531883530412470",)
    sample = data.sample(scene.samples[0])
    assert sample["timestamp_us"] == 1531883530412470
    assert list(sample["cameras"]) == ["CAM_FRONT", "CAM_BACK"]
    assert np.allclose(np.abs(sample["cameras"]["CAM_BACK"]["sensor2ego"]["rotation_wxyz"]), [0, 0, 0, 1], atol=1e-15)
    assert isinstance(data, OpenLaneV2)
    truth = data.lane_annotation(scene.samples[0])
    assert truth.lanes[0][:, 0].tolist() == list(range(0, 201, 20))
    assert (truth.elements.tolist(), truth.attributes.tolist()) == ([[5, 6, 7, 8]], [3])
    (unlabelled,) = data.scenes_of_split("test")
    assert unlabelled.samples == ("test-20100-1531883530912470", "test-20100-1531883531412470"), "in time order"
    with pytest.raises(DataError, match="has no annotation"):
        data.lane_annotation(unlabelled.samples[0])


def test_nuscenes_is_still_nuscenes(synthetic_root: Path) -> None:
    assert isinstance(open_data(synthetic_root), NuScenes)


@pytest.mark.parametrize("name", ["data_dict_subset_A_val.pkl", "data_dict_subset_B_train.pkl"])
def test_the_devkits_pickles_alone_are_told_as_openlane_that_lacks_its_json(copy: Path, name: str) -> None:
    (copy / "data_dict_subset_A.json").rename(copy / name)
    with pytest.raises(DataError, match=rf"is OpenLane-V2 with {name} alone: .* is missing") as caught:
        open_data(copy)
    assert "OpenLane-V2_subset_A.tar" in caught.value.hint


@pytest.mark.parametrize("wanted", [(), ("openlanev2",), ("nuscenes", "images")])
def test_a_root_one_folder_too_high_is_told_with_the_right_one(root: Path, wanted: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=f"is no data set, but {root} is OpenLane-V2") as caught:
        open_data(root.parent, wanted=wanted)
    assert caught.value.hint == f"pass --data {root}"


def test_a_root_too_high_is_no_folder_of_pictures_unless_pictures_are_asked_for(
    synthetic_root: Path, tmp_path: Path
) -> None:
    around = tmp_path / "around"
    around.mkdir()
    shutil.copytree(synthetic_root, around / "nuscenes")
    Image.new("RGB", (32, 32)).save(around / "map.png")
    for wanted in ((), ("nuscenes",), ("nuscenes", "images")):
        with pytest.raises(DataError, match=f"is no data set, but {around / 'nuscenes'} is "):
            open_data(around, wanted=wanted)
    assert open_data(around, wanted=("images",)).kind == "images"


def test_two_subsets_in_one_folder_need_a_name(copy: Path, subset_b: Path) -> None:
    shutil.copy(subset_b / "data_dict_subset_B.json", copy)
    with pytest.raises(DataError, match="subset_A, subset_B") as raised:
        open_data(copy)
    assert "--version subset_A" in raised.value.hint
    assert open_data(copy, "subset_B").version == "subset_B"
    with pytest.raises(DataError, match=r"no v1\.0-mini"):
        open_data(copy, "v1.0-mini")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path, _: path.unlink(), "is missing"),
        (lambda path, _: path.write_text("{"), "is not a frame"),
        (lambda path, info: path.write_text(json.dumps({**info, "pose": {"rotation": [[1]]}})), "is not a frame"),
        (lambda path, info: path.write_text(json.dumps({k: v for k, v in info.items() if k != "sensor"})), "sensor"),
        (lambda path, info: path.write_text(json.dumps({**info, "sensor": {"a": {}}})), "image_path"),
    ],
)
def test_a_frame_that_is_not_whole_is_named(copy: Path, damage: Any, said: str) -> None:
    data = OpenLaneV2(copy)
    token = data.scenes()[0].samples[0]
    path = copy / "val" / "10000" / "info" / f"{token.split('-')[2]}.json"
    damage(path, json.loads(path.read_text()))
    with pytest.raises(DataError, match=said) as raised:
        data.sample(token)
    assert str(path) in raised.value.message
    assert str(copy) in raised.value.hint


def test_an_annotation_that_is_not_whole_is_named(copy: Path) -> None:
    data = OpenLaneV2(copy)
    token = data.scenes()[0].samples[0]
    path = copy / "val" / "10000" / "info" / f"{token.split('-')[2]}.json"
    info = json.loads(path.read_text())
    info["annotation"]["topology_lclc"][1].pop()
    path.write_text(json.dumps(info))
    with pytest.raises(DataError, match="topology_lclc is not"):
        data.lane_annotation(token)


@pytest.mark.parametrize("content", ["[]", '{"val": []}', '{"val": {"10000": ["x.json"]}}', "{"])
def test_a_list_of_frames_that_is_none_is_named(copy: Path, content: str) -> None:
    (copy / "data_dict_subset_A.json").write_text(content)
    with pytest.raises(DataError, match=r"data_dict_subset_A\.json"):
        OpenLaneV2(copy)


def test_unknown_names_are_named(root: Path, tmp_path: Path) -> None:
    data = OpenLaneV2(root)
    for call, said in (
        (lambda: data.scenes(["val-9"]), "val-9"),
        (lambda: data.scenes_of_split("test"), "it has val, train, all"),
        (lambda: data.sample("val-10000-12"), "val-10000-12"),
        (lambda: data.context("nothing"), "nothing"),
        (lambda: OpenLaneV2(tmp_path), "data_dict_subset_A.json"),
    ):
        with pytest.raises(DataError, match=said):
            call()


def test_the_check_counts_and_names_what_is_missing(copy: Path, admlops: Admlops) -> None:
    whole = json.loads(admlops("data", "check", copy, "--json").stdout)
    assert (whole["scenes"], whole["samples"], whole["missing"]) == (3, 6, [])
    assert whole["lanes"] > 50
    assert whole["traffic_elements"] > 3
    assert "lanes" in admlops("data", "check", copy).stdout
    first = next((copy / "val").rglob("*.jpg"))
    first.unlink()
    done = admlops("data", "check", copy, check=False)
    assert done.returncode == 1
    assert str(first) in done.stderr


@pytest.mark.parametrize("options", [(), ("--off-distribution",)])
def test_a_model_whose_adapter_cannot_read_the_data_is_refused(
    root: Path, admlops: Admlops, options: tuple[str, ...]
) -> None:
    done = admlops("run", "GroundPlane", "--data", root, *options, check=False)
    assert done.returncode == 2
    assert "GroundPlane reads nuscenes" in done.stderr
    assert "root of nuscenes" in done.stderr
    assert "--off-distribution" not in done.stderr, "it would fail at every sample"


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3))
def test_quaternions_give_their_matrix_back(values: list[float]) -> None:
    matrix = Rotation.from_quat(values).as_matrix()
    found = quaternion(matrix.tolist())
    assert np.linalg.norm(found) == pytest.approx(1.0, abs=1e-15)
    assert np.allclose(rotation_matrix(found), matrix, rtol=0, atol=3e-15)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_the_size_of_a_jpeg(tmp_path: Path, mode: str, progressive: bool) -> None:
    path = tmp_path / "a.jpg"
    Image.new(mode, (37, 23)).save(path, progressive=progressive, exif=b"Exif\0\0" + bytes(300))
    assert jpeg_size(str(path)) == (37, 23)
    path.write_bytes(path.read_bytes()[:30])
    assert jpeg_size(str(path)) is None
    assert jpeg_size(str(tmp_path / "none.jpg")) is None


def test_one_frame_without_a_host(root: Path, tmp_path: Path) -> None:
    """`demo.py --sample-token` finds a frame in the layout by itself."""
    demo = tmp_path / "demo.py"
    runners = Path(__file__).parents[2] / "runners"
    demo.write_text(
        f"import sys\nsys.path.insert(0, {str(runners)!r})\n"
        "from worker.adapter import Adapter\nfrom worker.main import main\n"
        "class Counter(Adapter):\n"
        "    def load(self, settings): return []\n"
        "    def forward(self, sample): return len(sample['cameras'])\n"
        "    def convert(self, raw, sample): return {'map_elements': [], 'cameras': raw}\n"
        "sys.exit(main(Counter))\n"
    )
    token = OpenLaneV2(root).scenes()[0].samples[1]
    command: list[str | Path] = [sys.executable, demo, "--dataroot", root, "--sample-token"]
    done = subprocess.run([*command, token], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"]["cameras"] == 7
    wrong = subprocess.run([*command, "val-10000-3"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "val-10000-3" in wrong.stderr
