"""The table that `admlops compare` prints: a column a score that some model has, and none for random weights."""

from __future__ import annotations

from typing import Any

import pytest

from admlops.catalog.protocols import PROTOCOLS, find_metric, headlines_of
from admlops.cli.compare import _print_summary

SCORES = {heading: (protocol, metric) for protocol in PROTOCOLS for metric, heading in headlines_of(protocol).items()}


def row(model: str, *scores: tuple[str, float], random_weights: str | None = None) -> dict[str, Any]:
    named = {column: {"protocol": protocol, "name": name} for column, (protocol, name) in SCORES.items()}
    metrics = [{**named[column], "value": value} for column, value in scores]
    facts = {"model": model, "state": "ready", "why": "", "samples": 12, "samples_sha256": "ab12"}
    return {**facts, "metrics": metrics, "random_weights": random_weights}


def test_every_column_is_a_metric_of_its_protocol() -> None:
    assert {"box mAP", "NDS", "map mAP", "OLS", "plan L2 [m]"} <= set(SCORES)
    assert all(find_metric(protocol, name) is not None for protocol, name in SCORES.values())


def test_a_score_has_its_column_where_a_model_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    lanes, plans = row("TopoMLP", ("OLS", 0.441)), row("VAD", ("map mAP", 0.25), ("plan L2 [m]", 0.72))
    _print_summary({"models": [lanes, plans, row("PETR", ("NDS", 0.4), random_weights="random:0")]})
    header, *rows = (line for line in capsys.readouterr().out.splitlines() if line.strip())
    assert [word in header for word in ("map mAP", "OLS", "plan L2 [m]", "NDS")] == [True, True, True, False]
    assert [("0.441" in line, "0.720" in line, "0.400" in line) for line in rows] == [
        (True, False, False),
        (False, True, False),
        (False, False, False),
    ]


def test_scores_over_other_samples_have_a_column_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    whole, part = row("VAD", ("NDS", 0.4)), row("PETR", ("NDS", 0.9))
    part |= {"samples": 1, "samples_sha256": "cd34", "failures": {"data": 1}}
    _print_summary({"models": [whole, part]})
    header, first, second = capsys.readouterr().out.splitlines()
    assert ("NDS, n=12" in header, "NDS, n=1 " in header) == (True, True)
    assert (first.split()[2:4], second.split()[2:6]) == (["12", "0.400"], ["1", "(1", "failed)", "0.900"])


def test_float32_for_all_is_no_cure_where_an_engines_file_decides(capsys: pytest.CaptureFixture[str]) -> None:
    plain, half = row("VAD") | {"precision": "float32"}, row("PETR") | {"precision": "half"}
    int8 = row("VAD@onnx:int8") | {"precision": "int8", "engine": {"kind": "onnx"}}
    for models, said in (
        ([plain, half, int8], "one precision; --precision float32 gives"),
        ([plain, int8], "one precision\n"),
    ):
        _print_summary({"models": models})
        assert said in capsys.readouterr().out
    _print_summary({"models": [plain, plain]})
    assert "precision;" not in capsys.readouterr().out


def test_what_to_do_stands_whole_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    why = f"no source in submodules/VAD → make setup-VAD   # {'x' * 200}"
    _print_summary({"models": [{**row("VAD"), "state": "not set up", "why": why}]})
    assert f"VAD: {why}" in capsys.readouterr().out.splitlines()
