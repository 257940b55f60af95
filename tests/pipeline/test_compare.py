"""`admlops compare`, `evaluate` and `report` for real, on synthetic scenes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from admlops.results.run_folder import RunFolder

Admlops = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.usefixtures("groundplane_environment", "official_environment")


def test_a_comparison_runs_evaluates_ranks_and_reports(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("compare", "--models", "GroundPlane,MapTR", "--data", synthetic_root, "--out", out)
    first = admlops(*command)
    assert "not set up" in first.stdout
    assert str(out / "report.html") in first.stdout
    summary = json.loads((out / "comparison_summary.json").read_text())
    groundplane, maptr = summary["models"]
    assert groundplane["status"] == "complete"
    assert maptr["status"].startswith("not set up")
    assert {claim["metric"] for claim in maptr["published"]} >= {"mAP"}
    assert all(metric["protocol"] and metric["n"] == 8 for metric in groundplane["metrics"])
    assert {metric["name"] for metric in groundplane["metrics"]} >= {"NDS", "mAP"}
    assert groundplane["latency"]["verdict"] == "INVALID", "eight samples carry no percentile"
    assert groundplane["memory"]["worker_peak_mb"] > 10
    for ranking in summary["rankings"]:
        assert [place["model"] for place in ranking["places"]] == ["GroundPlane"]
    page = (out / "report.html").read_text()
    assert "GroundPlane" in page
    assert "MapTR" in page

    again = admlops(*command, "--json")
    repeated = json.loads(again.stdout)
    assert repeated["models"][0]["run"] == groundplane["run"], "a finished run is used again"
    assert repeated["models"][0]["metrics"] == groundplane["metrics"]


def test_evaluate_and_report_a_run(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    admlops("run", "GroundPlane", "--data", synthetic_root, "--scene", "scene-0103", "--run", "one")
    unevaluated = admlops("report", "one", "--out", tmp_path / "early.html")
    assert "admlops evaluate" in (tmp_path / "early.html").read_text()
    assert unevaluated.returncode == 0
    shown = admlops("evaluate", "one").stdout
    assert "NDS" in shown
    assert "nuscenes.detection_cvpr_2019" in shown
    run = RunFolder.open(tmp_path / "repository" / "runs" / "one")
    assert run.check_manifest() == []
    admlops("report", "one")
    assert run.report_path.stat().st_size > 10_000
    listed = json.loads(admlops("results", "list", "--json").stdout)
    assert "one" in json.dumps(listed)
