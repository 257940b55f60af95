"""The recording for the Rerun viewer, read back by Rerun itself; and what is said where the SDK is not installed."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from numpy.typing import NDArray
from tests.conftest import Admlops
from tests.reports.fabricate import make_header, make_metadata, make_record

from admlops.cli.main import cli
from admlops.core.errors import StorageError, UsageError
from admlops.core.paths import find_layout
from admlops.datasets.nuscenes.sweeps import sweep_in_ego
from admlops.datasets.nuscenes.tables import NuScenes, rotation_matrix
from admlops.reports.rerun_recording import LOCK, load_rerun, write_recording
from admlops.results.run_folder import RunFolder

Rows = list[dict[str, Any]]
"""What was logged of one entity: timelines and components by name."""


@pytest.fixture(scope="module")
def run(synthetic_data: NuScenes, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The made-up boxes and lines of `make_record` on two samples of each synthetic scene; the last sample failed."""
    scenes = {scene.name: scene.samples[:2] for scene in synthetic_data.scenes()}
    header = replace(make_header(), scenes={name: len(tokens) for name, tokens in scenes.items()})
    header = replace(header, data=replace(header.data, root=str(synthetic_data.root)))
    folder = RunFolder.create(tmp_path_factory.mktemp("runs") / "run", header)
    (failed,) = (meta for meta in make_metadata("GroundPlane", failed=1) if meta.status == "failed")
    for name, tokens in scenes.items():
        with folder.scene_writer(name) as writer:
            for index, token in enumerate(tokens):
                last = (name, index) == (list(scenes)[-1], 1)
                meta = failed if last else make_metadata("GroundPlane", samples=1)[0]
                record = make_record(replace(meta, sample_token=token, scene=name, index_in_scene=index))
                writer.append(type(record)(schema=1, metadata=record.metadata) if last else record)
            writer.commit()
    return folder


