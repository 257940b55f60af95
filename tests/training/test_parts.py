"""The parts of a training: learning rate, first weights, log, speed, the convention of boxes, a variant's folder."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from admlops.catalog import list_models, load_model
from admlops.catalog.fork import fork_model
from admlops.catalog.model import Training
from admlops.catalog.scaffold import write_model
from admlops.core.errors import CheckpointError
from admlops.core.paths import find_layout
from admlops.training.log import Follower, Meter, cut_back, read_lines
from admlops.training.preflight import check_initial_weights, choose_learning_rate
from admlops.worker.adapter import DataError
from admlops.worker.mmlab.v1.training.converter import check_convention

AUTHORS = Training.model_validate({"trainer": "samples", "total_batch": 16, "learning_rate": 4e-4, "processes": 8})


@pytest.mark.parametrize(
    ("asked", "batch", "processes", "rate"),
    [(None, None, 8, 4e-4), (None, None, 1, 5e-5), (None, 4, 2, 2e-4), (1e-3, 1, 1, 1e-3)],
)
def test_the_rate_is_the_authors_in_proportion_unless_asked(
    asked: float | None, batch: int | None, processes: int, rate: float
) -> None:
    found, finding = choose_learning_rate(AUTHORS, asked=asked, batch=batch, processes=processes)
    assert found == pytest.approx(rate)
    assert ("times the proportional" in finding.text) == (asked is not None)


def test_first_weights_are_there_and_the_published_ones(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    content = struct.pack("<Q", len(header)) + header + bytes(4)
    url = "https://example.org/files/backbone.pth"
    begins = hashlib.sha256(content).hexdigest()[:8]
    weights = {"file": "ckpts/backbone.pth", "url": url, "sha256_begins": begins}
    training = Training.model_validate({"trainer": "samples", "initial_weights": (weights,)})
    model = load_model(find_layout(), "GroundPlane")
    with pytest.raises(CheckpointError, match="which is not in"):
        check_initial_weights(model, training, tmp_path, None)
    (tmp_path / "backbone.pth").write_bytes(content)
    files, findings = check_initial_weights(model, training, tmp_path, None)
    assert files == {"ckpts/backbone.pth": str(tmp_path / "backbone.pth")}
    assert begins in findings[0].text
    config = tmp_path / "config.py"
    config.write_text("pretrained = None\n")
    assert check_initial_weights(model, training, tmp_path, str(config)) == ({}, [])
    (tmp_path / "backbone.pth").write_bytes(content[:-1] + b"x")
    with pytest.raises(CheckpointError, match="not the published file"):
        check_initial_weights(model, training, tmp_path, None)


def test_a_log_is_followed_cut_back_and_measured(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    follower, meter = Follower(path), Meter()
    lines: list[dict[str, Any]] = [{"kind": "begin", "t": 0.0, "iterations": 10, "batch": 2, "processes": 4}]
    lines += [
        {"kind": "iteration", "t": 1.0, "iteration": number, "loss": 9.0 - number, "time_s": 0.5, "data_time_s": 0.1}
        for number in range(1, 7)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text[:-5])
    assert len(list(follower.new_lines())) == 6, "the last line is not whole yet"
    path.write_text(text)
    (last,) = follower.new_lines()
    assert last.iteration == 6
    for line in read_lines(path):
        meter.take(line)
    assert meter.samples_per_s == pytest.approx(16.0)
    assert meter.data_share == pytest.approx(0.2)
    assert meter.left_s == pytest.approx(2.0)
    assert cut_back(path, 4) == 2
    assert [line.iteration for line in read_lines(path)] == [0, 1, 2, 3, 4]
    assert read_lines(path)[-1].loss == 5.0
    assert json.loads(path.read_text().splitlines()[-1])["grad_norm"] is None, "keys stay where nothing is known"


def write_info_file(folder: Path, convention: str) -> Path:
    """One sample with one car, as a converter of that convention writes it; SciPy's rotations are the oracle."""
    ego, lidar, car = (
        Rotation.from_euler("zyx", angles) for angles in ([1.1, 0.02, 0.01], [-1.5, 0.0, 0.03], [2.3, 0, 0])
    )
    ego_at, lidar_at, car_at = np.array([400.0, 900.0, 1.0]), np.array([0.9, 0.0, 1.8]), np.array([412.0, 905.0, 1.6])
    width, length, height = 1.9, 4.6, 1.7
    wxyz = {
        name: turn.as_quat()[[3, 0, 1, 2]].tolist() for name, turn in (("ego", ego), ("lidar", lidar), ("car", car))
    }
    tables = folder / "v1.0-mini"
    tables.mkdir(parents=True)
    (tables / "sample.json").write_text(json.dumps([{"token": "s"}]))
    row = {"token": "a", "sample_token": "s", "translation": car_at.tolist(), "size": [width, length, height]}
    (tables / "sample_annotation.json").write_text(json.dumps([{**row, "rotation": wxyz["car"]}]))
    center = lidar.inv().apply(ego.inv().apply(car_at - ego_at) - lidar_at)
    yaw = (lidar.inv() * ego.inv() * car).as_euler("zyx")[0]
    box = [*center, length, width, height, yaw]
    if convention == "mmdet3d_0.17":
        box = [*center, width, length, height, -yaw - np.pi / 2]
    info = {
        "token": "s",
        "gt_boxes": np.array([box]),
        "ego2global_rotation": wxyz["ego"],
        "ego2global_translation": ego_at.tolist(),
        "lidar2ego_rotation": wxyz["lidar"],
        "lidar2ego_translation": lidar_at.tolist(),
    }
    path = folder / "infos.pkl"
    path.write_bytes(pickle.dumps({"infos": [info]}))
    return path


@pytest.mark.parametrize("convention", ["mmdet3d_1.0", "mmdet3d_0.17"])
def test_an_info_file_of_another_generation_is_refused(convention: str, tmp_path: Path) -> None:
    path = write_info_file(tmp_path, convention)
    assert "a box of s" in check_convention(str(path), str(tmp_path), "v1.0-mini", convention)
    other = "mmdet3d_1.0" if convention == "mmdet3d_0.17" else "mmdet3d_0.17"
    with pytest.raises(DataError, match="another generation of mmdet3d"):
        check_convention(str(path), str(tmp_path), "v1.0-mini", other)


def test_every_model_can_be_forked(tmp_path: Path) -> None:
    layout = find_layout()
    (tmp_path / "envs").mkdir()
    for name in list_models(layout):
        (tmp_path / "envs" / name).symlink_to(layout.envs / name)
    here = replace(layout, root=tmp_path)
    for name in list_models(layout):
        write_model(fork_model(here, name, f"My-{name}"))
        forked, original = load_model(here, f"My-{name}"), load_model(layout, name)
        assert forked.source.folder == (original.source.folder or (name if original.source.kind == "git" else None))
        assert forked.published == ()
        assert forked.configs == original.configs
        assert (forked.folder / "extension" / "__init__.py").read_text().startswith(f'"""What My-{name} adds')
        assert f'name = "My-{name}"' in forked.adapter.read_text()
