"""Ground-truth vectors against the official map API and against geometry worked out by hand."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluation.oracle_records import vectors_in_ego
from tests.fabricated_nuscenes import LOCATION, VERSION, write_map, write_tables

from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import CENTERLINE
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.datasets.nuscenes.vector_cache import cached_vectors
from admlops.datasets.nuscenes.vector_map import (
    MapVector,
    ego_to_patch,
    local_vectors,
    patch_pose,
    patch_to_ego,
    sample_vectors,
)
from admlops.environments import Environment

OFFICIAL = """
import json, sys
from nuscenes.map_expansion.map_api import NuScenesMap
root, name, poses = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
nusc_map = NuScenesMap(dataroot=root, map_name=name)
layers = ["road_divider", "lane_divider", "ped_crossing", "road_segment", "lane"]
found = []
for x, y, degrees in poses:
    geometries = nusc_map.get_map_geom((x, y, 60.0, 30.0), degrees, layers)
    found.append({name: [shape.wkt for shape in shapes] for name, shapes in geometries})
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> NuScenes:
    root = write_tables(tmp_path_factory.mktemp("maps") / "nuscenes")
    write_map(root)
    return NuScenes(root, VERSION)


def lengths(vectors: list[MapVector], kind: str) -> list[float]:
    return sorted(float(shapely.length(shapely.LineString(v.points))) for v in vectors if v.type == kind)


def write_square_map(root: Path, **changes: Any) -> Path:
    """A road of 20 × 100 m along y with its axis at x = 100, one divider in the middle, one crossing."""
    corners = {"a": (90, 0), "b": (110, 0), "c": (110, 100), "d": (90, 100)}
    crossing = {"e": (95, 48), "f": (105, 48), "g": (105, 52), "h": (95, 52)}
    nodes = {**corners, **crossing, "i": (100, 0), "j": (100, 100)}
    content = {
        "version": "1.3",
        "node": [{"token": token, "x": x, "y": y} for token, (x, y) in nodes.items()],
        "line": [{"token": "l", "node_tokens": ["i", "j"]}],
        "polygon": [
            {"token": "road", "exterior_node_tokens": list(corners), "holes": []},
            {"token": "crossing", "exterior_node_tokens": list(crossing), "holes": []},
        ],
        "road_divider": [{"token": "r", "line_token": "l"}],
        "lane_divider": [],
        "ped_crossing": [{"token": "p", "polygon_token": "crossing"}],
        "road_segment": [{"token": "s", "polygon_token": "road"}],
        "lane": [],
    } | changes
    path = root / "expansion" / "square.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_a_straight_road_by_hand(tmp_path: Path) -> None:
    """At (98, 50) with the LiDAR's y axis along the road: yaw of its x axis is 0."""
    write_square_map(tmp_path)
    vectors = local_vectors(tmp_path, "square", translation=(98.0, 50.0), yaw=0.0)
    assert [v.type for v in vectors] == ["divider", "ped_crossing", "boundary", "boundary"]
    divider, crossing, *boundaries = (v.points for v in vectors)
    np.testing.assert_allclose(np.sort(divider, axis=0), [[2, -30], [2, 30]], atol=1e-9)
    assert len(crossing) == 5
    np.testing.assert_allclose([crossing.min(axis=0), crossing.max(axis=0)], [[-3, -2], [7, 2]], atol=1e-9)
    np.testing.assert_allclose(sorted(b[:, 0].mean() for b in boundaries), [-8, 12], atol=1e-9)
    for boundary in boundaries:
        np.testing.assert_allclose(np.sort(boundary[:, 1]), [-29.8, 29.8], atol=1e-9)


def test_the_patch_turns_with_the_lidar(tmp_path: Path) -> None:
    """Turned by 90°, the road runs along x and reaches only 15 m to each side; its border leaves no boundary at ±15."""
    write_square_map(tmp_path)
    vectors = local_vectors(tmp_path, "square", translation=(98.0, 50.0), yaw=math.pi / 2)
    [divider] = [v.points for v in vectors if v.type == "divider"]
    np.testing.assert_allclose(np.sort(divider[:, 0]), [-15, 15], atol=1e-9)
    np.testing.assert_allclose(divider[:, 1], -2, atol=1e-9)
    assert lengths(vectors, "boundary") == pytest.approx([29.6, 29.6])


def test_nothing_near_gives_nothing(tmp_path: Path) -> None:
    write_square_map(tmp_path)
    assert local_vectors(tmp_path, "square", translation=(500.0, 500.0), yaw=0.3) == []


