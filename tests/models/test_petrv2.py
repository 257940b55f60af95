"""PETRv2's adapter: which pictures it looks back at; with `full`, the real model against upstream's way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import Admlops
from tests.models.both_ways import (
    TOLERANCE,
    VARIANTS,
    differences,
    find_environment,
    load_module,
    run_inside,
    run_two_samples,
)
from tests.models.petr_proof import check_agreement, compare_known_boxes, convert_car, make_scenes

from admlops.datasets.nuscenes.sample_index import build_index
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.worker.samples.sample_index import SampleIndex
from worker.samples.errors import DataError

full = pytest.mark.full


def test_its_boxes_are_of_mmdet3d_017() -> None:
    """As PETR's: width, length, height, and a yaw that is -π for a car that looks where the vehicle looks."""
    box = convert_car(load_module("PETRv2").PETRv2(), [1.9, 4.5, 1.6, -np.pi])
    assert np.allclose(box.size_wlh, [1.9, 4.5, 1.6], atol=1e-6)
    assert np.allclose(np.abs(box.rotation_wxyz), [1.0, 0.0, 0.0, 0.0], atol=1e-6)


def test_it_looks_at_the_frames_that_upstreams_list_holds(synthetic_data: NuScenes, indexed: SampleIndex) -> None:
    """The list's files for every sample of a scene, against a walk along the tables as generate_sweep_pkl.py walks."""
    demo = load_module("PETRv2")
    history = demo.CameraHistory()
    rows = json.loads((synthetic_data.root / "v1.0-mini" / "sample_data.json").read_text())
    longest = 0
    for token in synthetic_data.scenes()[0].samples:
        sample = indexed.sample(token)
        earlier = history.before(sample, indexed.context(token))
        entries = demo.sweep_entries(earlier, sample["lidar"], count=30)
        files = [{name: relative(row["data_path"], indexed) for name, row in entry.items()} for entry in entries]
        assert files == walk(token, {row["token"]: row for row in rows}, synthetic_data)
        assert len(demo.sweep_entries(earlier, sample["lidar"], count=15)) == min(len(entries), 15)
        longest = max(longest, len(entries))
    assert longest == 18, "three key frames before the last sample, and five entries before each"


def test_it_needs_the_scene_from_its_beginning(synthetic_data: NuScenes, indexed: SampleIndex) -> None:
    history = load_module("PETRv2").CameraHistory()
    first, second, third = synthetic_data.scenes()[0].samples[:3]
    history.before(indexed.sample(first), indexed.context(first))
    with pytest.raises(DataError, match=f"has not seen {second} before {third}; run whole scenes"):
        history.before(indexed.sample(third), indexed.context(third))


def test_it_needs_pictures_between_key_frames(synthetic_data: NuScenes, indexed: SampleIndex) -> None:
    history = load_module("PETRv2").CameraHistory()
    first, second = synthetic_data.scenes()[0].samples[:2]
    history.before(indexed.sample(first), indexed.context(first))
    context = indexed.context(second)
    only_keys = {name: [row for row in rows if row["is_key_frame"]] for name, rows in context["camera_sweeps"].items()}
    with pytest.raises(DataError, match=f"the tables list none before {second}; unpack the cameras' sweeps"):
        history.before(indexed.sample(second), {**context, "camera_sweeps": only_keys})
    history.before(indexed.sample(second), context)


def test_how_far_back_a_pipeline_looks() -> None:
    demo = load_module("PETRv2")
    load, sweeps = {"type": "LoadMultiViewImageFromFiles"}, "LoadMultiViewImageFromMultiSweepsFiles"
    assert demo.entries_looked_at([load]) == 0
    assert demo.entries_looked_at([load, {"type": sweeps, "sweeps_num": 1, "sweep_range": [3, 27]}]) == 15


