"""GroundPlane: geometry, what it finds in pictures drawn here, and its behaviour as a process on good and bad input.

It needs NumPy and OpenCV of its own environment, so every check is a real process there; `inspect_groundplane.py`
asks the questions and `pictures.py` draws the street.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from admlops.datasets.nuscenes.tables import NuScenes
from admlops.environments import Environment

MODEL = Path(__file__).resolve().parents[2] / "envs" / "GroundPlane"
QUESTIONS = Path(__file__).with_name("inspect_groundplane.py")
REAL_FRAME = MODEL.parents[2] / "shared" / "data" / "nuscenes-frame"
EGO = {"translation": [0.0, 0.0, 0.0], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}
LIDAR = {"translation": [0.94, 0.0, 1.84], "rotation_wxyz": [0.7071, 0.0, 0.0, -0.7071]}

Ask = Callable[[str], Any]


@pytest.fixture
def ask(groundplane_environment: Environment, tmp_path: Path) -> Ask:
    """Put a question of `inspect_groundplane.py`; its answer."""

    def answer(question: str) -> Any:
        command: list[str | Path] = [groundplane_environment.python, QUESTIONS, MODEL, question, tmp_path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return answer


def test_ground_points_survive_the_way_to_pixels_and_back(ask: Ask) -> None:
    errors = ask("round_trip")
    assert len(errors) == 6
    assert max(errors.values()) < 1e-6


def test_camera_moves_with_the_ego_pose_it_fired_at(ask: Ask) -> None:
    camera = ask("moved_ego")
    assert camera["position"] == pytest.approx([2.0, 1.7, 1.5])
    assert camera["looks"] == pytest.approx([0.0, 1.0, 0.0], abs=1e-9)


def test_elements_are_cut_at_the_window(ask: Ask) -> None:
    parts = ask("clipped")
    assert parts["line"] == [[[-30.0, 0.0], [30.0, 0.0]], [[30.0, 5.0], [-30.0, 5.0]]]
    assert sorted(map(tuple, parts["area"])) == [(25.0, -2.0), (25.0, 2.0), (30.0, -2.0), (30.0, 2.0)]
    assert parts["outside"] == []


def test_dashes_are_linked_along_but_not_across_lanes(ask: Ask) -> None:
    found = ask("linked")
    assert [line[:2] for line in found["lines"]] == [[[0.0, 0.0], [33.0, 0.0]], [[0.0, 3.5], [33.0, 3.5]]]
    assert all(line[2] == pytest.approx(12 / 33) for line in found["lines"])
    assert found["stripes"] == 0


def test_velocity_is_of_the_ground_and_a_car_points_where_it_goes(ask: Ask) -> None:
    standing, moving = sorted(ask("velocity")["objects"])
    assert moving[1] == pytest.approx([8.0, 0.0], abs=0.4)
    assert math.cos(moving[2]) == pytest.approx(1.0)
    assert standing[1] == [0.0, 0.0]
    assert standing[0][:2] == pytest.approx([6.0, -7.0])


def test_a_standing_car_gains_by_every_sighting_and_outlives_a_missing_one(ask: Ask) -> None:
    first, second, hidden = ask("sightings")
    assert first["spread"] > second["spread"]
    assert first["confidence"] < second["confidence"]
    assert 0.0 < hidden["confidence"] < second["confidence"]
    assert hidden["center"][:2] == pytest.approx([second["center"][0] - 3.0, second["center"][1]])


def test_the_road_bends_on_beyond_its_lines(ask: Ask) -> None:
    """Along a circle of 60 m: beside the line, 12 m beyond its end, and a heading for nothing to see."""
    bend = ask("directions")
    assert bend["beside"] == pytest.approx(bend["true_beside"], abs=0.05)
    assert bend["beyond"] == pytest.approx(bend["true_beyond"], abs=0.08)
    assert bend["without"] == pytest.approx(0.3)
    assert len(bend["candidates"]) == 4


@pytest.fixture
def street(ask: Ask) -> dict[str, Any]:
    """What is found in the drawn street: `all` cameras, `again`, and the `front` camera alone."""
    found: dict[str, Any] = ask("street")
    return found


@pytest.mark.full
def test_two_runs_give_the_same(street: dict[str, Any]) -> None:
    assert street["all"] == street["again"]


def test_cars_are_found_where_they_stand(street: dict[str, Any]) -> None:
    cars = [d["bbox_3d"]["center"] for d in street["all"]["detections_3d"] if d["class_name"] == "car"]
    for place in ((20.0, -1.75), (10.0, 5.25), (-15.0, 1.75)):
        assert min(math.dist(place, car[:2]) for car in cars) < 0.5 + 0.05 * math.hypot(*place)
    assert len(cars) <= 5


def test_cars_are_boxes_in_the_pictures_that_show_them(street: dict[str, Any]) -> None:
    """In each camera's own pixels; and from one picture with its calibration and nothing else."""
    ahead, beside = (np.clip(drawn, 0, [800, 450, 800, 450]) for drawn in street["drawn"])
    for outputs, there in ((street["all"], (ahead, beside)), (street["alone"], (ahead,))):
        boxes = [box["bbox_xyxy"] for box in outputs["detections_2d"] if box["camera"] == "CAM_FRONT"]
        assert len(boxes) == len(there)
        for drawn in there:
            assert max(_iou(drawn, box) for box in boxes) > 0.8
        assert all(0 <= x1 < x2 <= 800 and 0 <= y1 < y2 <= 450 for x1, y1, x2, y2 in boxes)
    assert {box["camera"] for box in street["all"]["detections_2d"]} >= {"CAM_FRONT", "CAM_BACK"}
    assert {box["class_name"] for box in street["all"]["detections_2d"]} == {"car"}