def test_geometry_equals_the_official_map_api(data: NuScenes, official_environment: Environment) -> None:
    """Dividers one by one; crossings and road as outlines of the union of what the devkit cuts out."""
    samples = [data.sample(token) for scene in data.scenes() for token in scene.samples]
    poses = [patch_pose(sample) for sample in samples]
    arguments = json.dumps([[*pose.translation, math.degrees(pose.yaw)] for pose in poses])
    command = [str(official_environment.python), "-c", OFFICIAL, str(data.root), LOCATION, arguments]
    completed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    inner = shapely.box(-14.8, -29.8, 14.8, 29.8)
    for sample, shapes in zip(samples, json.loads(completed.stdout.splitlines()[-1]), strict=True):
        vectors = sample_vectors(data.root / "maps", LOCATION, sample)
        official = {name: [shapely.from_wkt(text) for text in texts] for name, texts in shapes.items()}
        lines = [shapely.get_parts(line) for name in ("road_divider", "lane_divider") for line in official[name]]
        expected = sorted(float(part.length) for parts in lines for part in parts)
        assert lengths(vectors, "divider") == pytest.approx(expected, abs=1e-6)
        crossings = shapely.union_all(official["ped_crossing"])
        assert sum(lengths(vectors, "ped_crossing")) == pytest.approx(crossings.length, abs=1e-6)
        road = shapely.union_all(official["road_segment"] + official["lane"])
        assert sum(lengths(vectors, "boundary")) == pytest.approx(
            shapely.intersection(road.boundary, inner).length, abs=1e-6
        )
        for vector in vectors:
            assert np.abs(vector.points[:, 0]).max() <= 15.2
            assert np.abs(vector.points[:, 1]).max() <= 30.2


def test_ego_and_patch_frame_are_inverse_and_turned(data: NuScenes) -> None:
    sample = data.sample(data.scenes()[0].samples[2])

    @given(st.lists(st.tuples(st.floats(-100, 100), st.floats(-100, 100)), min_size=1))
    def check(points: list[tuple[float, float]]) -> None:
        back = patch_to_ego(ego_to_patch(points, sample), sample)
        np.testing.assert_allclose(back, points, atol=1e-9)

    check()
    # nuScenes' LiDAR sits 0.94 m ahead of the rear axle, its x axis to the vehicle's right.
    ahead, left = ego_to_patch([[10.94, 0.0], [0.94, 10.0]], sample)
    np.testing.assert_allclose(ahead, [0.0, 10.0], atol=0.2)
    np.testing.assert_allclose(left, [-10.0, 0.0], atol=0.2)


def test_vectors_in_ego_are_the_same_lines(data: NuScenes) -> None:
    token = data.scenes()[0].samples[0]
    sample = data.sample(token)
    patch = sample_vectors(data.root / "maps", data.location(token), sample)
    ego = vectors_in_ego(data.root / "maps", data.location(token), sample)
    assert [v.type for v in patch] == [v.type for v in ego]
    np.testing.assert_allclose(ego_to_patch(ego[0].points, sample), patch[0].points, atol=1e-9)


