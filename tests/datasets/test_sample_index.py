"""The sample index says what the tables say, in milliseconds, and never when it is stale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.conftest import Admlops
from tests.interpreters import INTERPRETERS

from admlops.core.errors import DataError as HostDataError
from admlops.core.errors import StorageError
from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.sample_index import Built, build_index
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.worker.samples.nuscenes import CAMERAS, DataError, Tables
from admlops.worker.samples.sample_index import FILE_NAME, SampleIndex, has_index

VERSION = "v1.0-mini"


@pytest.fixture
def root(synthetic_root: Path, tmp_path: Path) -> Path:
    """A data set of this test's own; its pictures are linked."""
    target = tmp_path / "nuscenes"
    target.mkdir()
    for item in synthetic_root.iterdir():
        if item.name in (VERSION, "can_bus"):
            shutil.copytree(item, target / item.name, ignore=shutil.ignore_patterns(FILE_NAME))
        else:
            (target / item.name).symlink_to(item)
    return target


@pytest.fixture
def built(root: Path) -> Built:
    return build_index(root, VERSION, say=lambda line: None)


def test_it_says_what_the_tables_say(root: Path, built: Built) -> None:
    tables, index = Tables(str(root), VERSION), SampleIndex(str(root), VERSION)
    assert index.scene_names() == tables.scene_names()
    samples = 0
    for scene in tables.scene_names():
        assert index.samples_of_scene(scene) == tables.samples_of_scene(scene)
        assert index.location(scene) == tables.location(scene)
        for token in tables.samples_of_scene(scene):
            assert index.sample(token) == tables.sample(token)
            samples += 1
    assert (built.samples, built.scenes) == (samples, 2)
    assert built.path == root / VERSION / FILE_NAME
    assert built.size_bytes == built.path.stat().st_size


def test_the_context_looks_back_within_the_scene(root: Path, built: Built) -> None:
    assert built.samples
    index = SampleIndex(str(root), VERSION)
    rows = json.loads((root / VERSION / "sample_data.json").read_text())
    by_name = {str(root / row["filename"]): row for row in rows}
    for scene in index.scene_names():
        tokens = index.samples_of_scene(scene)
        for number, token in enumerate(tokens):
            context, sample = index.context(token), index.sample(token)
            assert context["prev"] == (tokens[number - 1] if number else "")
            assert context["next"] == (tokens[number + 1] if number + 1 < len(tokens) else "")
            assert context["location"] == index.location(scene)
            for name in CAMERAS:
                sweeps = context["camera_sweeps"][name]
                times = [sweep["timestamp_us"] for sweep in sweeps]
                assert times == sorted(times, reverse=True)
                assert all(time < sample["cameras"][name]["timestamp_us"] for time in times)
                assert {by_name[sweep["path"]]["sample_token"] for sweep in context["camera_sweeps"][name]} <= set(
                    tokens
                )
            lidar = context["lidar_sweeps"]
            assert len(lidar) == 10 if number > 3 else len(lidar) <= 10
            assert [sweep["is_key_frame"] for sweep in lidar] == [by_name[s["path"]]["is_key_frame"] for s in lidar]


def test_the_context_holds_where_the_vehicle_drove(root: Path, built: Built) -> None:
    assert built.samples
    index = SampleIndex(str(root), VERSION)
    for scene in index.scene_names():
        tokens = index.samples_of_scene(scene)
        lidars = [index.sample(token)["lidar"] for token in tokens]
        places = [{name: lidar[name] for name in ("timestamp_us", "sensor2ego", "ego2global")} for lidar in lidars]
        for number, token in enumerate(tokens):
            driven = index.context(token)["driven"]
            assert driven["before"] == places[max(number - 2, 0) : number][::-1]
            assert driven["after"] == places[number + 1 : number + 7]
        assert index.context(tokens[0])["driven"]["after"], "there is something to compare"


def test_an_index_of_another_schema_is_refused(root: Path, built: Built) -> None:
    content = built.path.read_bytes()
    assert content.count(b'"schema": 2') == 1
    built.path.write_bytes(content.replace(b'"schema": 2', b'"schema": 1'))
    with pytest.raises(DataError, match="is not an index of this admlops: schema 1"):
        SampleIndex(str(root), VERSION)


def test_the_can_bus_is_the_message_before_and_after(root: Path, built: Built) -> None:
    assert built.samples
    index = SampleIndex(str(root), VERSION)
    scene = index.scene_names()[0]
    messages = json.loads((root / "can_bus" / f"{scene}_pose.json").read_text())
    for token in index.samples_of_scene(scene):
        time = index.sample(token)["timestamp_us"]
        around = index.context(token)["can_bus"]
        before = [message for message in messages if message["utime"] <= time] or messages[:1]
        after = [message for message in messages if message["utime"] > time] or messages[-1:]
        assert (around["last_pose"], around["pose"]) == (before[-1], after[0])
    shutil.rmtree(root / "can_bus")
    build_index(root, VERSION, say=lambda line: None)
    assert SampleIndex(str(root), VERSION).context(token)["can_bus"] is None


def change_a_digit(table: Path) -> None:
    """Another content of the same size, written a moment later."""
    content = table.read_bytes()
    place = content.index(b'timestamp": 1') + 20 if b"timestamp" in content else content.index(b"0.") + 2
    digit = b"%d" % ((int(content[place : place + 1]) + 1) % 10)
    status = table.stat()
    table.write_bytes(content[:place] + digit + content[place + 1 :])
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def test_a_copied_data_set_is_recognised_by_its_content(root: Path, built: Built, tmp_path: Path) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    times = [(folder / VERSION / "sample.json").stat().st_mtime_ns for folder in (root, copy)]
    assert times[0] != times[1]
    first, second = SampleIndex(str(root), VERSION), SampleIndex(str(copy), VERSION)
    token = first.samples_of_scene(first.scene_names()[0])[0]
    assert second.context(token)["can_bus"] == first.context(token)["can_bus"]
    assert second.sample(token)["lidar"]["path"].startswith(str(copy))
    change_a_digit(copy / VERSION / "ego_pose.json")
    with pytest.raises(DataError, match=r"ego_pose\.json has changed since"):
        SampleIndex(str(copy), VERSION)


