"""The summary's tables: no column over unlike samples, n and the samples beside every value, the best marked."""

from __future__ import annotations

from dataclasses import replace as replaced

import pytest
from msgspec.structs import replace
from tests.reports.fabricate import DETECTION, MAP, SAMPLES_SHA256, make_run

from admlops.pipeline.run_data import RunData
from admlops.reports.summary import Cell, SummaryTable, find_score_columns, summarize_runs

OTHER = "0" * 64


def tables(*runs: RunData) -> list[SummaryTable]:
    return summarize_runs([(run.model, run) for run in runs])


def cells(table: SummaryTable, row: int = 0) -> dict[tuple[str, str], Cell]:
    columns = [(column.group, column.name) for column in table.columns]
    return dict(zip(columns, table.rows[row].cells, strict=True))


def on_other_samples(run: RunData) -> RunData:
    assert run.metrics is not None
    return replaced(run, metrics={**run.metrics, "data": {**run.metrics["data"], "samples_sha256": OTHER}})


def test_every_value_has_n_and_its_table_the_samples() -> None:
    (table,) = tables(make_run("A", failed=3))
    assert (table.dataset, table.n, table.short_dataset) == (SAMPLES_SHA256, 80, SAMPLES_SHA256[:6])
    found = cells(table)
    assert (found[DETECTION, "mAP"].text, found[DETECTION, "mAP"].n) == ("0.310", 80)
    time = found["latency, one sample at a time", "p50"]
    assert time.n == 75  # 80 less two first frames and three that failed
    assert all(cell.n for key, cell in found.items() if cell.value is not None and "memory" not in key[1])


def test_runs_on_unlike_samples_stand_in_tables_of_their_own() -> None:
    a, b, c = make_run("A"), on_other_samples(make_run("B")), make_run("C")
    first, second = tables(a, b, c)
    assert (first.dataset, [row.label for row in first.rows]) == (SAMPLES_SHA256, ["A", "C"])
    assert (second.dataset, [row.label for row in second.rows]) == (OTHER, ["B"])
    assert [row.number for row in (*first.rows, *second.rows)] == [0, 2, 1]  # the colours are the page's


def test_a_run_that_is_not_evaluated_stands_with_the_samples_it_ran_on() -> None:
    (table,) = tables(make_run("A"), replaced(make_run("B"), metrics=None))
    assert {cell.text for key, cell in cells(table, 1).items() if key[0] == DETECTION} == {"—"}
    assert cells(table, 1)["latency, one sample at a time", "p50"].value


def test_a_percentile_stands_only_where_the_samples_carry_it() -> None:
    found = cells(tables(make_run("A"))[0])
    p50, p90, p99 = (found["latency, one sample at a time", name] for name in ("p50", "p90", "p99"))
    assert p50.value is not None
    assert p90.value is not None
    assert 40 < p50.value < p90.value
    assert (p99.text, p99.why) == ("—", "needs 662 samples, has 78")


def test_a_row_says_failures_memory_and_energy() -> None:
    (table,) = tables(make_run("A", failed=3))
    found = {name: cell for (_, name), cell in cells(table).items()}
    assert (table.rows[0].state, found["Failed"].text) == ("failed samples", "3 of 80")
    assert found["GPU memory"].text == "2\u2009079"
    assert found["Energy"].value == pytest.approx(180 * 29.5 / 77, abs=0.05)


def test_the_best_is_marked_where_values_compare() -> None:
    good, poor = make_run("A", better=0.1), make_run("B", seed=2)
    (table,) = tables(good, poor)
    assert [cells(table, row)[DETECTION, "mAP"].is_best for row in (0, 1)] == [True, False]
    assert [cells(table, row)[DETECTION, "mATE"].is_best for row in (0, 1)] == [True, False]
    assert [cells(table, row)["latency, one sample at a time", "p50"].is_best for row in (0, 1)] == [True, False]
    elsewhere = replaced(poor, worker={**poor.worker, "device_name": "NVIDIA H200"})
    (table,) = tables(good, elsewhere)
    assert not any(cells(table, row)["latency, one sample at a time", "p50"].is_best for row in (0, 1))


def test_random_weights_are_marked_and_never_the_best() -> None:
    run = make_run("A", better=0.2)
    assert run.header is not None
    header = replace(run.header, settings={"options": {"weights": "random:0"}})
    (table,) = tables(replaced(run, header=header), make_run("B"))
    assert [row.state for row in table.rows] == ["random weights", "complete"]
    assert not cells(table, 0)[DETECTION, "mAP"].is_best


def test_columns_of_one_protocol_stand_together() -> None:
    a, b = make_run("A"), make_run("B")
    assert b.metrics is not None
    b = replaced(b, metrics={**b.metrics, "metrics": list(reversed(b.metrics["metrics"]))})
    (table,) = tables(b, a)
    assert table.groups[:2] == [(MAP, 1), (DETECTION, 7)]


def test_of_a_plan_the_mean_over_time_has_a_column() -> None:
    metrics = [
        {"name": name, "protocol": "stp3.planning", "value": 0.5, "n": 40, "interval": None}
        for name in ("L2_1s", "L2_3s", "L2_avg", "collision_avg")
    ]
    run = make_run("A")
    assert run.metrics is not None
    columns = find_score_columns([replaced(run, metrics={**run.metrics, "metrics": metrics})])
    assert [(column.name, column.unit) for column in columns] == [("L2_avg", "m"), ("collision_avg", "")]


def test_a_value_that_is_no_number_is_a_dash() -> None:
    run = make_run("A")
    assert run.metrics is not None
    metrics = [{**one, "value": float("nan")} for one in run.metrics["metrics"]]
    (table,) = tables(replaced(run, metrics={**run.metrics, "metrics": metrics}))
    assert (cells(table)[DETECTION, "mAP"].text, cells(table)[DETECTION, "mAP"].value) == ("—", None)
