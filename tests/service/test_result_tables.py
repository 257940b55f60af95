"""The result tables: filled from folders, brought up to date, made anew; equal on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.conftest import Admlops
from tests.service.queue.conftest import empty_url, postgresql  # noqa: F401  fixtures
from tests.service.results import COMPARISON

from admlops.core.paths import Layout
from admlops.service.queue.database import Database, open_database
from admlops.service.result_tables import fill_tables


@pytest.fixture
def database(empty_url: str) -> Iterator[Database]:  # noqa: F811
    opened = open_database(empty_url)
    yield opened
    opened.close()


def ask(database: Database, question: str) -> list[tuple[object, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text(question))]


def test_runs_metrics_and_comparisons_are_there_to_query(database: Database, results: Layout) -> None:
    filled = fill_tables(database, results)
    assert (filled.runs, filled.comparisons, filled.unreadable) == (3, 1, ())
    assert ask(database, "SELECT run, state, samples, failed_samples FROM runs ORDER BY run") == [
        ("far", "complete", 9, 0), ("near", "complete", 9, 0), ("other", "complete", 5, 0)
    ]  # fmt: skip
    written = json.loads((results.runs / "near" / "metrics.json").read_bytes())["metrics"]
    found = ask(database, "SELECT name, protocol, value FROM run_metrics WHERE run = 'near' ORDER BY protocol, name")
    assert found == sorted(
        ((one["name"], one["protocol"], one["value"]) for one in written), key=lambda one: (one[1], one[0])
    )
    better = {row[0]: row[1] for row in ask(database, "SELECT name, higher_is_better FROM metrics WHERE run = 'near'")}
    assert bool(better["NDS"])
    assert not better["mATE"]


def test_a_winner_is_null_where_samples_differ(database: Database, results: Layout) -> None:
    fill_tables(database, results)
    battles = ask(
        database, "SELECT model_a, model_b, verdict, winner, comparison FROM battles ORDER BY model_a, model_b"
    )
    assert {one[:2] for one in battles} == {("Near", "Far"), ("Near", "Other"), ("Far", "Other")}
    assert {one[3] for one in battles if "Other" in one[:2]} == {None}
    assert {one[2] for one in battles if "Other" in one[:2]} == {"not comparable"}
    assert {one[4] for one in battles} == {COMPARISON}
    ((metrics,),) = ask(database, "SELECT metrics FROM comparison_results WHERE question = 'score' AND model_b = 'Far'")
    assert {one["metric"] for one in json.loads(str(metrics))} >= {"mAP", "NDS"}


def test_only_what_changed_is_read_again_and_what_is_gone_is_forgotten(
    database: Database, results: Layout, tmp_path: Path
) -> None:
    layout = replace(results, repository=tmp_path / "repository")
    shutil.copytree(results.repository, layout.repository)
    assert len(fill_tables(database, layout).changed) == 4
    assert fill_tables(database, layout).changed == ()
    header = layout.runs / "near" / "run.json"
    header.write_text(header.read_text().replace('"complete"', '"cancelled"'))
    assert fill_tables(database, layout).changed == ("near",)
    assert ask(database, "SELECT state FROM runs WHERE run = 'near'") == [("cancelled",)]
    (layout.runs / "far" / "run.json").write_text("{")
    shutil.rmtree(layout.runs / "other")
    filled = fill_tables(database, layout)
    assert (filled.runs, set(filled.changed)) == (1, {"far", "other"})
    assert [folder for folder, _ in filled.unreadable] == [str(layout.runs / "far")]
    assert ask(database, "SELECT DISTINCT run FROM metrics") == [("near",)]
    shutil.copy(results.runs / "far" / "run.json", layout.runs / "far" / "run.json")
    assert fill_tables(database, layout).unreadable == ()
    assert ask(database, "SELECT count(*) FROM unreadable") == [(0,)]


def test_a_run_that_died_is_stopped_in_the_table_too(database: Database, results: Layout, tmp_path: Path) -> None:
    layout = replace(results, repository=tmp_path / "repository")
    shutil.copytree(results.runs / "near", layout.runs / "near")
    header = layout.runs / "near" / "run.json"
    header.write_text(header.read_text().replace('"complete"', '"running"'))
    fill_tables(database, layout)
    assert ask(database, "SELECT state FROM runs") == [("stopped",)]


def test_the_command_makes_them_anew_from_the_files(admlops: Admlops, results: Layout, tmp_path: Path) -> None:
    file = tmp_path / "results.sqlite3"
    database = open_database(str(file))
    fill_tables(database, results)
    with database.write() as connection:
        connection.execute(text("UPDATE runs SET model = 'Wrong'"))
    variables = {"ADMLOPS_REP_PATH": str(results.repository)}
    said = admlops("results", "index", "--database", f"sqlite:///{file}", variables=variables).stdout
    assert said == f"3 runs, 1 comparison → {file}\n"
    assert ask(database, "SELECT DISTINCT model FROM runs ORDER BY model") == [("Far",), ("Near",), ("Other",)]
    database.close()