def test_it_reads_the_pictures_of_two_frames() -> None:
    """The pipeline takes the entry of a second and a quarter before; a scene's first sample has none."""
    adapter = load_module("PETRv2").PETRv2()
    adapter._entries = 15
    sweeps = [{"CAM_FRONT": {"data_path": f"{number}.jpg"}} for number in range(15)]
    info = {"cams": {"CAM_FRONT": {"data_path": "now.jpg"}}, "sweeps": sweeps}
    assert adapter.pictures(info) == ["now.jpg", "14.jpg"]
    assert adapter.pictures({**info, "sweeps": []}) == ["now.jpg"]


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_damaged_pictures_are_the_datas_fault(variant: str, tmp_path: Path) -> None:
    """A sample's own picture gone, an earlier frame cut off, one whose head is zeros, and one that was scaled."""
    environment = find_environment("PETRv2", variant)
    scenes = make_scenes(tmp_path, scenes=2, samples=4, camera_sweeps=5, scale=0.25)
    index = SampleIndex(str(scenes.root), "v1.0-mini")
    tokens, others = (scene.samples for scene in scenes.data.scenes())
    gone = Path(index.sample(tokens[1])["cameras"]["CAM_FRONT"]["path"])
    # What a fourth sample looks at: three pictures before the second sample's own.
    cut, empty = (Path(index.context(of[1])["camera_sweeps"]["CAM_BACK"][2]["path"]) for of in (tokens, others))
    scaled = Path(index.sample(others[2])["cameras"]["CAM_FRONT"]["path"])
    gone.unlink()
    with Image.open(scaled) as picture:
        picture.resize((200, 112)).save(scaled)
    cut.write_bytes(cut.read_bytes()[:-1000])
    empty.write_bytes(b"\xff\xd8" + bytes(1000) + empty.read_bytes()[1002:])
    wanted = {"model": "PETRv2", "config": "", "dataroot": str(scenes.root), "tokens": [*tokens, *others]}
    found = json.loads(run_inside(environment, "prepare_samples.py", wanted).splitlines()[-1])
    assert [kind for kind, _ in found] == ["", "data", "", "data", "", "", "data", "data"]
    assert f"{gone} cannot be read" in found[1][1]
    assert f"{cut} is not a whole picture" in found[3][1]
    assert f"{scaled} is 200x112, but its calibration is for 400x225" in found[6][1]
    assert f"{empty} is not a whole picture" in found[7][1]


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_adapter_gives_what_upstream_gives(variant: str, tmp_path: Path) -> None:
    """No sweeps at the first sample, six entries at the second, and at the fourth the entry from 1.25 s before."""
    scenes = make_scenes(tmp_path, scenes=1, samples=4, camera_sweeps=5)
    tokens = scenes.data.scenes()[0].samples
    ours = np.load(scenes.run("PETRv2", variant, "ours", tokens, calls=1) / "ours.npz")
    folder = scenes.run("PETRv2", variant, "upstream", tokens, calls=1)
    found = differences(ours, np.load(folder / "upstream.npz"))
    print(json.dumps(found))
    assert ours["3/img"].shape == (1, 12, 3, 320, 800)
    ages = ours["3/timestamp"].reshape(2, 6).mean(axis=1)
    assert ages[1] - ages[0] == pytest.approx(1.25, abs=0.01)
    assert found["img"] == found["timestamp"] == found["labels_3d"] == 0.0
    assert max(found.values()) <= TOLERANCE
    assert compare_known_boxes(scenes, folder, "PETRv2") > 100


@full
@pytest.mark.timeout(3600)
def test_the_variants_agree(tmp_path: Path) -> None:
    scenes = make_scenes(tmp_path, scenes=1, samples=2, camera_sweeps=5)
    check_agreement(scenes, "PETRv2", scenes.data.scenes()[0].samples)


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_through_admlops_is_a_run(variant: str, tmp_path: Path, admlops: Admlops) -> None:
    scenes = make_scenes(tmp_path, scenes=1, samples=2, camera_sweeps=5)
    run_two_samples(admlops, "PETRv2", variant, scenes.root)


def walk(token: str, rows: dict[str, Any], data: NuScenes) -> list[dict[str, str]]:
    """Files of each entry: for each key frame before, five steps along each camera's chain, then that key frame."""
    samples = {row["token"]: row for row in json.loads((data.root / "v1.0-mini" / "sample.json").read_text())}
    channels = {name: name for name in data.sample(token)["cameras"]}
    keys = {
        (row["sample_token"], name): row
        for row in rows.values()
        for name in channels
        if row["is_key_frame"] and f"/{name}/" in row["filename"]
    }
    current = {name: keys[token, name] for name in channels}
    entries: list[dict[str, str]] = []
    for _ in range(5):
        before = samples[token]["prev"]
        if not before:
            break
        for _ in range(5):
            if not all(row["prev"] for row in current.values()):
                entries.append(entries[-1])
                continue
            current = {name: rows[row["prev"]] for name, row in current.items()}
            entries.append({name: row["filename"] for name, row in current.items()})
        token = before
        current = {name: keys[token, name] for name in channels}
        entries.append({name: row["filename"] for name, row in current.items()})
    return entries


def relative(path: str, index: SampleIndex) -> str:
    return str(Path(path).relative_to(index.dataroot))


@pytest.fixture(scope="module")
def indexed(synthetic_data: NuScenes, tmp_path_factory: pytest.TempPathFactory) -> SampleIndex:
    """The synthetic data set's tables, copied and indexed; no image is read here."""
    root = tmp_path_factory.mktemp("indexed")
    shutil.copytree(synthetic_data.root / "v1.0-mini", root / "v1.0-mini")
    build_index(root, "v1.0-mini", say=print)
    return SampleIndex(str(root), "v1.0-mini")
