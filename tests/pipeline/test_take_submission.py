"""What becomes of a results file: the run, its name, its order, and what is refused; and the command around it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.conftest import Admlops
from tests.evaluation.detection_files import META, Results, predict
from tests.evaluation.taken_files import measure, silent, take, values_of
from tests.fabricated_nuscenes import VERSION, write_map, write_tables

from admlops.core.errors import AdmlopsError, StorageError, UsageError
from admlops.core.paths import Layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.submissions.nuscenes import NuScenesPredictions
from admlops.pipeline.compare import compare_models
from admlops.pipeline.export_submission import export_submission
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.take_submission import SubmissionRequest, choose_format, plan_submission
from admlops.reports import load_run_data, write_report
from admlops.results.header import Submission
from admlops.results.index import build_index
from admlops.results.run_folder import RunFolder

PROTOCOL = "nuscenes.detection_cvpr_2019"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> NuScenes:
    root = write_tables(tmp_path_factory.mktemp("fabricated") / "nuscenes")
    write_map(root)
    return NuScenes(root, VERSION)


@pytest.fixture(scope="module")
def results(data: NuScenes) -> Results:
    return predict(data, np.random.default_rng(5))


@pytest.fixture
def file(results: Results, tmp_path: Path) -> Path:
    path = tmp_path / "my results.json"
    path.write_text(json.dumps({"meta": META, "results": results}))
    return path


def test_the_run_says_where_it_comes_from(file: Path, data: NuScenes, layout: Layout) -> None:
    run = take(layout, file, data, command="admlops evaluate 'my results.json'")
    header = RunFolder.open(run.path).header
    source = header.submission
    assert isinstance(source, Submission)
    assert (source.format, source.file, source.size_bytes) == ("nuscenes", str(file), file.stat().st_size)
    assert header.run == f"my-results-{source.sha256[:8]}"
    assert (header.model, header.variant, header.state) == ("my-results", "submission", "complete")
    assert header.resume_command == "admlops evaluate 'my results.json'"
    assert run.check_manifest() == []
    metrics = measure(layout, run, data)
    assert "latency" not in metrics
    assert {one["protocol"] for one in metrics["metrics"]} == {PROTOCOL}
    assert [record.metadata.inference_time for record in run.records()] == [None] * 9


def test_a_headers_new_key_is_only_in_submissions(file: Path, data: NuScenes, layout: Layout) -> None:
    """Programs of before refuse keys that they do not know: a model's run has none."""
    run = take(layout, file, data)
    assert b'"submission"' in (run.path / "run.json").read_bytes()
    plain = msgspec.structs.replace(run.header, submission=msgspec.UNSET)
    assert b'"submission":' not in msgspec.json.encode(plain)


def test_the_same_file_again(file: Path, data: NuScenes, layout: Layout) -> None:
    run = take(layout, file, data)
    written = (run.path / "run.json").stat().st_mtime_ns
    assert (take(layout, file, data).path / "run.json").stat().st_mtime_ns == written
    next(iter(run.records_path.iterdir())).unlink()
    assert len(list(take(layout, file, data).records())) == 9  # made anew, because a scene was lost
    assert [path.name for path in layout.runs.iterdir()] == [run.path.name]


def test_a_name_that_is_taken(file: Path, data: NuScenes, layout: Layout, results: Results) -> None:
    take(layout, file, data, name="mine")
    assert take(layout, file, data, name="mine").header.run == "mine"
    other = file.with_name("other.json")
    other.write_text(json.dumps({"meta": META, "results": results, "more": 1}))
    with pytest.raises(StorageError, match="was made of another file, or for other samples"):
        take(layout, other, data, name="mine")
    (layout.runs / "files").mkdir()
    with pytest.raises(StorageError, match="holds files that are no run"):
        take(layout, other, data, name="files")
    with pytest.raises(UsageError, match="is no name of a run"):
        take(layout, other, data, name="../mine")


