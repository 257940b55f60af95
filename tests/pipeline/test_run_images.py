"""A model of single pictures, run, resumed elsewhere, evaluated, compared and reported for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.file_server import FileServer, file_server, whole

from admlops.core.paths import find_layout

HERE = Path(__file__).parent
SIZE = (32, 24)
BOXES = {"000000": (2, 3, 12, 9), "000001": (20, 10, 32, 24), "000002": None, "000003": (0, 0, 4, 4)}
"""What is red in each picture; 000003 is not annotated, and 000004 is broken."""
WRONG = "000001"
"""Its annotation is elsewhere."""


class Pod:
    """A checkout with one model, and `admlops` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        root = folder / "checkout"
        (root / "envs").mkdir(parents=True)
        (root / "runners").symlink_to(find_layout().root / "runners")
        shutil.copytree(HERE / "red_model", root / "envs" / "Red")
        self.variables = {
            **os.environ,
            "ADMLOPS_PATH": str(root),
            "ADMLOPS_REP_PATH": str(folder / "repository"),
            "ADMLOPS_ENVIRONMENTS": str(folder / "environments"),
            "COLUMNS": "200",
        }

    def admlops(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "admlops", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=self.variables,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def run_folder(self, name: str) -> Path:
        return self.folder / "repository" / "runs" / name

    def records(self, name: str) -> list[dict[str, Any]]:
        files = sorted((self.run_folder(name) / "records").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Pod:
    return Pod(tmp_path_factory.mktemp("pod"))


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as one:
        yield one


def ppm(box: tuple[int, int, int, int] | None) -> bytes:
    width, height = SIZE
    rows = [bytearray(b"\x10\x20\x30" * width) for _ in range(height)]
    if box is not None:
        x1, y1, x2, y2 = box
        for row in rows[y1:y2]:
            row[3 * x1 : 3 * x2] = b"\xff\x00\x00" * (x2 - x1)
    return b"P6\n%d %d\n255\n" % SIZE + b"".join(rows)


def draw_kitti(root: Path) -> Path:
    """KITTI's layout: five pictures, of which three are annotated."""
    for folder in ("image_2", "label_2"):
        (root / "training" / folder).mkdir(parents=True)
    for name, box in BOXES.items():
        (root / "training" / "image_2" / f"{name}.ppm").write_bytes(ppm(box))
        if name != "000003":
            shown = (0, 0, 3, 3) if name == WRONG else box
            line = "" if shown is None else f"Car 0 0 0 {' '.join(map(str, shown))} 1 1 1 0 0 9 0\n"
            (root / "training" / "label_2" / f"{name}.txt").write_text(line)
    (root / "training" / "image_2" / "000004.ppm").touch()
    (root / "training" / "label_2" / "000004.txt").write_text("Car 0 0 0 1 1 5 5 1 1 1 0 0 9 0\n")
    return root


def values(metrics: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(one["protocol"].partition("@")[0], one["name"]): one["value"] for one in metrics["metrics"]}


def test_from_pictures_to_numbers(pod: Pod, tmp_path: Path) -> None:
    data = draw_kitti(tmp_path / "kitti")
    ran = pod.admlops("run", "Red", "--data", data, "--run", "first", code=2)
    assert "4 samples ok, 1 failed" in ran.stdout
    records = {one["metadata"]["sample_token"][:6]: one for one in pod.records("first")}
    assert records["000000"]["detections_2d"][0]["bbox_xyxy"] == [2, 3, 12, 9]
    assert records["000004"]["metadata"]["failure"]["class"] == "data"
    assert "000004.ppm" in records["000004"]["metadata"]["failure"]["message"]
    header = json.loads((pod.run_folder("first") / "run.json").read_text())
    assert (header["data"]["kind"], header["data"]["version"]) == ("images", "kitti")

    evaluated = json.loads(pod.admlops("evaluate", "first", "--json").stdout)
    found = values(evaluated)
    # Of three annotated cars one is found, one is found elsewhere, one is in the broken picture; 000002 holds none.
    assert found["counting.iou0.5-confidence0.5", "precision_car"] == pytest.approx(1 / 2)
    assert found["counting.iou0.5-confidence0.5", "recall_car"] == pytest.approx(1 / 3)
    assert found["coco.bbox", "AR1"] == pytest.approx(1 / 3)
    metrics = json.loads((pod.run_folder("first") / "metrics.json").read_text())
    assert (metrics["details"]["boxes_2d"]["images"], metrics["details"]["boxes_2d"]["pictures"]) == (4, 5)
    assert "not annotated and not evaluated: 1 of 5 pictures" in metrics["notes"]
    assert "left out: 4 boxes of classes that the ground truth lacks: boat" in metrics["notes"]
    report = pod.admlops("report", "first", "--out", tmp_path / "report.html")
    assert "report" in report.stdout
    assert "kitti" in (tmp_path / "report.html").read_text()


@pytest.mark.full
def test_the_same_records_on_another_mount(pod: Pod, tmp_path: Path) -> None:
    data = draw_kitti(tmp_path / "here" / "kitti")
    pod.admlops("run", "Red", "--data", data, "--run", "here", code=2)
    moved = tmp_path / "there" / "pictures"
    moved.parent.mkdir()
    data.rename(moved)
    again = pod.admlops("run", "Red", "--data", moved, "--run", "here", "--retry-failed", code=2)
    assert "cannot be resumed" not in again.stderr
    assert json.loads((pod.run_folder("here") / "run.json").read_text())["data"]["root"] == str(moved)
    pod.admlops("evaluate", "here", "--json")
    assert pod.records("here")[0]["detections_2d"][0]["bbox_xyxy"] == [2, 3, 12, 9]


def test_addresses_are_fetched_before_the_run(pod: Pod, tmp_path: Path, server: FileServer) -> None:
    urls = [server.serve(f"/{name}.ppm", whole(ppm(box))) for name, box in BOXES.items()]
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"image_path": url, "car_count": 1} for url in urls]))
    for name in ("online", "offline"):
        ran = pod.admlops("run", "Red", "--data", path, "--run", name)
        assert "4 samples ok, 0 failed" in ran.stdout
        assert ("fetching 4 of 4 pictures" in ran.stderr + ran.stdout) == (name == "online")
    assert len(server.requests) == 4


