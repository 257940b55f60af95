"""The Python API as a notebook uses it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from tests.noisy_runs import NoisyRuns, write_noisy_run

import admlops
from admlops import api
from admlops.core.errors import (
    AdmlopsError,
    ComparabilityError,
    MissingExtraError,
    RecordError,
    UsageError,
)
from admlops.environments import Environment
from admlops.pipeline.background import RunOptions
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.selection import Selection

DETECTION = "nuscenes.detection_cvpr_2019"


@pytest.fixture
def repository(noisy_runs: NoisyRuns, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository with `near` and `far` in it, as the environment names it."""
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(noisy_runs.layout.repository))
    return noisy_runs.layout.repository


def test_importing_costs_nothing_and_every_name_is_there() -> None:
    program = (
        "import sys, admlops; print([n for n in ('numpy', 'click', 'msgspec', 'admlops.api') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert set(api.__all__) == set(admlops.__all__) - {"__version__"}
    assert set(api.__all__) <= set(dir(admlops))
    for name in api.__all__:
        assert getattr(admlops, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = admlops.nothing_of_ours  # type: ignore[attr-defined]


def test_what_is_public_is_documented_and_annotated() -> None:
    for name in api.__all__:
        thing = getattr(api, name)
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            signature = inspect.signature(thing)
            assert signature.return_annotation is not inspect.Signature.empty
            assert all(one.annotation is not inspect.Parameter.empty for one in signature.parameters.values())


@pytest.mark.usefixtures("repository")
def test_a_run_opens_by_name_and_by_path(noisy_runs: NoisyRuns) -> None:
    run = admlops.open_run("near")
    assert (run.name, run.model, run.state, run.path) == ("near", "Near", "complete", noisy_runs.near.path)
    assert admlops.open_run(run.path).header == run.header
    assert [one.name for one in admlops.list_runs()] == ["far", "near"]
    assert "near" in repr(run)
    with pytest.raises(RecordError, match="did you mean near"):
        admlops.open_run("nears")


@pytest.mark.usefixtures("repository")
def test_metrics_are_looked_up_by_name_and_protocol() -> None:
    metrics = admlops.open_run("near").metrics
    nds = metrics["NDS"]
    assert nds.protocol == DETECTION
    assert nds == metrics[f"{DETECTION}/NDS"]
    assert metrics[0] in list(metrics)
    assert metrics[:2] == list(metrics)[:2] or tuple(metrics[:2]) == tuple(metrics)[:2]
    assert metrics.protocols[0] == DETECTION
    with pytest.raises(UsageError, match="has 2 metrics called 'mAP'") as ambiguous:
        _ = metrics["mAP"]
    assert ambiguous.value.hint == f"metrics['{DETECTION}/mAP']"
    with pytest.raises(UsageError, match="has no metric 'AP50'"):
        _ = metrics["AP50"]


@pytest.mark.usefixtures("repository")
def test_records_are_typed_and_come_in_order() -> None:
    run = admlops.open_run("near")
    records = run.records
    first = next(records)
    assert isinstance(first, admlops.Record)
    assert first.metadata.index_in_scene == 0
    assert len(list(records)) == sum(run.header.scenes.values()) - 1
    assert next(run.records) == first, "each look reads anew"


@pytest.mark.usefixtures("repository")
def test_frames_have_types_and_units() -> None:
    run = admlops.open_run("near")
    samples = run.to_frame()
    assert len(samples) == 9
    assert str(samples.dtypes["inference_time_s"]) == "Float64"
    assert samples["gpu_memory_used_mb"].isna().all()
    boxes = run.to_frame("detections")
    assert len(boxes) == samples["detections"].sum()
    metrics = run.metrics.to_frame()
    assert set(metrics["protocol"]) == set(run.metrics.protocols)
    with pytest.raises(UsageError, match="there is no table 'boxes'"):
        run.to_frame("boxes")
    with pytest.raises(UsageError, match="neither pandas nor polars"):
        run.to_frame(library="dask")  # type: ignore[arg-type]


@pytest.mark.usefixtures("repository")
def test_polars_gives_the_same_frame() -> None:
    pytest.importorskip("polars", reason='needs polars: pip install "admlops[polars]"')
    run = admlops.open_run("near")
    ours, theirs = run.to_frame(library="polars"), run.to_frame()
    assert ours.columns == list(theirs.columns)
    assert ours["scene"].to_list() == theirs["scene"].to_list()
    assert str(ours.schema["gpu_memory_used_mb"]) == "Float64"


@pytest.mark.usefixtures("repository")
def test_a_library_that_is_not_there_is_an_import_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="needs polars") as missing:
        admlops.open_run("near").to_frame(library="polars")
    assert isinstance(missing.value, MissingExtraError)
    assert missing.value.hint == 'pip install "admlops[polars]"'


def test_a_run_is_evaluated(noisy_runs: NoisyRuns, tmp_path: Path) -> None:
    folder = write_noisy_run(tmp_path / "fresh", noisy_runs.data, "Fresh", noise=0.2)
    run = admlops.open_run(folder.path)
    assert not run.is_evaluated
    with pytest.raises(RecordError, match="fresh is not evaluated"):
        _ = run.metrics
    said: list[str] = []
    assert run.evaluate(say=said.append) is run
    assert run.metrics["NDS"].value == pytest.approx(admlops.open_run(noisy_runs.near.path).metrics["NDS"].value)
    assert any("intervals" in line for line in said)
    assert folder.check_manifest() == []
    with pytest.raises(AdmlopsError, match="nowhere"):
        admlops.evaluate(run, data=tmp_path / "nowhere")


@pytest.mark.usefixtures("repository")
def test_runs_are_compared_in_pairs(noisy_runs: NoisyRuns, tmp_path: Path) -> None:
    compared = admlops.compare("near", "far")
    (pair,) = compared.pairs
    nds = next(one for one in pair.differences if one.metric == "NDS")
    assert nds.difference is not None
    assert nds.difference < 0
    frame = compared.to_frame()
    assert len(frame) == len(pair.differences)
    with pytest.raises(UsageError, match="needs two runs"):
        admlops.compare("near")
    part = write_noisy_run(tmp_path / "part", noisy_runs.data, "Part", noise=0.1, scenes=1)
    with pytest.raises(ComparabilityError, match="samples"):
        admlops.compare("near", admlops.open_run(part.path).evaluate())


@pytest.mark.usefixtures("repository")
def test_figures_tables_and_the_page(tmp_path: Path) -> None:
    run = admlops.open_run("near")
    for figure in (
        run.plot_scores(),
        run.plot_latency(),
        run.plot_parts("class"),
        run.plot_precision_recall("map"),
        admlops.plot_scores(["near", "far"], DETECTION),
        admlops.plot_latency([run, "far"]),
    ):
        assert isinstance(figure, Figure)
    with pytest.raises(UsageError, match="nothing is measured by 'colour'"):
        admlops.plot_parts([run], "colour")
    assert "toprule" in admlops.make_tables([run, "far"], format="latex")
    assert admlops.make_tables(run, by="class")[0].by == "class"
    assert isinstance(admlops.plot_scores("near"), Figure)
    with pytest.raises(UsageError, match="there is no format 'docx'"):
        admlops.make_tables([run], format="docx")
    assert "Near" in admlops.report([run], tmp_path / "page.html").read_text()


def test_the_options_of_a_run_are_those_of_a_request() -> None:
    request = {one.name for one in fields(RunRequest)} - {"model", "selection", "on_begin", "cancel", "exported_form"}
    selection = {one.name for one in fields(Selection)}
    assert set(RunOptions.__annotations__) == request | selection


def small(root: Path, **more: Any) -> dict[str, Any]:
    return {"data": root, "split": "mini_val", "device": "cpu", **more}


def test_a_model_runs_and_its_events_come_as_they_happen(
    groundplane_environment: Environment, synthetic_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "repository"))
    seen: list[tuple[str, int]] = []
    run = admlops.run(
        "GroundPlane",
        **small(synthetic_root, limit=2, name="by-callback"),
        on_event=lambda event, total: seen.append((event.kind, total)),
    )
    assert (run.state, len(list(run.records))) == ("complete", 2)
    assert [kind for kind, _ in seen if kind == "sample"] == ["sample"] * 2
    assert {total for _, total in seen} == {2}

    with admlops.start("GroundPlane", **small(synthetic_root, name="by-iterator")) as running:
        kinds = []
        for event in running:
            kinds.append(event.kind)
            if event.kind == "scene":
                running.cancel()
        stopped = running.result()
    assert stopped.name == "by-iterator"
    assert stopped.state in ("cancelled", "complete")
    assert kinds.count("scene") >= 1
    assert running.is_done


def test_a_wrong_option_is_said_before_anything_runs(synthetic_root: Path) -> None:
    with pytest.raises(UsageError, match="a run has no option wokers") as wrong:
        admlops.start("GroundPlane", **small(synthetic_root, wokers=2))
    assert "workers" in wrong.value.hint
    with pytest.raises(AdmlopsError, match="MapTRR"):
        admlops.run("MapTRR", **small(synthetic_root))
    with pytest.raises(AdmlopsError, match="/nowhere"):
        admlops.start("GroundPlane", data="/nowhere", split="mini_val").result()