@pytest.fixture(scope="module")
def recorded(run: RunFolder, synthetic_data: NuScenes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("rerun", reason=f"needs the extra admlops[rerun]: uv pip install --no-deps -r {LOCK}")
    target = tmp_path_factory.mktemp("recording") / "deep" / "run.rrd"
    seen: list[int] = []
    points = {"detection": {"car": 0.5, "traffic_cone": 0.3}, "map": {"divider": 0.4, "boundary": 0.4}}
    done = write_recording(target, run, synthetic_data, cutoffs=points, watch=seen.append)
    assert (done.samples, done.notes, seen) == (4, (), [1, 2, 3, 4])
    assert [path.name for path in target.parent.iterdir()] == ["run.rrd"]
    yield target
    shutil.rmtree(target.parent)


def read(path: Path) -> dict[str, Rows]:
    """Every entity's rows, as Rerun's own reader gives them; times are nanoseconds."""
    entities: dict[str, Rows] = {}
    for chunk in importlib.import_module("rerun.chunk").RrdReader(path).stream():
        table = chunk.to_record_batch()
        columns = {
            name: (column.cast("int64") if str(column.type).startswith("timestamp") else column).to_pylist()
            for name, column in zip(table.schema.names, table.columns, strict=True)
        }
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        entities.setdefault(chunk.entity_path, []).extend(rows)
    return entities


def rerun(*arguments: str | Path) -> str:
    program = Path(sys.executable).with_name("rerun")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.full
def test_rerun_reads_back_every_entity_of_every_sample(
    recorded: Path, run: RunFolder, synthetic_data: NuScenes
) -> None:
    assert "1 file verified without error" in rerun("rrd", "verify", recorded)
    printed = rerun("rrd", "print", recorded)
    cameras = [f"/world/cameras/{name}" for name in synthetic_data.sample(first_token(run))["cameras"]]
    layers = [f"/world/ego/{layer}/{kind}" for layer in ("truth", "predictions") for kind in ("boxes", "lines")]
    for entity in (*cameras, *layers, "/world/ego", "/world/ego/lidar", "/world/ego_path", "/sample"):
        assert f" - {entity} - " in printed, entity
    found = read(recorded)
    for entity in (*cameras, *layers, "/world/ego", "/world/ego/lidar", "/world/ego_path", "/sample"):
        assert numbers(found[entity]) == {0, 1, 2, 3}, entity
    stamp = synthetic_data.sample(first_token(run))["timestamp_us"]
    assert at(found["/sample"], "time", 0) == 1000 * stamp


@pytest.mark.full
def test_what_is_read_back_is_what_was_there(recorded: Path, run: RunFolder, synthetic_data: NuScenes) -> None:
    found, sample = read(recorded), synthetic_data.sample(first_token(run))
    there, _ = sweep_in_ego(sample["lidar"])
    assert np.allclose(at(found["/world/ego/lidar"], "Points3D:positions", 0), there, atol=1e-4)
    boxes = found["/world/ego/predictions/boxes"]
    assert "traffic_cone 0.44, false alarm" in at(boxes, "Boxes3D:labels", 0)
    assert not any(label.startswith("car 0.05") for label in at(boxes, "Boxes3D:labels", 0))
    centers, halves = (np.array(at(boxes, f"Boxes3D:{name}", 0)) for name in ("centers", "half_sizes"))
    car = np.abs(centers - [14.6, 0.9, 0.8]).sum(axis=1).argmin()
    assert np.allclose(centers[car], [14.6, 0.9, 0.8], atol=1e-5)
    assert np.allclose(halves[car], [2.2, 0.95, 0.8], atol=1e-5), "length, width, height"
    assert at(boxes, "Boxes3D:centers", 3) == [], "the failed sample does not show those of the one before"
    pictures = found["/world/cameras/CAM_FRONT"]
    assert bytes(at(pictures, "EncodedImage:blob", 0)[0]) == Path(sample["cameras"]["CAM_FRONT"]["path"]).read_bytes()
    assert "scene-0103" in at(found["/sample"], "TextDocument:text", 0)[0]


@pytest.mark.full
def test_poses_put_a_point_of_the_ego_frame_onto_the_cameras_pixel(
    recorded: Path, run: RunFolder, synthetic_data: NuScenes
) -> None:
    """The chain of the recording, ego to world to camera to pixel, against the report's own projection."""
    from admlops.reports.geometry import project, to_camera

    found, sample = read(recorded), synthetic_data.sample(first_token(run))
    camera = sample["cameras"]["CAM_FRONT_LEFT"]
    points = np.array([[12.0, 8.0, 1.0], [20.0, 15.0, 0.0]])
    expected = project(to_camera(points, ego2global=sample["ego2global"], camera=camera), camera["intrinsic"])
    ego, eye = found["/world/ego"], found["/world/cameras/CAM_FRONT_LEFT"]
    in_world = points @ matrix(ego).T + np.array(at(ego, "Transform3D:translation", 0)[0])
    in_camera = (in_world - np.array(at(eye, "Transform3D:translation", 0)[0])) @ matrix(eye)
    intrinsic = np.array(at(eye, "Pinhole:image_from_camera", 0)[0]).reshape(3, 3).T
    assert np.allclose(project(in_camera, intrinsic), expected, atol=0.05)
    turned = rotation_matrix(sample["ego2global"]["rotation_wxyz"])
    assert np.allclose(matrix(ego), turned, atol=1e-6)


@pytest.mark.full
def test_the_command_writes_both_and_leaves_out_what_cannot_be_read(
    recorded: Path, run: RunFolder, synthetic_data: NuScenes, tmp_path: Path, admlops: Admlops
) -> None:
    data = tmp_path / "data"
    shutil.copytree(synthetic_data.root, data)
    sample = NuScenes(data, synthetic_data.version).sample(first_token(run))
    Path(sample["lidar"]["path"]).unlink()
    Path(sample["cameras"]["CAM_BACK"]["path"]).unlink()
    target = tmp_path / "one.rrd"
    options = ("--rerun", target, "--scene", "scene-0103", "--data", data, "--out", tmp_path / "page.html")
    done = admlops("report", run.path, *options, "--json")
    assert json.loads(done.stdout) == {"report": str(tmp_path / "page.html"), "rerun": str(target)}
    assert f"the sweep {sample['lidar']['path']} is missing" in done.stderr
    assert f"{sample['cameras']['CAM_BACK']['path']} cannot be read" in done.stderr
    found = read(target)
    assert numbers(found["/sample"]) == {0, 1}
    assert at(found["/world/ego/lidar"], "Points3D:positions", 0) is None
    assert at(found["/world/ego/lidar"], "Clear:is_recursive", 0) == [False]
    assert len(at(found["/world/ego/lidar"], "Points3D:positions", 1)) > 1000


@pytest.mark.full
def test_an_older_recording_survives_a_failed_write(recorded: Path, run: RunFolder, synthetic_data: NuScenes) -> None:
    blocked = recorded.parent / "blocked.rrd"
    blocked.mkdir()
    with pytest.raises(StorageError):
        write_recording(blocked, run, synthetic_data)
    blocked.rmdir()
    assert [path.name for path in recorded.parent.iterdir()] == ["run.rrd"]
    with pytest.raises(UsageError, match="no records of the scene nowhere"):
        write_recording(recorded, run, synthetic_data, scenes=["nowhere"])
    with pytest.raises(UsageError, match=r"does not end in \.rrd"):
        write_recording(recorded.with_suffix(".txt"), run, synthetic_data)
    assert "1 file verified" in rerun("rrd", "verify", recorded)


def first_token(run: RunFolder) -> str:
    return next(iter(run.records())).metadata.sample_token


def at(rows: Rows, name: str, sample: int) -> Any:
    """The value of a component at one sample; None where it was not logged."""
    return next((row[name] for row in rows if row["sample"] == sample and row.get(name) is not None), None)


def numbers(rows: Rows) -> set[int]:
    return {row["sample"] for row in rows}


def matrix(rows: Rows) -> NDArray[np.float64]:
    """The rotation (3, 3) of a transform at the first sample; Rerun stores columns."""
    return np.array(at(rows, "Transform3D:mat3x3", 0)[0]).reshape(3, 3).T


def test_without_the_sdk_the_command_says_how_to_install_it(tmp_path: Path, admlops: Admlops) -> None:
    (tmp_path / "rerun.py").write_text("raise ImportError(\"No module named 'rerun'\")")
    variables = {"PYTHONPATH": str(tmp_path)}
    done = admlops("report", "first", "--rerun", tmp_path / "run.rrd", check=False, variables=variables)
    assert done.returncode == 2
    assert "--rerun needs the Rerun SDK, which is not installed here" in done.stderr
    assert re.search(rf"→ .*pip install .*{re.escape(str(find_layout().root / LOCK))}", done.stderr)
    assert not (tmp_path / "run.rrd").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("one", "--scene", "scene-0103"), "--scene chooses what --rerun writes"),
        (("one", "two", "--rerun", "run.rrd"), "--rerun takes one run at a time"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(cli, ["report", *arguments])
    assert isinstance(done.exception, UsageError)
    assert said in done.exception.message


def test_the_lock_of_the_extra_holds_what_the_hosts_lock_lacks() -> None:
    names = [set(locked(find_layout().root / file)) for file in (LOCK, "requirements.txt")]
    assert names[0] & names[1] == set(), "it is installed beside, without dependencies"
    try:
        wanted = importlib.metadata.requires("rerun-sdk") or []
    except importlib.metadata.PackageNotFoundError:
        assert "rerun-sdk" in names[0]
        return
    needed = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in wanted if "extra ==" not in line}
    assert needed <= names[0] | names[1]
    assert load_rerun().__version__ == locked(find_layout().root / LOCK)["rerun-sdk"]


def locked(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", path.read_text(), re.MULTILINE))