@pytest.mark.full
def test_a_comparison_and_the_other_commands(pod: Pod, tmp_path: Path, synthetic_root: Path) -> None:
    data = draw_kitti(tmp_path / "kitti")
    out = tmp_path / "out"
    compared = pod.admlops("compare", "--models", "Red", "--data", data, "--out", out, code=1)
    assert "Red" in compared.stdout
    (row,) = json.loads((out / "comparison_summary.json").read_text())["models"]
    assert row["status"] == "complete"
    assert values(row)["counting.iou0.5-confidence0.5", "recall_car"] == pytest.approx(1 / 3)
    listed = {one["root"]: one for one in json.loads(pod.admlops("data", "list", "--json").stdout)}
    assert listed[str(data)]["kind"] == "images"
    assert listed[str(data)]["version"] == "kitti"
    planned = pod.admlops("run", "Red", "--data", data, "--dry-run")
    assert "5 samples of 1 scene" in planned.stdout
    # nuScenes' cameras: eight samples of six pictures each, for a model that reads pictures.
    view = pod.admlops("run", "Red", "--data", synthetic_root, "--split", "mini_val", "--dry-run")
    assert "48 samples of 2 scenes" in view.stdout
    side = pod.admlops("compare", "--models", "Red", "--data", synthetic_root, "--out", out, "--dry-run")
    assert "48 samples of 2 scenes" in side.stdout
    checked = pod.admlops("data", "check", synthetic_root, "--kind", "images")
    assert "2 scenes, 48 samples" in checked.stdout


def test_data_of_another_kind_is_refused(pod: Pod, tmp_path: Path) -> None:
    missing = pod.admlops("run", "Red", "--data", tmp_path / "gone", code=2)
    assert f"{tmp_path / 'gone'} is not there" in missing.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = pod.admlops("run", "Red", "--data", empty, code=2)
    assert "holds no pictures in a form that is known" in nothing.stderr
