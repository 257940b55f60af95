"""What the LiDAR view embeds: points where they are, few enough, once; boxes with roles; a script that may run."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from dataclasses import replace as replaced
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from tests.reports.fabricate import make_metadata, make_record, make_run
from tests.reports.lidar_scene import LidarData, make_lidar_data, points_in_ego
from tests.reports.test_html import EVIL, Page

from admlops.core.errors import DataError
from admlops.datasets.nuscenes.sweeps import read_sweep, sweep_in_ego
from admlops.datasets.nuscenes.tables import NuScenes, rotation_matrix
from admlops.reports.html import render_report
from admlops.reports.lidar_view import MAX_POINTS, MAX_SWEEPS, draw_lidar
from admlops.reports.points import thin
from admlops.reports.scene_view import Cutoffs, SceneView, view_sample
from admlops.results.record import Record

DATA_BLOCK = re.compile(r'<script type="application/json" id="lidar-data">(.*?)</script>', re.DOTALL)
SCRIPT_BLOCK = re.compile(r"<script>(.*?)</script>", re.DOTALL)
VENDOR = resources.files("admlops.reports") / "vendor"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LidarData:
    return make_lidar_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def page(data: LidarData) -> str:
    return render_report([make_run()], None, data=data)


def embedded(page: str) -> dict[str, Any]:
    (block,) = DATA_BLOCK.findall(page)
    found: dict[str, Any] = json.loads(block)
    return found


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A sample as the page shows it."""

    id: str
    title: str
    rank: int
    view: SceneView
    record: Record


def show(record: Record, data: LidarData, *, rank: int, cutoffs: Cutoffs | None = None) -> Shown:
    view = view_sample(record, data, cutoffs=cutoffs)
    return Shown(id=f"sample-0-{rank}", title=f"{view.scene}, {rank}", rank=rank, view=view, record=record)


def decode(sweep: dict[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    points = np.frombuffer(base64.b64decode(sweep["xyz"]), dtype="<i2").reshape(-1, 3) / 100
    return points, np.frombuffer(base64.b64decode(sweep["intensity"]), dtype=np.uint8)


def test_points_are_embedded_where_they_are_in_the_ego_frame(page: str) -> None:
    sweep = embedded(page)["sweeps"]["token-000"]
    points, intensity = decode(sweep)
    there = points_in_ego()
    assert sweep["total"] == sweep["count"] == len(points) == len(there) <= MAX_POINTS
    assert np.allclose(points, there[:, :3], atol=0.0051)
    assert np.array_equal(intensity, there[:, 3])


def test_synthetic_points_lie_in_the_true_boxes(synthetic_data: NuScenes) -> None:
    """As many as the tables count, give or take one on the very side of a box."""
    token = synthetic_data.scenes()[0].samples[0]
    points, intensity = sweep_in_ego(synthetic_data.sample(token)["lidar"])
    assert np.percentile(np.abs(points[intensity > 0, 2]), 30) < 0.1, "much of it lies on the ground"
    boxes = synthetic_data.ground_truth(token)
    for box in boxes:
        local = (points - box.center) @ rotation_matrix(box.rotation_wxyz)
        width, length, height = box.size_wlh
        inside = (np.abs(local) <= np.array([length, width, height]) / 2).all(axis=1)
        assert abs(int(inside.sum()) - box.num_lidar_pts) <= 1
    assert sum(box.num_lidar_pts for box in boxes) > 50


def test_thinning_spares_what_is_far() -> None:
    chance = np.random.default_rng(5)
    near = np.column_stack([chance.uniform(-8, 8, (60_000, 2)), np.zeros(60_000)])
    far = np.array([[60.0, 1.3 * index, 0.5] for index in range(25)])
    points = np.concatenate([near, far])
    kept = thin(points, most=MAX_POINTS)
    assert np.array_equal(kept, thin(points, most=MAX_POINTS))
    assert 5_000 < len(kept) <= MAX_POINTS
    assert np.isin(np.arange(60_000, 60_025), kept).all()
    assert (np.diff(kept) > 0).all()
    assert np.array_equal(thin(points[:MAX_POINTS], most=MAX_POINTS), np.arange(MAX_POINTS)), (
        "few enough points all stay"
    )
    spread = chance.uniform(-100, 100, (30_000, 3))
    assert len(thin(spread, most=MAX_POINTS)) == MAX_POINTS, "no voxel thins these, so every so-manieth stays"


def test_roles_are_the_pages_and_less_confident_boxes_can_be_called_up(page: str) -> None:
    (first, _) = embedded(page)["scenes"]
    assert first["title"] == "scene-0103, key frame 0"
    assert first["card"] == "sample-0"
    assert f'id="{first["card"]}"' in page
    seen = [(box["label"], box["confidence"], box["role"], box["shown"]) for box in first["boxes"] if not box["truth"]]
    assert seen == [
        ("car", 0.92, "hit", True),
        ("car", 0.71, "hit", True),
        ("traffic_cone", 0.44, "false_alarm", True),
        ("car", 0.05, "unknown", False),
    ]
    truth = [(box["label"], box["role"]) for box in first["boxes"] if box["truth"]]
    assert sorted(truth) == [("car", "hit"), ("car", "hit"), ("car", "miss"), ("pedestrian", "miss")]
    assert first["boxes"][0]["pose"] == [14.0, 0.5, 0.8, 1.9, 4.5, 1.6, 1.0, 0.0, 0.0, 0.0]
    lines = [(line["label"], line.get("confidence"), line["role"]) for line in first["lines"] if not line["truth"]]
    assert lines == [("divider", 0.9, "hit"), ("boundary", 0.8, "hit"), ("divider", 0.5, "false_alarm")]
    assert first["lines"][-1]["points"] == [-10.0, -4.5, 0.0, 22.0, -3.5, 0.0]


def test_a_map_element_below_its_operating_point_is_embedded_but_not_shown(data: LidarData) -> None:
    points = {"map": {"divider": 0.6, "boundary": 0.5}, "detection": {"car": 0.5, "traffic_cone": 0.5}}
    section = draw_lidar([show(make_run().worst[0], data, rank=1, cutoffs=points)])
    assert section is not None
    (scene,) = json.loads(section.data)["scenes"]
    hidden = [(one["label"], one["confidence"]) for one in (*scene["boxes"], *scene["lines"]) if not one["shown"]]
    assert hidden == [("traffic_cone", 0.44), ("car", 0.05), ("divider", 0.5)]


def test_a_sweep_travels_once_and_only_so_many_do(data: LidarData) -> None:
    metas = make_metadata("GroundPlane", samples=MAX_SWEEPS + 2)
    first = [show(make_record(meta), data, rank=rank) for rank, meta in enumerate(metas, start=1)]
    other = [replaced(one, id=f"{one.id}-other", title="MapTR") for one in first[:3]]
    section = draw_lidar([*other, *first])
    assert section is not None
    found = json.loads(section.data)
    assert list(found["sweeps"]) == [meta.sample_token for meta in metas[:MAX_SWEEPS]]
    assert [scene["card"] for scene in found["scenes"]] == [one.id for one in (*other, *first[:MAX_SWEEPS])]
    assert (section.sweeps, section.left_out) == (MAX_SWEEPS, 2)


def test_the_policy_lets_these_scripts_run(page: str) -> None:
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0])
    assert policy.startswith("default-src 'none'")
    scripts = SCRIPT_BLOCK.findall(page)
    assert [one.startswith("/*! three.js\n\nThe MIT License") for one in scripts].count(True) == 1
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    parsed = Page(page)
    assert "The LiDAR points of 2 samples" in parsed.text
    assert all(link.startswith(("data:", "#")) for link in parsed.links)
    assert len(parsed.ids) == len(set(parsed.ids))


