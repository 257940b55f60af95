"""`admlops compare`, `evaluate` and `report` for real, on synthetic scenes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from tests.conftest import OpenLaneScenes
from tests.execution.execution_bench import make_header

from admlops.catalog import load_model
from admlops.core.errors import StoppedError, UsageError
from admlops.core.paths import Layout
from admlops.core.types import Planned
from admlops.execution.scene_job import Summary
from admlops.pipeline.compare import compare_models, find_entrants, find_shortcomings, request_for
from admlops.pipeline.compared import Compared
from admlops.pipeline.preview import preview_comparison
from admlops.pipeline.readiness import Part, Readiness
from admlops.pipeline.run_job import RunPlan
from admlops.pipeline.run_request import RunRequest
from admlops.results.run_folder import RunFolder
from admlops.synthetic.openlane_writer import OpenLaneOptions

Admlops = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.usefixtures("groundplane_environment", "official_environment")


def test_a_comparison_runs_evaluates_ranks_and_reports(admlops: Admlops, synthetic_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("compare", "--models", "GroundPlane,MapTR", "--data", synthetic_root, "--out", out)
    first = admlops(*command)
    rows = {line.split()[0]: line for line in first.stdout.splitlines() if line.startswith(("GroundPlane ", "MapTR "))}
    assert rows["GroundPlane"].split()[1] == "ready"
    assert rows["MapTR"].split()[1:] == ["not", "set", "up"]
    assert re.search(r"^MapTR: no source in submodules/MapTR → make setup-MapTR$", first.stdout, re.MULTILINE)
    assert str(out / "report.html") in first.stdout
    summary = json.loads((out / "comparison_summary.json").read_text())
    groundplane, maptr = summary["models"]
    assert (groundplane["status"], groundplane["state"], groundplane["why"]) == ("complete", "ready", "")
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


@pytest.mark.full
def test_a_model_of_another_data_set_gets_its_own(
    admlops: Admlops, synthetic_root: Path, openlane: OpenLaneScenes
) -> None:
    """TopoMLP reads OpenLane-V2: without such a data set it is not for this one."""
    lanes = openlane(OpenLaneOptions(scenes=1, samples=1, seed=1, scale=0.1))
    command = ("compare", "--models", "GroundPlane,TopoMLP", "--data", synthetic_root, "--limit", "1", "--json")
    alone = json.loads(admlops(*command).stdout)["models"]
    both = json.loads(admlops(*command, "--also", lanes).stdout)["models"]
    assert [row["state"] for row in alone] == ["ready", "not for nuscenes"]
    assert [row["state"] for row in both] == ["ready", "not set up"]
    assert both[0]["metrics"] == alone[0]["metrics"]


def test_ctrl_c_ends_the_comparison_and_not_one_model_only(
    layout: Layout, synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def stop(layout: Layout, plan: RunPlan, request: RunRequest, **watchers: Any) -> tuple[RunFolder, Summary]:
        begun.append(request.model)
        run = make_run(tmp_path / "run", request.model)
        return run, Summary(state="cancelled", ok=0, failed=0, remaining=1, retries=0, stopped_by=None)

    monkeypatch.setattr("admlops.pipeline.comparison_runs.run_plan", stop)
    with pytest.raises(StoppedError, match="stopped while GroundPlane ran") as stopped:
        compare_models(
            layout,
            ["GroundPlane", "GroundPlane"],
            RunRequest(model="GroundPlane", data=synthetic_root),
            target=tmp_path / "out",
            fresh=True,
            say=lambda line: None,
            show_progress=lambda: nullcontext(lambda event, total: None),
        )
    assert begun == ["GroundPlane"]
    assert "repeat the command" in stopped.value.hint
    assert not (tmp_path / "out").exists()


def make_run(folder: Path, model: str, *, weights: str | None = None, device: str = "cuda:0") -> RunFolder:
    """A run without records whose header says how it was made."""
    facts = make_header({"a": 1}, model=model)
    options = {} if weights is None else {"weights": weights}
    return RunFolder(folder, msgspec.structs.replace(facts, settings={"device": device, "options": options}))


@pytest.mark.parametrize(
    ("weights", "device", "words"),
    [
        (None, "cuda:0", []),
        ("random:0", "cuda:0", ["random weights"]),
        (None, "cpu", ["on the CPU"]),
        ("random:0", "cpu", ["random weights", "on the CPU"]),
    ],
)
def test_a_model_that_ran_otherwise_than_it_is_judged_is_degraded(
    layout: Layout, tmp_path: Path, weights: str | None, device: str, words: list[str]
) -> None:
    model = load_model(layout, "MapTR")
    run = make_run(tmp_path, "MapTR", weights=weights, device=device)
    shortcomings = tuple(find_shortcomings(layout, model, run, {"samples": 1}))
    row = Compared(model=model, outcome="complete", run=run, metrics={"metrics": []}, shortcomings=shortcomings)
    assert row.state == ("degraded" if words else "ready")
    assert len(shortcomings) == len(words)
    assert all(word in row.why for word in words)
    assert (row.judged is None) == (weights is not None), "random weights are ranked with no others"


def test_random_weights_have_a_cure_that_fits_the_model_and_what_ran_it(layout: Layout, tmp_path: Path) -> None:
    train = "admlops checkpoints train CalibrationStatus --data DIR"
    fp16 = {"kind": "onnx", "precision": "fp16", "artifact": "CalibrationStatus/aaaa", "verified": True}

    def cure(name: str, engine: dict[str, Any] | None = None) -> str:
        run = make_run(tmp_path, name, weights="random:0")
        settings = {**run.header.settings, **({} if engine is None else {"engine": engine})}
        run = RunFolder(tmp_path, msgspec.structs.replace(run.header, settings=settings))
        return next(find_shortcomings(layout, load_model(layout, name), run, {"samples": 1})).hint

    assert cure("CalibrationStatus") == train
    assert cure("CalibrationStatus", fp16) == f"{train}   # then admlops export CalibrationStatus --precision fp16"
    assert cure("MapTR").startswith("admlops checkpoints fetch MapTR ")
    weights = layout.checkpoints / "CalibrationStatus" / "calibration-status-resnet18.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")
    assert cure("CalibrationStatus").startswith("admlops compare --models CalibrationStatus --data ")
    assert cure("CalibrationStatus", {**fp16, "precision": "auto"}) == "admlops export CalibrationStatus"
    asked = cure("CalibrationStatus", {**fp16, "precision": "int8"})
    assert asked == "admlops export CalibrationStatus --precision int8 --calibrate train --data DIR"


def test_a_mistyped_engine_is_refused_before_anything_runs(layout: Layout, tmp_path: Path) -> None:
    request = RunRequest(model="", data=tmp_path)
    with pytest.raises(UsageError, match="--engine onxx is neither one of"):
        find_entrants(layout, ["GroundPlane", "CalibrationStatus@onxx"], request)


def test_a_preview_names_contenders_with_their_engines(
    layout: Layout, synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def previewed(_: Layout, request: RunRequest, **watchers: Any) -> list[Planned]:
        if request.engine == "onnx:fp16":
            raise UsageError("nothing was exported", hint="admlops export CalibrationStatus")
        return [Planned(action="run", target=request.model), Planned(action="write", target="a folder")]

    monkeypatch.setattr("admlops.pipeline.preview.preview_run", previewed)
    names = [f"CalibrationStatus{engine}" for engine in ("", "@onnx", "@onnx:fp16")]
    request = RunRequest(model="", data=synthetic_root)
    steps = preview_comparison(
        layout, names, request, target=tmp_path / "out", fresh=True, random_weights=False, also=None
    )
    named = [(step.action, step.target) for step in steps if step.action != "write"]
    assert named == [("run", names[0]), ("run", names[1]), ("leave out", names[2])]


def test_a_model_that_failed_says_its_class_and_what_to_do(layout: Layout) -> None:
    model = load_model(layout, "MapTR")
    row = Compared(
        model=model, outcome="failed", reason="crash: the worker ended by itself", hint="admlops env verify MapTR"
    )
    assert (row.failed, row.state) == (True, "failed")
    assert row.why == "crash: the worker ended by itself → admlops env verify MapTR"
    missing = Compared(
        model=model, outcome="not set up", reason="no source in submodules/MapTR", hint="make setup-MapTR"
    )
    assert (missing.failed, missing.state) == (False, "not set up")
    assert missing.why == "no source in submodules/MapTR → make setup-MapTR"


def test_random_weights_only_where_nothing_else_is_missing(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = "nothing"

    def readiness(*_: object) -> Readiness:
        return Readiness() if missing == "nothing" else Readiness(lacks=cast("Part", missing))

    monkeypatch.setattr("admlops.pipeline.compare.find_readiness", readiness)
    model, request = load_model(layout, "MapTR"), RunRequest(model="", data=tmp_path)
    for missing, allowed, expected in (
        ("weights", True, "random:0"),
        ("weights", False, None),
        ("environment", True, None),
        ("nothing", True, None),
    ):
        asked = request_for(layout, model, request, allowed)
        assert (asked.model, asked.weights) == ("MapTR", expected), (missing, allowed)
    own = replace(request, checkpoint="mine.pth")
    missing = "weights"
    assert request_for(layout, model, own, True).weights is None


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


def slow_run(admlops_variables: dict[str, str], *command: str | Path) -> tuple[int, str]:
    """Start a comparison, press Ctrl-C when its first scene is complete, and wait for its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "admlops", *map(str, command)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=admlops_variables,
    )  # fmt: skip
    runs = Path(admlops_variables["ADMLOPS_REP_PATH"]) / "runs"
    while process.poll() is None and not list(runs.glob("*/records/*.jsonl*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def test_a_comparison_that_was_stopped_goes_on_and_failed_samples_are_done_again(
    admlops: Admlops, layout: Layout, synthetic_root: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(synthetic_root, data)
    variables = {**os.environ, "ADMLOPS_REP_PATH": str(layout.repository)}
    command = ("compare", "--models", "GroundPlane", "--data", data, "--out", tmp_path / "out")
    code, said = slow_run(variables, *command)
    assert code == 130, said
    assert "others go on" in said
    (stopped,) = (path.name for path in layout.runs.iterdir() if path.is_dir())

    picture = next((data / "samples" / "CAM_FRONT").iterdir())
    kept = picture.read_bytes()
    picture.write_bytes(kept[:200])
    again = admlops(*command, check=False)
    assert (again.returncode, f"going on with the run {stopped}" in again.stderr) == (1, True)
    assert "1 of 8 samples failed: 1 data" in again.stdout.replace("(1 failed)", "")
    picture.write_bytes(kept)
    mended = admlops(*command)
    assert f"doing 1 failed sample of the run {stopped} again" in mended.stderr
    assert "failed" not in mended.stdout
    assert len([path for path in layout.runs.iterdir() if path.is_dir()]) == 1


def test_names_and_places_are_checked_before_anything_runs(
    admlops: Admlops, layout: Layout, synthetic_root: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for options in (("--models", "GroundPlane,Foo"), ("--models", "GroundPlane", "--out", tmp_path / "file" / "out")):
        refused = admlops("compare", *options, "--data", synthetic_root, "--fresh", check=False)
        assert refused.returncode == 2
        assert not layout.runs.exists()


def test_a_comparison_in_which_nothing_ran_is_no_success(admlops: Admlops, synthetic_root: Path) -> None:
    shown = admlops("compare", "--models", "VAD", "--data", synthetic_root, "--limit", "1", check=False)
    if "not set up" not in shown.stdout:
        pytest.skip("needs a checkout in which VAD is not set up")
    assert shown.returncode == 2
    assert "no model ran\n  → make setup-VAD" in shown.stderr


def test_models_named_twice_or_in_two_options_are_compared_once(admlops: Admlops, synthetic_root: Path) -> None:
    shown = admlops(
        "compare", "--models", "GroundPlane,VAD", "--models", "GroundPlane", "--data", synthetic_root, "--limit", "1",
        "--json",
    )  # fmt: skip
    assert [row["model"] for row in json.loads(shown.stdout)["models"]] == ["GroundPlane", "VAD"]