def test_an_index_without_digests_is_refused_when_times_differ(root: Path, built: Built) -> None:
    """As an earlier one may be: `data index` makes it anew."""
    content = built.path.read_bytes()
    SampleIndex(str(root), VERSION).close()
    built.path.write_bytes(content.replace(b'"sha256"', b'"sha_of"'))
    SampleIndex(str(root), VERSION).close()
    (root / VERSION / "log.json").touch()
    with pytest.raises(DataError, match=r"log\.json has changed since"):
        SampleIndex(str(root), VERSION)
    build_index(root, VERSION, say=lambda line: None)
    SampleIndex(str(root), VERSION).close()


def test_a_stale_index_is_refused(root: Path, built: Built) -> None:
    table = root / VERSION / "ego_pose.json"
    change_a_digit(table)
    with pytest.raises(DataError, match=r"ego_pose\.json has changed since"):
        SampleIndex(str(root), VERSION)
    build_index(root, VERSION, say=lambda line: None)
    SampleIndex(str(root), VERSION).close()
    table.unlink()
    with pytest.raises(DataError, match=r"ego_pose\.json is missing"):
        SampleIndex(str(root), VERSION)
    with pytest.raises(HostDataError, match=r"ego_pose\.json"):
        build_index(root, VERSION, say=lambda line: None)
    assert built.path.is_file(), "the index that was there stays"


@pytest.mark.parametrize("keep", [0, 4, 15, 300, -1])
def test_a_damaged_index_is_refused(root: Path, built: Built, keep: int) -> None:
    content = built.path.read_bytes()
    built.path.write_bytes(content[:keep])
    with pytest.raises(DataError, match=FILE_NAME):
        SampleIndex(str(root), VERSION)


def test_unknown_names_are_refused(root: Path, built: Built) -> None:
    assert built.samples
    index = SampleIndex(str(root), VERSION)
    for token in ("", "nope", "f" * 32, "z" * 99):
        with pytest.raises(DataError, match="has no sample"):
            index.sample(token)
    with pytest.raises(DataError, match="has no scene"):
        index.samples_of_scene("scene-9999")
    assert not has_index(str(root), "v1.0-trainval")
    with pytest.raises(HostDataError, match=r"holds v1\.0-mini and no v1\.0-trainval"):
        build_index(root, "v1.0-trainval", say=lambda line: None)


def test_roots_that_are_none_say_what_to_type(admlops: Admlops, root: Path, tmp_path: Path) -> None:
    lanes, empty = tmp_path / "lanes", tmp_path / "empty"
    for folder in (lanes, empty):
        folder.mkdir()
    (lanes / "data_dict_subset_A.json").write_text("{}")
    for folder, said, advised in (
        (lanes, "is an OpenLane-V2 data set, which needs no index", "admlops data check"),
        (root / VERSION, "is a folder of tables", f"name the folder around it, {root}, and pass --version {VERSION}"),
        (empty, "holds no nuScenes data set", f"ls {empty}"),
        (tmp_path / "nowhere", "is not a folder", "admlops data synthesize"),
    ):
        done = admlops("data", "index", folder, check=False)
        assert done.returncode == 2
        assert said in done.stderr
        assert advised in done.stderr


def test_a_dangling_row_is_named(root: Path) -> None:
    table = root / VERSION / "sample_data.json"
    rows = json.loads(table.read_text())
    rows[3]["ego_pose_token"] = "nowhere"
    table.write_text(json.dumps(rows))
    with pytest.raises(HostDataError, match="nowhere"):
        build_index(root, VERSION, say=lambda line: None)
    assert not has_index(str(root), VERSION)
    assert not list((root / VERSION).glob(f".{FILE_NAME}*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; run the tests as another user")
def test_a_folder_that_may_not_be_written_is_named(root: Path) -> None:
    (root / VERSION).chmod(0o555)
    with pytest.raises(StorageError, match=FILE_NAME):
        build_index(root, VERSION, say=lambda line: None)


@pytest.mark.parametrize("python", INTERPRETERS)
def test_a_model_environment_reads_it(root: Path, built: Built, python: Path) -> None:
    assert built.samples
    runners = find_layout().worker.parent
    token = Tables(str(root), VERSION).samples_of_scene("scene-0103")[0]
    program = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); from worker.samples.sample_index import SampleIndex;"
        "print(json.dumps(SampleIndex(sys.argv[2], sys.argv[3]).sample(sys.argv[4])))"
    )
    shown = subprocess.run(
        [python, "-c", program, runners, root, VERSION, token], capture_output=True, text=True, check=True
    )
    assert json.loads(shown.stdout) == Tables(str(root), VERSION).sample(token)


def test_the_command_makes_it_and_runs_use_it(root: Path, admlops: Admlops) -> None:
    shown = json.loads(admlops("data", "index", root, "--version", VERSION, "--json").stdout)
    assert shown["samples"] == 8
    data = NuScenes(root, VERSION)
    token = data.scenes()[0].samples[0]
    sample_data = root / VERSION / "sample_data.json"
    change_a_digit(sample_data)
    with pytest.raises(HostDataError, match="has changed") as refused:
        NuScenes(root, VERSION).sample(token)
    assert f"admlops data index {root}" in refused.value.hint