def test_what_stops_midway_leaves_nothing(
    file: Path, data: NuScenes, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = NuScenesPredictions.outputs

    def interrupted(self: NuScenesPredictions, token: str, sample: Any) -> Any:
        if token == self.tokens[6]:
            raise KeyboardInterrupt
        return whole(self, token, sample)

    monkeypatch.setattr(NuScenesPredictions, "outputs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        take(layout, file, data)
    assert list(layout.runs.iterdir()) == []
    monkeypatch.undo()
    left = take(layout, file, data).path
    left.rename(left.with_name(f".{left.name}.abc123"))  # as if its process had been killed
    assert [path.name for path in take(layout, file, data).path.parent.iterdir()] == [left.name]


def test_the_split_is_found(file: Path, data: NuScenes, layout: Layout, results: Results) -> None:
    own = data.scenes()[0].samples
    file.write_text(json.dumps({"meta": META, "results": {token: results[token] for token in own}}))
    with pytest.raises(UsageError, match="4 of the 9 samples of split mini_val are missing") as missing:
        take(layout, file, data)
    assert "check that" in missing.value.hint
    (data.root / VERSION / "splits.json").write_text(json.dumps({"first": [data.scenes()[0].name]}))
    try:
        assert take(layout, file, data, split="first").header.data.split == "first"
        with pytest.raises(UsageError, match="4 of the 9"):
            take(layout, file, data, split="mini_val")
    finally:
        (data.root / VERSION / "splits.json").unlink()
    file.write_text(json.dumps({"meta": META, "results": results}))
    with pytest.raises(AdmlopsError, match="has no split 'nowhere'"):
        take(layout, file, data, split="nowhere")


def _zip(path: Path, **members: str) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path.read_bytes()


WRONG: dict[str, tuple[Callable[[Path, str], object], str]] = {
    "empty": (lambda path, text: path.write_text(""), "is empty"),
    "spaces": (lambda path, text: path.write_text("  \n"), "no results file of a known format"),
    "a picture": (lambda path, text: path.write_bytes(b"\x89PNG" + b"\x00" * 64), "no results file of a known format"),
    "cut": (lambda path, text: path.write_text(text[:-300]), "is not JSON: Input data was truncated"),
    "a comma too many": (lambda path, text: path.write_text(text[:-1] + ",}"), "is not JSON"),
    "two files": (
        lambda path, text: _zip(path, **{"a.json": text, "b.json": text}),
        r"holds 2 files \(a.json, b.json\)",
    ),
    "no file": (lambda path, text: _zip(path), "damaged or encrypted zip|no results file|holds 0 files"),
    "half a zip": (lambda path, text: path.write_bytes(_zip(path, a=text)[:-600]), "damaged or encrypted zip"),
    "a list": (lambda path, text: path.write_text("[1, 2]"), "no results file of a known format"),
    "results in a list": (
        lambda path, text: path.write_text('{"meta": {}, "results": [1]}'),
        "no results file of a known",
    ),
    "a number for boxes": (
        lambda path, text: path.write_text('{"meta": {}, "results": {"a": [{}], "b": 1}}'),
        "samples are not of split|missing",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_results_file_is_named(name: str, file: Path, data: NuScenes, layout: Layout) -> None:
    change, said = WRONG[name]
    change(file, file.read_text())
    with pytest.raises(UsageError, match=said) as refused:
        take(layout, file, data)
    assert "my results.json" in refused.value.message
    assert not layout.runs.exists()


def test_a_file_of_another_format_or_place(file: Path, data: NuScenes, layout: Layout) -> None:
    with pytest.raises(UsageError, match=r"is not of format maptr .* it is nuScenes detection results") as refused:
        take(layout, file, data, form="maptr")
    assert refused.value.hint.startswith("pass --format nuscenes")
    with pytest.raises(UsageError, match="is a folder, not a results file"):
        take(layout, file.parent, data)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        take(layout, file.with_name("nowhere.json"), data)
    locked = file.with_name("locked.json")
    locked.write_text(file.read_text())
    locked.chmod(0)
    if not os.access(locked, os.R_OK):  # root reads everything
        with pytest.raises(UsageError, match="cannot be read: Permission denied"):
            take(layout, locked, data)


def test_a_zip_says_what_its_file_says(file: Path, data: NuScenes, layout: Layout, tmp_path: Path) -> None:
    packed = tmp_path / "packed.zip"
    _zip(packed, **{"folder/results.json": file.read_text(), "__MACOSX/folder/._results.json": "x"})
    values = [values_of(measure(layout, take(layout, path, data), data), "nuscenes") for path in (file, packed)]
    assert values[0] == values[1]


def test_there_and_back(file: Path, data: NuScenes, layout: Layout, results: Results, tmp_path: Path) -> None:
    """What goes out is what came in: places to the last bit, the file's order, velocities that are not known."""
    order = list(reversed(results))
    rows = [dict(row) for row in results[order[0]]]
    rows[0]["velocity"], rows[1]["attribute_name"], rows[1]["detection_score"] = [float("nan")] * 2, "", 3.5
    content = {token: results[token] for token in order} | {order[0]: rows}
    file.write_text(json.dumps({"meta": META, "results": content}))
    run = take(layout, file, data)
    out = tmp_path / "out.json"
    assert export_submission(run, "nuscenes", out) == 9
    before, after = (json.loads(path.read_text())["results"] for path in (file, out))
    assert list(after) == list(before) == order
    for first, second in zip(chain(*before.values()), chain(*after.values()), strict=True):
        for key in ("sample_token", "translation", "size", "detection_name", "detection_score", "attribute_name"):
            assert second[key] == first[key]
        np.testing.assert_allclose(second["velocity"], first["velocity"], atol=1e-12)
        assert abs(np.dot(second["rotation"], first["rotation"])) == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(UsageError, match="is a run over nuscenes, and an OpenLane-V2"):
        export_submission(run, "openlanev2", out)
    with pytest.raises(UsageError, match="no official server takes such a file"):
        export_submission(run, "uniad", out)


def test_all_that_works_on_runs(file: Path, data: NuScenes, layout: Layout, tmp_path: Path) -> None:
    """Report, index, and a comparison with a model that ran."""
    run = take(layout, file, data, name="mine")
    measure(layout, run, data)
    page = write_report(tmp_path / "report.html", [load_run_data(run)], None, data=data).read_text()
    assert "results file sha256" in page
    assert "my-results" in page
    built = build_index(layout)
    assert (built.runs, built.samples) == (1, 9)


def test_extensions_may_add_a_format(
    file: Path, data: NuScenes, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    from admlops.catalog.registries import SUBMISSION_FORMATS
    from admlops.evaluation.submissions.nuscenes import FORMAT
    from admlops.evaluation.submissions.results_file import ResultsFile

    monkeypatch.setattr(SUBMISSION_FORMATS, "_things", dict(SUBMISSION_FORMATS._things))
    own = replace(FORMAT, id="own", recognise=lambda file: file.path.suffix == ".own")
    SUBMISSION_FORMATS.register("own", own)
    other = file.rename(file.with_suffix(".own"))
    with ResultsFile(other) as opened:
        assert choose_format(opened, "own") is own
    request = SubmissionRequest(file=other, form="own", open_data=lambda form: data)
    with plan_submission(layout, request) as plan:
        assert plan.to_json()["format"] == "own"


@pytest.mark.full
def test_the_command(file: Path, data: NuScenes, admlops: Admlops) -> None:
    said = json.loads(admlops("evaluate", file, "--data", data.root, "--dry-run", "--json").stdout)
    assert (said["format"], said["samples"], said["reused"]) == ("nuscenes", 9, False)
    assert not Path(said["folder"]).exists()
    shown = admlops("evaluate", file, "--data", data.root, "--run", "mine", "--model", "Mine", "--json")
    assert json.loads(shown.stdout)["model"] == "Mine"
    assert admlops("report", "mine").stdout.startswith("report: ")
    refused = admlops("evaluate", "mine", "--split", "val", check=False)
    assert refused.returncode == 2
    assert "--split is for results files, and mine is no file" in refused.stderr


def test_two_submissions_side_by_side(file: Path, data: NuScenes, layout: Layout, tmp_path: Path) -> None:
    runs = [take(layout, file, data, name="first", model="Theirs"), take(layout, file, data, name="second")]
    request = RunRequest(model="GroundPlane", data=data.root, version=VERSION)
    done = compare_models(
        layout,
        [],
        request,
        target=tmp_path / "comparison",
        fresh=False,
        say=silent,
        show_progress=lambda: nullcontext(lambda event, total: None),
        submissions=runs,
    )
    rows = {row["model"]: row for row in done.summary["models"]}
    assert set(rows) == {"first", "second"}
    assert [(row["state"], row["latency"], row["samples"]) for row in rows.values()] == [("ready", None, 9)] * 2
    ranked = next(one for one in done.summary["rankings"] if (one["name"], one["protocol"]) == ("mAP", PROTOCOL))
    assert [(place["place"], place["model"]) for place in ranked["places"]] == [(1, "first"), (1, "second")]
    assert {tuple(pair["models"]) for pair in done.summary["paired"]} == {("first", "second")}
    page = write_report(tmp_path / "page.html", done.run_data(), done.summary, data=data).read_text()
    assert "Theirs" in page
