"""The index over runs, and the lists and exports that read the runs themselves."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from admlops.core.errors import RecordError, StorageError
from admlops.core.paths import Layout
from admlops.results.export import export_csv, export_jsonl, export_parquet
from admlops.results.index import build_index, read_metrics
from admlops.results.record_json import decode_record
from admlops.results.run_folder import RunFolder
from admlops.results.runs import count_samples, find_run, list_runs

MakeRun = Callable[..., RunFolder]
Admlops = Callable[..., "subprocess.CompletedProcess[str]"]


def _query(file: Path, sql: str) -> list[Any]:
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_the_index_holds_what_the_files_say(layout: Layout, make_run: MakeRun) -> None:
    make_run("first", evaluated=True)
    make_run("second", created="2026-01-03T00:00:00+00:00")
    index = build_index(layout)
    assert (index.runs, index.samples, index.skipped) == (2, 8, ())
    assert index.file == layout.runs / "index.duckdb"
    runs = "SELECT run, model, state, synthetic, scenes, samples, failed_samples, code_commit FROM runs ORDER BY run"
    assert _query(index.file, runs) == [
        ("first", "GroundPlane", "complete", True, 2, 4, 1, None),
        ("second", "GroundPlane", "complete", True, 2, 4, 1, None),
    ]
    samples = "SELECT sample_token, status, failure_class, inference_time_s, detections, map_elements FROM samples"
    assert _query(index.file, f"{samples} WHERE run = 'first'") == [
        ("scene-0916-0", "ok", None, 0.125, 2, 1),
        ("scene-0916-1", "ok", None, 0.125, 2, 1),
        ("scene-0103-0", "ok", None, 0.125, 2, 1),
        ("scene-0103-1", "failed", "data", None, None, None),
    ]
    assert _query(index.file, "SELECT run, name, value, interval_low, interval_high FROM metrics ORDER BY name") == [
        ("first", "mAP", 0.25, 0.2, 0.3),
        ("first", "mAVE", None, None, None),
    ]


def test_an_index_of_nothing_has_its_tables(layout: Layout) -> None:
    index = build_index(layout)
    assert _query(index.file, "SELECT count(*) FROM runs JOIN samples USING (run) JOIN metrics USING (run)") == [(0,)]


def test_a_new_index_replaces_the_old_one_and_leaves_nothing_beside(layout: Layout, make_run: MakeRun) -> None:
    make_run("first")
    build_index(layout)
    make_run("second")
    index = build_index(layout)
    assert _query(index.file, "SELECT count(*) FROM runs") == [(2,)]
    assert sorted(entry.name for entry in layout.runs.iterdir()) == ["first", "index.duckdb", "second"]


def _break_header(run: RunFolder) -> None:
    (run.path / "run.json").write_text("{")


def _newer_header(run: RunFolder) -> None:
    header = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**header, "schema": 2}))


def _no_header(run: RunFolder) -> None:
    (run.path / "run.json").unlink()


def _half_a_record(run: RunFolder) -> None:
    file = run.records_path / "scene-0103.jsonl"
    file.write_bytes(file.read_bytes()[:-20])


def _newer_record(run: RunFolder) -> None:
    file = run.records_path / "scene-0103.jsonl"
    file.write_text(file.read_text().replace('"schema":1', '"schema":9'))


def _broken_metrics(run: RunFolder) -> None:
    run.metrics_path.write_text('{"schema": 1, "metrics": [{"name": "mAP"}]}')


def _newer_metrics(run: RunFolder) -> None:
    run.metrics_path.write_text('{"schema": 2}')


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_break_header, "is not a run's header"),
        (_newer_header, "run schema 2; this admlops reads up to 1"),
        (_no_header, "has no run.json"),
        (_half_a_record, "scene-0103.jsonl:2 is not a standard record"),
        (_newer_record, "record schema 9; this admlops reads up to 1"),
        (_broken_metrics, "metrics.json is damaged"),
        (_newer_metrics, "metrics schema 2; this admlops reads up to 1"),
    ],
)
def test_a_broken_run_is_skipped_with_its_reason(
    layout: Layout, make_run: MakeRun, damage: Callable[[RunFolder], None], reason: str
) -> None:
    make_run("whole")
    damage(make_run("broken"))
    index = build_index(layout)
    (skipped,) = index.skipped
    assert skipped.folder.name == "broken"
    assert reason in skipped.reason
    assert _query(index.file, "SELECT DISTINCT run FROM samples") == [("whole",)]
    assert _query(index.file, "SELECT folder, reason FROM skipped") == [(str(skipped.folder), skipped.reason)]


def test_a_folder_that_cannot_be_written_keeps_the_old_index(layout: Layout, make_run: MakeRun) -> None:
    make_run("first")
    blocked = replace(layout, repository=layout.repository / "file")
    (layout.repository / "file").write_text("")
    with pytest.raises(StorageError, match=r"index\.duckdb could not be written"):
        build_index(blocked)


def test_an_unfinished_scene_does_not_count(layout: Layout, make_run: MakeRun) -> None:
    run = make_run("killed")
    scene = run.records_path / "scene-0103.jsonl"
    scene.rename(scene.with_name("scene-0103.jsonl.part"))
    assert count_samples(run) == (2, 4)
    assert _query(build_index(layout).file, "SELECT complete_scenes, samples FROM runs") == [(1, 2)]


def test_runs_are_listed_oldest_first_and_found_by_name_or_path(layout: Layout, make_run: MakeRun) -> None:
    make_run("a", created="2026-02-01T00:00:00+00:00")
    run = make_run("b", created="2026-01-01T00:00:00+00:00")
    assert [one.path.name for one in list_runs(layout)[0]] == ["b", "a"]
    assert find_run(layout, "b").path == run.path
    assert find_run(layout, str(run.path)).path == run.path
    with pytest.raises(RecordError, match=r'no run is called "bb" in .*; did you mean b\?'):
        find_run(layout, "bb")


def test_metrics_of_a_run_that_was_not_evaluated(make_run: MakeRun) -> None:
    assert read_metrics(make_run("first")) is None


def test_exports_agree_with_the_records(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("first")
    assert export_jsonl(run, tmp_path / "records.jsonl") == 4
    lines = (tmp_path / "records.jsonl").read_bytes().splitlines()
    assert [decode_record(line, where="export") for line in lines] == list(run.records())
    assert export_csv(run, tmp_path / "boxes.csv", table="detections") == 6
    with (tmp_path / "boxes.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["sample_token"], row["class_name"], row["x_m"], row["length_m"]) == (
        "scene-0916-0",
        "car",
        "12.5",
        "4.5",
    )
    for table, expected in (("samples", 4), ("detections", 6), ("map_elements", 3)):
        assert export_parquet(run, tmp_path / f"{table}.parquet", table=table) == expected
    assert export_parquet(run, tmp_path / "boxes.jsonl", table="detections") == 6, "whatever the file is called"
    assert (tmp_path / "boxes.jsonl").read_bytes() == (tmp_path / "detections.parquet").read_bytes()
    memory = duckdb.connect()
    sql = f"SELECT velocity_x_mps, rotation_z, attribute FROM '{tmp_path / 'detections.parquet'}' LIMIT 2"
    assert memory.execute(sql).fetchall() == [(1.0, 0.0, ""), (None, 1.0, "pedestrian.standing")]
    ((points,),) = memory.execute(f"SELECT points_m FROM '{tmp_path / 'map_elements.parquet'}' LIMIT 1").fetchall()
    assert json.loads(points) == [[0.0, 1.5], [10.0, 1.75]]


def test_a_run_is_verified_file_by_file(make_run: MakeRun, admlops: Admlops) -> None:
    run = make_run("first")
    refused = admlops("results", "verify", "first", check=False)
    assert (refused.returncode, "manifest.json is missing" in refused.stderr) == (2, True)
    run.write_manifest()
    said = admlops("results", "verify", "first").stdout
    assert "every file is as its manifest says, 4 records are whole" in said
    make_run("second").write_manifest()
    other = json.loads(admlops("results", "verify", "second", "--json").stdout)
    assert other["records_sha256"] in said, "the same outputs have the same digest, whatever the run is called"
    records = next(run.records_path.iterdir())
    records.write_bytes(records.read_bytes()[:-20])
    changed = admlops("results", "verify", "first", "--json", check=False)
    assert (changed.returncode, json.loads(changed.stdout)["changed"]) == (1, [f"records/{records.name}"])
    assert f"records/{records.name}" in changed.stderr
    run.write_manifest()
    damaged = admlops("results", "verify", "first", check=False)
    assert (damaged.returncode, records.name in damaged.stderr, "Traceback" in damaged.stderr) == (2, True, False)


def test_an_export_of_a_broken_run_leaves_the_old_file(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("first")
    out = tmp_path / "records.jsonl"
    out.write_text("mine")
    _half_a_record(run)
    with pytest.raises(RecordError):
        export_jsonl(run, out)
    assert out.read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


@pytest.mark.full
def test_the_commands(admlops: Admlops, make_run: MakeRun, tmp_path: Path) -> None:
    assert "no runs yet" in admlops("results", "list").stdout
    make_run("first", evaluated=True)
    _break_header(make_run("broken"))
    listed = admlops("results", "list")
    assert listed.stdout.splitlines()[1].split()[:5] == ["first", "GroundPlane", "modern", "complete", "4/4"]
    assert "skipped broken: " in listed.stderr
    assert json.loads(admlops("results", "list", "--json").stdout)["runs"][0]["evaluated"] is True
    shown = admlops("results", "show", "first").stdout
    assert "1 × data" in shown
    assert "0.2500" in shown
    as_json = json.loads(admlops("results", "show", "first", "--json").stdout)
    assert as_json["failures"] == {"data": 1}
    assert as_json["metrics"]["metrics"][0]["value"] == 0.25
    assert "1 run, 4 samples" in admlops("results", "index").stdout
    indexed = json.loads(admlops("results", "index", "--json").stdout)
    assert (indexed["samples"], len(indexed["skipped"])) == (4, 1)
    out = tmp_path / "boxes.csv"
    export = ("results", "export", "first", "--format", "csv", "--table", "detections", "--out", out)
    assert admlops(*export).stdout == f"6 rows → {out}\n"
    refused = admlops(*export, check=False)
    assert refused.returncode == 2
    assert "is there already" in refused.stderr
    assert json.loads(admlops(*export, "--force", "--json").stdout)["rows"] == 6


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show", "nothing"), 'no run is called "nothing"'),
        (("export", "nothing", "--format", "jsonl", "--out", "x.jsonl"), 'no run is called "nothing"'),
        (
            ("export", "first", "--format", "jsonl", "--out", "/dev/null/x.jsonl"),
            "/dev/null/x.jsonl could not be written",
        ),
        (("export", "first", "--format", "xml", "--out", "x.xml"), "--format xml is none of jsonl, csv"),
    ],
)
def test_mistakes_end_in_two_lines_and_code_2(
    admlops: Admlops, make_run: MakeRun, arguments: tuple[str, ...], expected: str
) -> None:
    make_run("first")
    failed = admlops("results", *arguments, check=False)
    assert failed.returncode == 2
    assert expected in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("command", ["list", "show", "export", "index", "schema"])
def test_help_shows_an_example(admlops: Admlops, command: str) -> None:
    assert f"admlops results {command}" in admlops("results", command, "--help").stdout.split("Example:")[1]
