"""What `admlops evaluate` says beside the numbers, and how it ends."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.conftest import Admlops
from tests.evaluation.generated_boxes import VERSION, predict, tokens_of, write_tables
from tests.evaluation.generated_runs import write_run
from tests.evaluation.oracle_records import metadata, truth_record
from tests.evaluation.test_evaluate import make_run
from tests.fabricated_nuscenes import write_map
from tests.fabricated_nuscenes import write_tables as fabricate

from admlops.core.paths import Layout
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.protocols import NUSCENES
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.vector_map.protocols import CHAMFER
from admlops.results.record import Outputs
from admlops.results.record_json import make_record


def runs(tmp_path: Path) -> Path:
    return tmp_path / "repository" / "runs"


def test_failed_samples_are_said_beside_the_numbers(
    data: NuScenes, tokens: list[str], tmp_path: Path, admlops: Admlops
) -> None:
    records = [truth_record(data, token) for token in tokens]
    for index in range(4):
        records[index] = make_record(metadata(data, tokens[index], failed=True), Outputs())
    make_run(runs(tmp_path) / "half", data, records)
    shown = admlops("evaluate", "half")
    assert shown.stdout.startswith("9 of 9 samples, 4 failed\n")
    (line,) = (line for line in shown.stdout.splitlines() if line.split()[:1] == ["NDS"])
    assert "9, 4 failed" in line


def test_failed_samples_are_said_in_the_list_the_summary_and_the_page(
    data: NuScenes, tokens: list[str], tmp_path: Path, admlops: Admlops
) -> None:
    records = [truth_record(data, token) for token in tokens]
    for index in range(4):
        records[index] = make_record(metadata(data, tokens[index], failed=True), Outputs())
    run = make_run(runs(tmp_path) / "half", data, records)
    header = run.path / "run.json"
    header.write_text(header.read_text().replace('"Oracle"', '"GroundPlane"'))
    head, line = admlops("results", "list").stdout.splitlines()
    assert dict(zip(head.split(), line.split(), strict=False))["failed"] == "4"
    said = re.compile(r"\b4 (?:samples )?failed|failed\W{1,12}4\b|failed</t[hd]>\s*<td[^>]*>4\b")
    assert said.search(admlops("results", "show", "half").stdout)
    admlops("report", "half", "--data", data.root, "--out", tmp_path / "page.html")
    assert said.search((tmp_path / "page.html").read_text())


def test_without_the_map_the_boxes_are_evaluated_all_the_same(
    data: NuScenes, tokens: list[str], tmp_path: Path, admlops: Admlops
) -> None:
    bare = tmp_path / "bare"
    (bare / "maps").mkdir(parents=True)
    (bare / data.version).symlink_to(data.root / data.version)
    run = make_run(runs(tmp_path) / "both", data, [truth_record(data, token, noise=0.2) for token in tokens])
    shown = admlops("evaluate", "both", "--data", bare, check=False)
    assert shown.returncode == 1
    assert "NDS" in shown.stdout
    assert f"not evaluated: {CHAMFER.name}: " in shown.stderr
    assert "map expansion" in shown.stderr
    summary = json.loads(run.metrics_path.read_text())
    assert {one["protocol"] for one in summary["metrics"]} == {NUSCENES.name}
    (without,) = summary["not_evaluated"]
    assert (without["id"], without["protocol"]) == ("map", CHAMFER.name)
    assert any(CHAMFER.name in note for note in summary["notes"])
    whole = admlops("evaluate", "both")
    assert "not_evaluated" not in json.loads(run.metrics_path.read_text())
    assert "not evaluated" not in whole.stderr


def test_official_code_that_is_not_here_is_said_and_is_no_success(
    data: NuScenes, tokens: list[str], tmp_path: Path, admlops: Admlops
) -> None:
    """The checkout of MapTR's repository lies elsewhere, in a checkout of the product without submodules."""
    records = [msgspec.structs.replace(truth_record(data, token), detections_3d=msgspec.UNSET) for token in tokens]
    run = make_run(runs(tmp_path) / "maps", data, records)
    if (Path(__file__).parents[2] / "submodules" / "MapTR" / "projects").is_dir():
        pytest.skip("the checkout is here")
    shown = admlops("evaluate", "maps", "--official", check=False)
    assert shown.returncode == 1
    assert "admlops sources fetch MapTR" in shown.stderr
    assert "written to" in shown.stdout
    (left,) = json.loads(run.metrics_path.read_text())["official_not_run"]
    assert (left["protocol"], left["missing"]) == (CHAMFER.name, True)
    assert admlops("evaluate", "maps").returncode == 0


@pytest.mark.parametrize("confidences", [(0.0, 5e-324, 1e-323), (5e-324, 1e-310, 0.5), (5e-324,)])
def test_confidences_near_zero_have_finite_numbers(
    tmp_path: Path, layout: Layout, confidences: tuple[float, ...]
) -> None:
    root = write_tables(tmp_path / "data", scenes=10, samples=3, objects=30)
    annotations = read_annotations(root, VERSION, tokens_of(10, 3))
    truth = make_ground_truth(annotations)
    boxes = predict(truth, per_sample=40, seed=9)
    drawn = np.random.default_rng(0).choice(confidences, len(boxes))
    run = write_run(tmp_path / "run", root, annotations, truth, replace(boxes, score=drawn))
    summary = evaluate_run(run, NuScenes(root, VERSION), layout=layout, say=print)
    values = {one["name"]: one["value"] for one in summary["metrics"]}
    assert all(0.0 <= value < 20.0 for value in values.values())
    low, high = summary["details"]["detection"]["tie_ranges"]["mATE"]
    assert 0.0 < low <= values["mATE"] <= high < 5.0


def test_a_pose_that_is_no_number_is_named(layout: Layout, tmp_path: Path, admlops: Admlops) -> None:
    root = fabricate(tmp_path / "nuscenes")
    write_map(root)
    data = NuScenes(root, "v1.0-mini")
    tokens = [token for scene in data.scenes() for token in scene.samples]
    make_run(runs(tmp_path) / "posed", data, [truth_record(data, token) for token in tokens])
    table = root / data.version / "ego_pose.json"
    rows = json.loads(table.read_text())
    for row in rows:
        row["translation"][0] = float("nan")
    table.write_text(json.dumps(rows))
    shown = admlops("evaluate", "posed", check=False)
    assert shown.returncode == 2
    assert "Traceback" not in shown.stderr
    assert re.search(r"ego_pose\.json .*translation of row .* is NaN", shown.stderr)
