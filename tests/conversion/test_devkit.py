"""The rule `devkit` against the devkit itself, in its own environment, on 200 generated scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.conversion.generated_scenes import SIZE, GeneratedRecording, write

from admlops.conversion.base import ReadOptions
from admlops.conversion.convert import open_recording
from admlops.core.processes import run
from admlops.environments import Environment

SCENES = 200


@pytest.mark.full
def test_exports_are_the_devkits(official_environment: Environment, tmp_path: Path) -> None:
    """Every box in every picture, every line of KITTI's labels, calibrations and points."""
    data = tmp_path / "nuscenes"
    write(GeneratedRecording(tmp_path / "files", SCENES), "nuscenes", data)
    for form in ("coco", "kitti"):
        write(open_recording(data, ReadOptions()), form, tmp_path / form, rule="devkit")
    script, told = Path(__file__).with_name("devkit_exports.py"), tmp_path / "told.json"
    command: list[str | Path] = [official_environment.python, script, data, "v1.0-own", *map(str, SIZE), told]
    done = run(command, variables=official_environment.variables, timeout_s=600)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(told.read_text())

    coco = json.loads((tmp_path / "coco" / "instances.json").read_text())
    boxes: dict[str, list[tuple[str, list[float]]]] = {one["file_name"]: [] for one in coco["images"]}
    names = {one["id"]: one["file_name"] for one in coco["images"]}
    for one in coco["annotations"]:
        x, y, width, height = one["bbox"]
        boxes[names[one["image_id"]]].append((one["cuboid"]["token"], [x, y, x + width, y + height]))
    assert boxes.keys() == theirs["boxes_2d"].keys()
    for name, own in boxes.items():
        assert [box[0] for box in own] == [box[0] for box in theirs["boxes_2d"][name]]
        bounds = [box[1] for box in own], [box[1:] for box in theirs["boxes_2d"][name]]
        ours_2d, theirs_2d = (np.array(rows, float).reshape(-1, 4) for rows in bounds)
        np.testing.assert_allclose(ours_2d, theirs_2d, atol=1e-6)
    assert sum(map(len, boxes.values())) > 10 * SCENES

    lines = 0
    for token, said in theirs["kitti"].items():
        folder = tmp_path / "kitti" / "training"
        ours = (folder / "label_2" / f"{token}.txt").read_text().splitlines()
        assert ours == said["lines"]
        lines += len(ours)
        points = np.fromfile(folder / "velodyne" / f"{token}.bin", "<f4").reshape(-1, 4)
        np.testing.assert_allclose(points, said["points"], atol=1e-5)
        rows = dict(row.split(": ") for row in (folder / "calib" / f"{token}.txt").read_text().splitlines())
        to_camera = np.array([float(value) for value in rows["Tr_velo_to_cam"].split()]).reshape(3, 4)
        np.testing.assert_allclose(to_camera, said["velo_to_cam"], atol=1e-9)
    assert lines > 2 * SCENES