def test_names_cannot_leave_the_data(data: LidarData) -> None:
    (record, _) = make_run().worst
    evil = replace(record.metadata, scene="</script>" + EVIL, sample_token="</script><b>")
    section = draw_lidar([show(replace(record, metadata=evil), data, rank=1)])
    assert section is not None
    assert "<" not in section.data
    assert json.loads(section.data)["scenes"][0]["title"] == f"</script>{EVIL}, 1"


def test_a_missing_sweep_is_said(tmp_path: Path) -> None:
    data = make_lidar_data(tmp_path)
    (tmp_path / "sweep.pcd.bin").unlink()
    text = render_report([make_run()], None, data=data)
    assert f"the sweep {tmp_path / 'sweep.pcd.bin'} is missing. Next: unpack the LiDAR sweeps again" in Page(text).text
    assert "lidar-data" not in Page(text).ids


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.pcd.bin", b"x" * 21, "has 21 bytes"),
        ("a.pcd.bin", b"", "has 0 bytes"),
        ("a.pcd", b"# .PCD v0.7", "is not a .bin file"),
        ("a.pcd.bin", None, "is missing"),
    ],
)
def test_a_sweep_that_is_none_is_named(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_sweep(path)
    assert str(path) in caught.value.message


def test_points_without_a_place_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.pcd.bin"
    np.array([[1, 2, 3, 4, 0], [np.nan, 0, 0, 0, 0], [np.inf, 0, 0, 0, 0]], dtype="<f4").tofile(path)
    assert read_sweep(path).tolist() == [[1, 2, 3, 4, 0]]


def test_the_bundle_is_small_and_can_be_inlined() -> None:
    bundle = (VENDOR / "three.min.js").read_bytes()
    assert len(bundle) <= 600_000
    assert bundle.startswith(b"/*! three.js\n\n" + (VENDOR / "three.LICENSE").read_bytes())
    assert b"\r" not in bundle
    assert not re.search(rb"</script|<script|<!--", bundle, re.IGNORECASE), "it would end the element it stands in"
    locked = json.loads((VENDOR / "package-lock.json").read_text())["packages"]["node_modules/three"]["version"]
    assert json.loads((VENDOR / "package.json").read_text())["dependencies"] == {"three": locked}
    revision = locked.split(".")[1]
    assert f'REVISION:()=>"{revision}"'.encode() in bundle or f'"{revision}"'.encode() in bundle


@pytest.mark.full
def test_the_bundle_is_what_its_script_makes() -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs npm: apt-get install npm")
    script = Path(str(VENDOR / "make_three.sh"))
    done = subprocess.run([script, "--check"], capture_output=True, text=True, timeout=240, check=False)
    if re.search(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|network", done.stderr):
        pytest.skip(f"needs npm's registry: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr
