"""What `admlops data check` finds in nuScenes tables beside missing files, and how damaged JSON is described."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.conftest import Admlops

from admlops.core.errors import DataError
from admlops.datasets.base import HasProblems, Problem
from admlops.datasets.json_faults import describe_fault
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.map_file import read_map_file
from admlops.datasets.nuscenes.tables import NuScenes

VERSION = "v1.0-mini"


@pytest.fixture
def root(synthetic_root: Path, tmp_path: Path) -> Path:
    """A data set whose tables and maps may be changed."""
    copy = tmp_path / "nuscenes"
    copy.mkdir()
    for name in ("samples", "sweeps"):
        (copy / name).symlink_to(synthetic_root / name)
    for name in (VERSION, "maps"):
        shutil.copytree(synthetic_root / name, copy / name)
    return copy


def change_row(root: Path, table: str, number: int, key: str, value: Any) -> str:
    """Put another value into a row, as Python writes it, and return the row's token."""
    path = root / VERSION / f"{table}.json"
    rows = json.loads(path.read_text())
    rows[number][key] = value
    path.write_text(json.dumps(rows))
    return str(rows[number]["token"])


def problems(root: Path) -> list[Problem]:
    data = NuScenes(root, VERSION)
    assert isinstance(data, HasProblems)
    return list(data.problems(lambda done, total: None))


def test_a_whole_data_set_has_no_problem(root: Path) -> None:
    assert problems(root) == []


def lidar_files(root: Path, *, key: bool) -> list[Path]:
    rows = json.loads((root / VERSION / "sample_data.json").read_text())
    return [root / row["filename"] for row in rows if "LIDAR_TOP" in row["filename"] and row["is_key_frame"] is key]


def own_files(root: Path, synthetic_root: Path, name: str) -> None:
    """Put a copy of the LiDAR's files in the place of the link to them."""
    (root / name).unlink()
    for folder in (synthetic_root / name).iterdir():
        if folder.name == "LIDAR_TOP":
            shutil.copytree(folder, root / name / folder.name)
        else:
            (root / name).mkdir(exist_ok=True)
            (root / name / folder.name).symlink_to(folder)


def test_a_lidar_file_that_is_not_whole_is_named(root: Path, synthetic_root: Path) -> None:
    own_files(root, synthetic_root, "samples")
    cut, short = lidar_files(root, key=True)[:2]
    cut.write_bytes(cut.read_bytes()[:-7])
    short.write_bytes(short.read_bytes()[: 20 * 999])
    first, second = problems(root)
    assert (first.kind, first.is_error) == ("LiDAR file not whole", True)
    assert first.name == str(cut.relative_to(root))
    assert "no whole number of points" in first.what
    assert "it holds 999 points" in second.what


def test_key_frames_without_a_lidar_are_counted(root: Path, synthetic_root: Path) -> None:
    own_files(root, synthetic_root, "samples")
    keys = lidar_files(root, key=True)
    for path in keys[:3]:
        path.write_bytes(bytes(20))
    keys[3].write_bytes(b"\1" * 20)  # one point, but none at the sensor
    short, found = problems(root)
    assert (short.name, short.kind) == (str(keys[3].relative_to(root)), "LiDAR file not whole")
    assert (found.kind, found.is_error) == ("no LiDAR", False)
    assert "3 key frames of" in found.what


def test_sweeps_that_are_not_there_are_counted(root: Path, synthetic_root: Path) -> None:
    own_files(root, synthetic_root, "sweeps")
    sweeps = lidar_files(root, key=False)
    sweeps[0].unlink()
    sweeps[1].write_bytes(b"")
    (found,) = problems(root)
    assert (found.kind, found.is_error) == ("no LiDAR sweeps", False)
    assert f"2 LiDAR sweeps of {len(sweeps)} between key frames missing" in found.what
    assert str(sweeps[0].relative_to(root)) in found.what


