"""Synthetic scenes in OpenLane-V2's layout: the lane graph is the world's, and elements are where they are painted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.conftest import Admlops

from admlops.core.errors import UsageError
from admlops.datasets.openlane.frames import OpenLaneV2
from admlops.synthetic.openlane_elements import GO_STRAIGHT, GREEN, RED, TURN_LEFT, TURN_RIGHT, list_elements
from admlops.synthetic.openlane_lanes import list_centrelines
from admlops.synthetic.openlane_rig import AXLE_HEIGHT_M
from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane
from admlops.synthetic.options import LOCATIONS
from admlops.synthetic.world import generate_world

Frame = dict[str, Any]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("openlane") / "data"
    synthesize_openlane(target, OpenLaneOptions(scenes=4, samples=2, seed=3, scale=0.4))
    return target


@pytest.fixture(scope="module")
def frames(root: Path) -> list[Frame]:
    return [json.loads(path.read_text()) for path in sorted(root.rglob("info/*.json"))]


def digest(root: Path) -> dict[str, str]:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.full
def test_the_same_options_give_the_same_bytes(tmp_path: Path) -> None:
    options = OpenLaneOptions(scenes=2, samples=1, seed=5, scale=0.1)
    assert synthesize_openlane(tmp_path / "a", options, workers=1)
    assert synthesize_openlane(tmp_path / "b", options, workers=2)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert not synthesize_openlane(tmp_path / "a", options)
    with pytest.raises(UsageError, match="other options"):
        synthesize_openlane(tmp_path / "a", OpenLaneOptions(scenes=1, samples=1, scale=0.1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_command_writes_it(tmp_path: Path, admlops: Admlops) -> None:
    small = ("--scenes", "1", "--samples", "1", "--scale", "0.1")
    done = admlops("data", "synthesize", tmp_path / "d", "--format", "openlane-v2", *small, "--json")
    assert json.loads(done.stdout)["written"] is True
    assert OpenLaneV2(tmp_path / "d").scenes()[0].name == "val-10000"
    refused = admlops("data", "synthesize", tmp_path / "d", *small, check=False)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    wrong = admlops("data", "synthesize", tmp_path / "e", "--format", "openlane-v2", "--samples", "0", check=False)
    assert wrong.returncode == 2
    assert "--samples" in wrong.stderr
    assert not (tmp_path / "e").exists()


def test_lanes_lie_around_the_vehicle_on_the_ground(frames: list[Frame]) -> None:
    for frame in frames:
        lanes = frame["annotation"]["lane_centerline"]
        assert len(lanes) > 3
        assert len({lane["id"] for lane in lanes}) == len(lanes)
        for lane in lanes:
            points = np.array(lane["points"])
            assert points.shape == (201, 3)
            assert np.abs(points[:, 0]).max() <= 50.0
            assert np.abs(points[:, 1]).max() <= 25.0
            assert np.abs(points[:, 2] + AXLE_HEIGHT_M).max() < 0.4, "the vehicle pitches and rolls a little"
            steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
            assert steps.max() < steps.min() * 1.05 + 1e-5, "equal steps"
        nearest = min(np.linalg.norm(np.array(lane["points"])[:, :2], axis=1).min() for lane in lanes)
        assert nearest < 1.5, "the vehicle drives in a lane"


def test_a_lane_runs_into_the_lane_that_begins_where_it_ends(frames: list[Frame]) -> None:
    edges = 0
    for frame in frames:
        lanes = [np.array(lane["points"]) for lane in frame["annotation"]["lane_centerline"]]
        for i, row in enumerate(frame["annotation"]["topology_lclc"]):
            for j, joined in enumerate(row):
                gap = float(np.linalg.norm(lanes[i][-1] - lanes[j][0]))
                assert (gap < 1e-3) == bool(joined)
                edges += joined
    assert edges > 20


def test_the_graph_of_a_world_is_its_connectors() -> None:
    for location in LOCATIONS:
        world = generate_world(location, 3)
        lines = list_centrelines(world)
        ways = [line for line in lines if line.in_junction]
        assert len(ways) == len(world.connectors)
        assert {line.movement for line in ways} == {"straight", "near", "far"}
        for line in lines:
            for number in line.successors:
                end, start = line.course.poses(line.course.length)[0], lines[number].course.poses(0.0)[0]
                assert np.allclose(end[:2], start[:2], atol=1e-6)
        for element in list_elements(world):
            governed = [line for line in lines if element.governs(line, lines)]
            assert {line.arm for line in governed} == {element.arm}
            movements = {line.movement for line in governed if line.in_junction}
            expected = {"straight", "near", "far"} if element.movement == "all" else {element.movement}
            assert movements == expected
            assert all(line.in_junction or line.successors for line in governed)


def test_elements_are_where_they_are_painted(root: Path, frames: list[Frame]) -> None:
    """A lit lamp or a board's blue lies inside each box, and in its right part."""
    seen = set()
    for frame in frames:
        front = frame["sensor"]["ring_front_center"]["image_path"]
        with Image.open(root / front) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=float)
        for element in frame["annotation"]["traffic_element"]:
            (x1, y1), (x2, y2) = np.array(element["points"])
            assert 0 <= x1 < x2 <= pixels.shape[1]
            assert 0 <= y1 < y2 <= pixels.shape[0]
            inside = pixels[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
            seen.add(element["attribute"])
            assert_painted(inside, element["attribute"])
    assert seen >= {GREEN, GO_STRAIGHT}
    assert seen <= {RED, GREEN, GO_STRAIGHT, TURN_LEFT, TURN_RIGHT}


def assert_painted(inside: NDArray[Any], attribute: int) -> None:
    red, green, blue = inside[..., 0], inside[..., 1], inside[..., 2]
    height = len(inside)
    if attribute == GREEN:
        assert np.argmax((green - red).max(axis=1)) > height / 2, "the lowest lamp"
        assert (green - red).max() > 40
    elif attribute == RED:
        assert np.argmax((red - green).max(axis=1)) < height / 2, "the highest lamp"
        assert (red - green).max() > 40
    else:
        assert np.median(blue - red) > 15
        assert inside.min(axis=2).max() > 1.4 * np.median(inside.min(axis=2)), "a bright arrow"


def test_elements_govern_lanes_that_are_there(frames: list[Frame]) -> None:
    governed = 0
    for frame in frames:
        annotation = frame["annotation"]
        relation = np.array(annotation["topology_lcte"])
        assert relation.shape == (len(annotation["lane_centerline"]), len(annotation["traffic_element"]))
        governed += int(relation.any(axis=0).sum())
        names = [element["id"] for element in annotation["traffic_element"]]
        assert len(set(names)) == len(names)
    assert governed > 5


def test_seven_cameras_look_all_around(frames: list[Frame]) -> None:
    sensors = frames[0]["sensor"]
    assert next(iter(sensors)) == "ring_front_center"
    yaws = []
    for sensor in sensors.values():
        rotation = np.array(sensor["extrinsic"]["rotation"])
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert abs(rotation[2, 2]) < 0.01, "level"
        yaws.append(np.degrees(np.arctan2(rotation[1, 2], rotation[0, 2])) % 360)
    assert np.diff(sorted([*yaws, min(yaws) + 360])).max() < 60
    assert yaws[0] == pytest.approx(0.0, abs=1e-6)
