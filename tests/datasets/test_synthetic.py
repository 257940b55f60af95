"""A synthetic data set: the same bytes each time, tables that hold together, numbers that agree with each other."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from admlops.synthetic import SCENE_NAMES, SynthesisOptions, read_marker, synthesize
from admlops.synthetic.options import list_scenes
from admlops.synthetic.randomness import make_generator
from admlops.synthetic.renderer import render_camera
from admlops.synthetic.stage import outline, set_stage
from admlops.synthetic.traffic import plan_ego
from admlops.synthetic.world import generate_world

OPTIONS = SynthesisOptions(scenes=1, samples=2, seed=3, scale=0.25, lidar_sweeps=1, camera_sweeps=1)

Tables = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("synthetic") / "data"
    assert synthesize(target, OPTIONS, workers=1)
    return target


@pytest.fixture(scope="module")
def tables(root: Path) -> Tables:
    return {path.stem: json.loads(path.read_text()) for path in (root / "v1.0-mini").glob("*.json")}


def digest_folder(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.full
def test_same_options_give_the_same_bytes_and_another_seed_another_world(root: Path, tmp_path: Path) -> None:
    """The second time in a process of its own, as with several scenes; the seed changes tokens, images and roads."""
    two = SynthesisOptions(scenes=2, samples=1, seed=3, scale=0.1, lidar_sweeps=0, camera_sweeps=0)
    synthesize(tmp_path / "alone", two, workers=1)
    synthesize(tmp_path / "together", two, workers=2)
    assert digest_folder(tmp_path / "alone") == digest_folder(tmp_path / "together")
    other = SynthesisOptions(scenes=1, samples=1, seed=4, scale=0.1, lidar_sweeps=0, camera_sweeps=0)
    synthesize(tmp_path / "other", other, workers=1)
    same = Counter(digest_folder(tmp_path / "alone").values()) & Counter(digest_folder(tmp_path / "other").values())
    fixed = {"category", "attribute", "visibility", "sensor"}
    allowed = Counter(digest_folder(tmp_path / "alone")[f"v1.0-mini/{name}.json"] for name in fixed)
    assert same == allowed


def test_the_layout_is_whole(root: Path, tables: Tables) -> None:
    assert len(tables) == 13
    assert [scene["name"] for scene in tables["scene"]] == ["scene-0103"]
    for row in tables["sample_data"]:
        assert (root / row["filename"]).is_file()
        assert row["filename"].startswith("samples/" if row["is_key_frame"] else "sweeps/")
    listed = {row["filename"] for row in tables["sample_data"]}
    found = {str(p.relative_to(root)) for kind in ("samples", "sweeps") for p in (root / kind).rglob("*.*")}
    assert listed == found
    # Two key frames and a sweep between them, from six cameras and the LiDAR.
    assert Counter(row["is_key_frame"] for row in tables["sample_data"]) == {True: 14, False: 7}
    assert len(list((root / "maps" / "expansion").glob("*.json"))) == 4
    assert all((root / row["filename"]).is_file() for row in tables["map"])
    marker = read_marker(root)
    assert marker is not None
    assert marker["options"] == OPTIONS.as_dict()


def test_every_token_resolves(tables: Tables) -> None:
    index = {name: {row["token"] for row in rows} for name, rows in tables.items()}
    for name, rows in tables.items():
        assert len(index[name]) == len(rows), f"{name} has a token twice"
        for row in rows:
            for key, value in row.items():
                table = key.removesuffix("_token").removesuffix("_tokens")
                table = {"first_sample": "sample", "last_sample": "sample"}.get(table, table)
                table = {"first_annotation": "sample_annotation", "last_annotation": "sample_annotation"}.get(
                    table, table
                )
                if key.endswith(("_token", "_tokens")):
                    for token in [value] if isinstance(value, str) else value:
                        assert token in index[table], f"{name}.{key}"


@pytest.mark.parametrize("name", ["sample", "sample_data", "sample_annotation"])
def test_chains_are_symmetric_and_in_time_order(tables: Tables, name: str) -> None:
    rows = {row["token"]: row for row in tables[name]}
    times = {row["token"]: row["timestamp"] for row in tables["sample"]}
    for row in rows.values():
        assert row["next"] == "" or rows[row["next"]]["prev"] == row["token"]
        assert row["prev"] == "" or rows[row["prev"]]["next"] == row["token"]
        if row["next"]:
            following = rows[row["next"]]
            same = {"sample": "scene_token", "sample_data": "calibrated_sensor_token"}.get(name, "instance_token")
            assert following[same] == row[same]
            after, before = (
                times[one["sample_token"]] if name == "sample_annotation" else one["timestamp"]
                for one in (following, row)
            )
            assert after > before
    assert len([row for row in rows.values() if row["prev"] == ""]) == len(
        [r for r in rows.values() if r["next"] == ""]
    )


def pose(row: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(np.roll(row["rotation"], -1)).as_matrix()
    matrix[:3, 3] = row["translation"]
    return matrix


def test_point_counts_agree_with_the_sweeps(root: Path, tables: Tables) -> None:
    calibrations = {row["token"]: row for row in tables["calibrated_sensor"]}
    egos = {row["token"]: row for row in tables["ego_pose"]}
    counted = 0
    for data in tables["sample_data"]:
        if not data["is_key_frame"] or data["fileformat"] != "pcd":
            continue
        sweep = np.fromfile(root / data["filename"], dtype=np.float32).reshape(-1, 5)
        assert set(np.unique(sweep[:, 4])) <= set(range(32))
        to_world = pose(egos[data["ego_pose_token"]]) @ pose(calibrations[data["calibrated_sensor_token"]])
        points = np.c_[sweep[:, :3].astype(np.float64), np.ones(len(sweep))] @ to_world.T
        for box in tables["sample_annotation"]:
            if box["sample_token"] == data["sample_token"]:
                local = points @ np.linalg.inv(pose(box)).T
                width, length, height = box["size"]
                inside = (np.abs(local[:, :3]) <= np.array([length, width, height]) / 2).all(axis=1)
                assert inside.sum() == box["num_lidar_pts"]
                counted += box["num_lidar_pts"]
    assert counted > 500


def test_velocities_agree_with_positions(tables: Tables) -> None:
    """Annotated positions of an instance, half a second apart, move as its attribute says."""
    rows = {row["token"]: row for row in tables["sample_annotation"]}
    names = {row["token"]: row["name"] for row in tables["attribute"]}
    speeds: dict[str, list[float]] = {}
    for row in rows.values():
        if row["next"] and row["attribute_tokens"]:
            step = np.subtract(rows[row["next"]]["translation"], row["translation"])
            speeds.setdefault(names[row["attribute_tokens"][0]], []).append(float(np.hypot(*step[:2])) / 0.5)
    assert max(speeds["vehicle.parked"]) == 0.0
    assert min(speeds["vehicle.moving"]) > 2.0
    assert 0.3 < min(speeds["pedestrian.moving"]) <= max(speeds["pedestrian.moving"]) < 2.0


def test_objects_are_drawn_where_their_boxes_project() -> None:
    """What changes in the picture when an actor leaves it lies in its projected box and about fills it."""
    options = replace(OPTIONS, seed=4)  # whose front camera has cars before it
    stage = set_stage(list_scenes(options)[0], options)
    camera = next(camera for camera in stage.cameras if camera.channel == "CAM_FRONT")
    ego = stage.ego_pose(0.0)
    to_camera = np.linalg.inv(ego @ camera.to_ego)
    everything, _ = stage.place(0.0)
    checked = 0
    for actor in stage.actors:
        if actor.category != "vehicle.car":
            continue
        ground = outline(actor.motion.pose(0.0), actor.size)
        corners = np.concatenate([np.c_[ground, np.full(4, z)] for z in (0.0, actor.size[2])])
        local = np.c_[corners, np.ones(8)] @ to_camera.T
        if local[:, 2].min() < 2.0 or local[:, 2].max() > 35.0:
            continue
        pixels = local[:, :3] @ np.array(camera.intrinsic).T
        pixels = pixels[:, :2] / pixels[:, 2:]
        low, high = pixels.min(axis=0), pixels.max(axis=0)
        if (low < 0).any() or (high > [camera.width, camera.height]).any():
            continue
        # Shadows left out: they belong to the ground, not to the box.
        without, _ = stage.place(0.0, without=actor.index)
        pictures = [render_camera(stage.backdrop, camera, ego, things, [], None) for things in (everything, without)]
        first, second = (np.asarray(picture, dtype=np.int16) for picture in pictures)
        changed = np.argwhere(np.abs(first - second).max(axis=2) > 6)[:, ::-1] + 0.5
        if not len(changed):
            continue  # hidden by something nearer
        assert (changed.min(axis=0) > low - 1.5).all()
        assert (changed.max(axis=0) < high + 1.5).all()
        checked += 1
    assert checked >= 1


def test_roads_differ_and_the_ego_vehicle_stays_in_its_lane() -> None:
    """Lane width, lanes and the ego vehicle's place vary with the seed, so that no scene's map fits another's."""
    widths, counts, asides = set(), set(), set()
    for seed in range(12):
        for spec in list_scenes(SynthesisOptions(scenes=2)):
            world = generate_world(spec.location, seed)
            plan = plan_ego(world, spec.order, make_generator("scene", seed, spec.name))
            lane = plan.lanes[0]
            assert 3.0 <= lane.width <= 4.0
            assert abs(plan.ego.aside) <= lane.width / 2 - 0.95 - 0.2
            x, y, heading = plan.ego.pose(0.0)
            middle = lane.course.poses(plan.ego.arc(0.0))[0]
            assert np.hypot(x - middle[0], y - middle[1]) == pytest.approx(abs(plan.ego.aside))
            assert heading == pytest.approx(middle[2])
            widths.add(lane.width)
            counts.add(world.arms[lane.arm].lanes_per_direction)
            asides.add(round(plan.ego.aside, 3))
    assert len(widths) > 12
    assert max(widths) - min(widths) > 0.6
    assert counts == {2, 3}
    assert len(asides) == 24
    assert max(asides) - min(asides) > 0.6


def test_ten_scenes_carry_the_official_names() -> None:
    specs = list_scenes(SynthesisOptions(scenes=10))
    assert [spec.name for spec in specs] == list(SCENE_NAMES)
    assert SCENE_NAMES[:2] == ("scene-0103", "scene-0916")
    assert len(set(SCENE_NAMES)) == 10


def test_an_interrupted_synthesis_leaves_nothing(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        synthesize(tmp_path / "data", SynthesisOptions(scenes=1, samples=1, scale=0.1), on_progress=stop, workers=1)
    assert list(tmp_path.iterdir()) == []