def test_tables_without_sweeps_are_named(root: Path) -> None:
    path = root / VERSION / "sample_data.json"
    rows = [row for row in json.loads(path.read_text()) if row["is_key_frame"] or "LIDAR" not in row["filename"]]
    path.write_text(json.dumps(rows))
    (found,) = problems(root)
    assert (found.name, found.kind, found.is_error) == ("sample_data.json", "no LiDAR sweeps", False)


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("translation", [math.nan, 1.0, 2.0], "not finite"),
        ("size", [1.0, math.inf, 2.0], "not finite"),
        ("rotation", [1.0, 0.0, 0.0, -math.inf], "not finite"),
        ("size", [1.0, 0.0, 2.0], "no extent"),
    ],
)
def test_an_annotation_that_cannot_be_measured_is_named(root: Path, key: str, value: list[float], kind: str) -> None:
    token = change_row(root, "sample_annotation", 3, key, value)
    (found,) = problems(root)
    assert (found.name, found.kind, found.is_error) == ("sample_annotation.json", kind, True)
    assert f"{key} of row '{token}'" in found.what


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("ego_pose", "translation", [math.nan, 0.0, 0.0]),
        ("ego_pose", "rotation", [1.0, 0.0, math.inf, 0.0]),
        ("calibrated_sensor", "translation", [0.0, -math.inf, 0.0]),
        ("calibrated_sensor", "camera_intrinsic", [[math.nan, 0.0, 8.0], [0.0, 9.0, 8.0], [0.0, 0.0, 1.0]]),
    ],
)
def test_a_pose_or_calibration_that_is_no_number_is_named_by_table_row_and_key(
    root: Path, table: str, key: str, value: Any
) -> None:
    data = NuScenes(root, VERSION)
    sample = data.scenes()[0].samples[0]
    rows = {row["token"]: row for row in json.loads((root / VERSION / "sample_data.json").read_text())}
    link = next(row for row in rows.values() if row["sample_token"] == sample and "CAM_FRONT/" in row["filename"])
    numbers = [row["token"] for row in json.loads((root / VERSION / f"{table}.json").read_text())]
    token = change_row(root, table, numbers.index(link[f"{table}_token"]), key, value)
    with pytest.raises(DataError, match=rf"{table}\.json: {key} of row '{token}' is not finite"):
        NuScenes(root, VERSION).sample(sample)


def test_a_number_that_json_does_not_have_is_named_by_row_and_key_when_tables_are_streamed(root: Path) -> None:
    token = change_row(root, "sample_annotation", 2, "translation", [1.0, math.nan, 2.0])
    samples = NuScenes(root, VERSION).scenes()[0].samples
    with pytest.raises(DataError, match=rf"sample_annotation\.json .* translation of row '{token}' is NaN"):
        read_annotations(root, VERSION, samples)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"token": "a", "x": 1.0}, {"token": "b", "x": NaN}]', "x of row 'b' is NaN, which is no number"),
        ('[{"x": [1.0, -Infinity], "token": "b"}]', "x of row 'b' is Infinity, which is no number"),
        ("[NaN]", "what stands at byte 1 is NaN, which is no number"),
        ('[{"x": 1.0', "Input data was truncated"),
        ('[{"x": nan}]', "invalid character"),
    ],
)
def test_damaged_json_is_described_by_its_place(text: str, said: str) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(text)
    assert said in describe_fault(text.encode(), caught.value)


def move_up(root: Path) -> None:
    expansion = root / "maps" / "expansion"
    for path in expansion.iterdir():
        path.rename(root / "maps" / path.name)
    expansion.rmdir()


def age(root: Path) -> None:
    for path in (root / "maps" / "expansion").iterdir():
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": "1.2"}))


def spoil(root: Path) -> None:
    for path in (root / "maps" / "expansion").iterdir():
        content = json.loads(path.read_text())
        content["node"][5]["x"] = math.nan
        path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "said", "hint"),
    [
        (lambda root: shutil.rmtree(root / "maps"), "is missing: map elements", "nuScenes-map-expansion-v1.3.zip"),
        (lambda root: (root / "maps" / "expansion").rename(root / "expansion"), "and belongs in", "&& mv "),
        (move_up, "and belongs in", "&& mv "),
        (age, "has map version 1.2; 1.3 is needed", "nuScenes-map-expansion-v1.3.zip"),
        (spoil, "is NaN, which is no number", "unpack the map expansion again"),
    ],
    ids=["missing", "beside maps", "one level too high", "old", "not a number"],
)
def test_maps_that_elements_cannot_be_evaluated_against_are_told_and_are_no_error(
    root: Path, damage: Any, said: str, hint: str
) -> None:
    damage(root)
    found = problems(root)
    assert {one.name for one in found} == {
        f"maps/expansion/{scene.location}.json" for scene in NuScenes(root, VERSION).scenes()
    }
    assert not any(one.is_error for one in found)
    with pytest.raises(DataError) as caught:
        read_map_file(root / found[0].name)
    assert said in found[0].what
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_the_hint_for_a_misplaced_map_expansion_mends_it(root: Path) -> None:
    move_up(root)
    path = root / problems(root)[0].name
    with pytest.raises(DataError) as caught:
        read_map_file(path)
    subprocess.run(["bash", "-c", caught.value.hint], check=True)
    assert problems(root) == []


def test_the_command_counts_annotations_that_are_wrong_and_only_tells_of_maps(admlops: Admlops, root: Path) -> None:
    shutil.rmtree(root / "maps")
    told = admlops("data", "check", root)
    assert "to know  no map  maps/expansion/" in told.stdout
    change_row(root, "sample_annotation", 3, "size", [math.nan, 1.0, 1.0])
    refused = admlops("data", "check", root, "--json", check=False)
    assert refused.returncode == 1
    assert [one["is_error"] for one in json.loads(refused.stdout)["problems"]].count(True) == 1