def test_a_changed_map_is_read_anew(tmp_path: Path) -> None:
    write_square_map(tmp_path)
    before = local_vectors(tmp_path, "square", translation=(98.0, 50.0), yaw=0.0)
    write_square_map(tmp_path, ped_crossing=[])
    after = local_vectors(tmp_path, "square", translation=(98.0, 50.0), yaw=0.0)
    assert (len(before), len(after)) == (4, 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "1.2"}, "map version 1.2; 1.3 is needed"),
        ({"lane": None}, "not a whole map expansion"),
        ({"node": []}, "names the token 'i'"),
        ({"line": [{"token": "l", "node_tokens": ["i"]}]}, "broken geometry"),
    ],
)
def test_a_map_that_is_not_whole_is_explained(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = write_square_map(tmp_path, **changes)
    with pytest.raises(DataError, match=said) as caught:
        local_vectors(tmp_path, "square", translation=(0.0, 0.0), yaw=0.0)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_half_a_file_and_no_file_are_explained(tmp_path: Path) -> None:
    path = write_square_map(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a whole map expansion"):
        local_vectors(tmp_path, "square", translation=(0.0, 0.0), yaw=0.0)
    with pytest.raises(DataError, match=r"atlantis\.json is missing"):
        local_vectors(tmp_path, "atlantis", translation=(0.0, 0.0), yaw=0.0)


def lane(start: tuple[float, float, float], shape: str, radius: float, lengths: tuple[float, float, float]) -> Any:
    return [{"start_pose": start, "shape": shape, "radius": radius, "segment_length": lengths, "end_pose": [0, 0, 0]}]


def write_fork(root: Path) -> Path:
    """A lane of 20 m along y that forks into one straight on and one turning left by 90° with a radius of 10 m."""
    corners = {"a": (80, 0), "b": (120, 0), "c": (120, 100), "d": (80, 100)}
    nodes = {**corners, "i": (100, 0), "j": (100, 100)}
    tokens = {"in": "lane", "left": "lane_connector", "ahead": "lane_connector"}
    quarter = 10 * math.pi / 2
    return write_square_map(
        root,
        node=[{"token": token, "x": x, "y": y} for token, (x, y) in nodes.items()],
        polygon=[{"token": "area", "exterior_node_tokens": list(corners), "holes": []}],
        ped_crossing=[],
        road_segment=[{"token": "s", "polygon_token": "area"}],
        **{
            layer: [{"token": token, "polygon_token": "area"} for token, own in tokens.items() if own == layer]
            for layer in ("lane", "lane_connector")
        },
        arcline_path_3={
            "in": lane((100.0, 30.0, math.pi / 2), "LSR", 500.0, (0.0, 20.0, 0.0)),
            "left": lane((100.0, 50.0, math.pi / 2), "LSL", 10.0, (quarter, 2.0, 0.0)),
            "ahead": lane((100.0, 50.0, math.pi / 2), "RSL", 500.0, (0.0, 20.0, 0.0)),
        },
        connectivity={
            "in": {"incoming": [], "outgoing": ["left", "ahead"]},
            "left": {"incoming": ["in"], "outgoing": []},
            "ahead": {"incoming": ["in"], "outgoing": []},
        },
    )


def test_a_fork_is_one_centerline_for_each_way(tmp_path: Path) -> None:
    write_fork(tmp_path)
    vectors = local_vectors(tmp_path, "square", translation=(100.0, 50.0), yaw=0.0, centerlines=True)
    left, ahead = sorted((v.points for v in vectors if v.type == CENTERLINE), key=lambda points: points[-1][0])
    assert sum(v.type == CENTERLINE for v in vectors) == 2
    np.testing.assert_allclose(ahead, [[0, -20], [0, 20]], atol=1e-3)
    np.testing.assert_allclose(left[[0, -1]], [[0, -20], [-12, 10]], atol=1e-3)
    # The arc lies within 0.2 m of a quarter circle around (-10, 0).
    arc = left[(left[:, 1] > 0.5) & (left[:, 0] > -9.5)]
    np.testing.assert_allclose(np.hypot(arc[:, 0] + 10, arc[:, 1]), 10.0, atol=0.01)
    assert lengths(vectors, CENTERLINE) == pytest.approx([20 + 5 * math.pi + 2, 40.0], abs=0.3)
    assert CENTERLINE not in {v.type for v in local_vectors(tmp_path, "square", translation=(100.0, 50.0), yaw=0.0)}


def test_centerlines_are_cut_to_the_patch(tmp_path: Path) -> None:
    write_fork(tmp_path)
    vectors = local_vectors(tmp_path, "square", translation=(100.0, 15.0), yaw=0.0, centerlines=True)
    (only,) = (v.points for v in vectors if v.type == CENTERLINE)
    np.testing.assert_allclose(only, [[0, 15], [0, 30]], atol=1e-3)


def by_token(data: NuScenes, tokens: list[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {token: (data.location(token), data.sample(token)) for token in tokens}


def test_the_cache_gives_what_was_cut_and_follows_the_content(data: NuScenes, tmp_path: Path) -> None:
    tokens = [token for scene in data.scenes() for token in scene.samples]
    maps, samples = tmp_path / "maps", by_token(data, tokens)
    shutil.copytree(data.root / "maps", maps)
    first = cached_vectors(maps, samples, cache=tmp_path / "cache")
    again = cached_vectors(maps, samples, cache=tmp_path / "cache")
    assert list(first) == list(again) == tokens
    for token in tokens:
        plain = sample_vectors(maps, data.location(token), data.sample(token))
        for one in (first[token], again[token]):
            assert [v.type for v in one] == [v.type for v in plain]
            assert all(np.array_equal(a.points, b.points) for a, b in zip(one, plain, strict=True))
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    # Another choice of samples, another class and another map are other files.
    cached_vectors(maps, by_token(data, tokens[:1]), cache=tmp_path / "cache")
    cached_vectors(maps, samples, cache=tmp_path / "cache", centerlines=True)
    assert len({path.name for path in (tmp_path / "cache").iterdir()} - names) == 2
    expansion = maps / "expansion" / f"{LOCATION}.json"
    content = json.loads(expansion.read_text())
    expansion.write_text(json.dumps({**content, "ped_crossing": []}))
    changed = cached_vectors(maps, samples, cache=tmp_path / "cache")
    assert "ped_crossing" not in {v.type for own in changed.values() for v in own}
    assert "ped_crossing" in {v.type for own in first.values() for v in own}


def test_the_cache_is_used_and_a_broken_one_made_anew(data: NuScenes, tmp_path: Path) -> None:
    tokens = data.scenes()[0].samples
    samples = by_token(data, list(tokens))
    first = cached_vectors(data.root / "maps", samples, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(path, **{**arrays, "points": arrays["points"] + 1.0})
    used = cached_vectors(data.root / "maps", samples, cache=tmp_path)
    np.testing.assert_allclose(used[tokens[0]][0].points, first[tokens[0]][0].points + 1.0)
    for broken in (b"", b"PK\x03\x04 no zip", path.read_bytes()[:200]):
        path.write_bytes(broken)
        mended = cached_vectors(data.root / "maps", samples, cache=tmp_path)
        np.testing.assert_array_equal(mended[tokens[0]][0].points, first[tokens[0]][0].points)
    with pytest.raises(DataError, match="is missing"):
        cached_vectors(tmp_path / "nowhere", samples, cache=tmp_path)