def _iou(a: np.ndarray, second: list[float]) -> float:
    b = np.array(second)
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))


def test_lines_and_kerbs_are_where_they_were_painted(street: dict[str, Any]) -> None:
    elements = street["all"]["map_elements"]
    for kind, offset in (("divider", 0.0), ("divider", 3.5), ("divider", -3.5), ("boundary", 7.3), ("boundary", -7.3)):
        beside = [e for e in elements if e["type"] == kind and _mean_distance(e, offset) < 0.2]
        assert sum(_length(e) for e in beside) > 30.0, (kind, offset)


def test_crossing_is_outlined_from_kerb_to_kerb(street: dict[str, Any]) -> None:
    (crossing,) = (e for e in street["all"]["map_elements"] if e["type"] == "ped_crossing")
    outline = np.array(crossing["points"])
    assert outline[0].tolist() == outline[-1].tolist()
    assert outline[:, 0].min() == pytest.approx(12.0, abs=0.3)
    assert outline[:, 0].max() == pytest.approx(15.0, abs=0.3)
    assert outline[:, 1].min() == pytest.approx(-7.3, abs=0.4)


def test_a_camera_alone_is_enough(street: dict[str, Any]) -> None:
    front = street["front"]
    assert any(math.dist(d["bbox_3d"]["center"][:2], (20.0, -1.75)) < 2.0 for d in front["detections_3d"])
    assert all(d["bbox_3d"]["center"][0] > 0 for d in front["detections_3d"])
    assert any(e["type"] == "divider" for e in front["map_elements"])


def test_bad_input_is_named(ask: Ask) -> None:
    said = ask("bad_input")
    assert "nowhere.png" in said["missing"]
    assert "torn.png" in said["torn"]
    assert "CAM_FRONT" in said["zeros"]
    assert "singular" in said["zeros"]
    assert "CAM_FRONT" in said["rotation"]
    assert "1600x900" in said["size"]
    assert "IMAGE has no intrinsic and no sensor2ego" in said["uncalibrated"]
    assert "no camera" in said["none"]


def test_demo_runs_alone_and_the_same_each_time(
    groundplane_environment: Environment, synthetic_data: NuScenes, tmp_path: Path
) -> None:
    token = synthetic_data.scenes()[0].samples[0]
    written = [_demo(groundplane_environment, synthetic_data.root, token, tmp_path / f"{n}.json") for n in (1, 2)]
    outputs = [json.loads(path.read_text()) for path in written]
    for output in outputs:
        _strip_measurements(output)
    assert outputs[0] == outputs[1]
    text = written[0].read_text()
    assert "detections_3d" in text
    assert "map_elements" in text


def test_real_frame_gives_sane_output(ask: Ask, tmp_path: Path) -> None:
    if not REAL_FRAME.is_dir():
        pytest.skip("needs the real nuScenes frame in ../shared/data/nuscenes-frame")
    (tmp_path / "sample.json").write_text(json.dumps(_real_sample()))
    found = ask("run_sample")
    assert 3 <= len(found["detections_3d"]) <= 120
    assert any(d["class_name"] == "car" for d in found["detections_3d"])
    assert 3 <= len(found["map_elements"]) <= 50
    for element in found["map_elements"]:
        points = np.array(element["points"])
        assert np.isfinite(points).all()
        assert (np.abs(points - [0.94, 0.0]) <= [30.001, 15.001]).all()
    numbers = [d["bbox_3d"]["center"] + d["bbox_3d"]["size_wlh"] for d in found["detections_3d"]]
    assert np.isfinite(numbers).all()
    assert np.hypot(*np.array(numbers)[:, :2].T).max() < 60.0


def _demo(environment: Environment, root: Path, token: str, out: Path) -> Path:
    command: list[str | Path] = [environment.python, MODEL / "demo.py", "--sample-token", token, "--dataroot", root]
    command += ["--version", "v1.0-mini", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return out


def _strip_measurements(value: Any) -> None:
    """Leave out measured times and memory, wherever they stand."""
    if isinstance(value, dict):
        for key in [key for key in value if key.endswith(("_time", "_used"))]:
            del value[key]
        for inner in value.values():
            _strip_measurements(inner)


def _length(element: dict[str, Any]) -> float:
    return float(np.hypot(*np.diff(np.array(element["points"]), axis=0).T).sum())


def _mean_distance(element: dict[str, Any], offset: float) -> float:
    """The mean distance of an element's nodes from the line y = offset [m]."""
    return float(np.abs(np.array(element["points"])[:, 1] - offset).mean())


def _real_sample() -> dict[str, Any]:
    """The real frame as an adapter gets it; its cameras' ego poses are taken for the key frame's."""
    frame = json.loads((REAL_FRAME / "frame.json").read_text())["frame"]
    cameras = {}
    for name, entry in frame["images"].items():
        pose = np.array(entry["cam2ego"])
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        cameras[name] = {
            "path": str(REAL_FRAME / entry["img_path"]),
            "width": 1600,
            "height": 900,
            "timestamp_us": int(entry["timestamp"] * 1e6),
            "intrinsic": entry["cam2img"],
            "sensor2ego": {"translation": pose[:3, 3].tolist(), "rotation_wxyz": [w, x, y, z]},
            "ego2global": EGO,
        }
    lidar = {"path": "", "timestamp_us": 0, "sensor2ego": LIDAR, "ego2global": EGO}
    return {
        "sample_token": frame["token"],
        "scene": "scene-0061",
        "scene_token": "real",
        "index_in_scene": 0,
        "timestamp_us": int(frame["timestamp"] * 1e6),
        "ego2global": EGO,
        "cameras": cameras,
        "lidar": lidar,
    }
