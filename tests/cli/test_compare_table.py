"""The table that `admlops compare` prints: a column a score that some model has, and none for random weights."""

from __future__ import annotations

from typing import Any

import pytest

from admlops.catalog.protocols import PROTOCOLS
from admlops.cli.compare import SCORES, _print_summary


def row(model: str, *scores: tuple[str, float], random_weights: str | None = None) -> dict[str, Any]:
    named = {column: {"protocol": protocol, "name": name} for column, (protocol, name) in SCORES.items()}
    metrics = [{**named[column], "value": value} for column, value in scores]
    return {"model": model, "state": "ready", "why": "", "metrics": metrics, "random_weights": random_weights}


def test_every_column_is_a_metric_of_its_protocol() -> None:
    assert all(name in PROTOCOLS[protocol] for protocol, name in SCORES.values())


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
