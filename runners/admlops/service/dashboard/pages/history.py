"""The values of a metric over runs on the same samples."""

from __future__ import annotations

import json
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from admlops.service.dashboard import results_query
from admlops.service.dashboard.rendering import show, to_time
from admlops.service.dashboard.site import Site

SEPARATOR = "|"
COLOURS = 7


class HistoryPages:
    """The page of histories."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def history(self, request: Request) -> Response:
        """Show a metric over time: the one asked for, or the one that most runs have."""
        series = await run_in_threadpool(results_query.list_series, self._site.database)
        keys = [make_key(one) for one in series]
        asked = request.query_params.get("metric", "")
        chosen = keys.index(asked) if asked in keys else 0
        values: dict[str, Any] = {
            "series": list(zip(keys, series, strict=True)),
            "chosen": None,
            "rows": [],
            "chart": "",
        }
        if series:
            one = series[chosen]
            rows = await run_in_threadpool(
                results_query.read_history, self._site.database, one["name"], one["protocol"], one["samples_sha256"]
            )
            labels = list(dict.fromkeys(name_line(row) for row in rows))
            values |= {
                "chosen": keys[chosen],
                "one": one,
                "rows": [{**row, "label": name_line(row)} for row in reversed(rows)],
                "chart": json.dumps(make_chart(rows, labels, one)),
                "labels": [(name, 1 + number % COLOURS) for number, name in enumerate(labels)],
            }
        return await show(request, "history.html", values)


def make_key(one: results_query.Row) -> str:
    """Return what names a metric on some samples in an address."""
    return SEPARATOR.join((one["protocol"], one["name"], one["samples_sha256"][:16]))


def name_line(row: results_query.Row) -> str:
    """Return what a run's line is called: the model, with its engine, and that its weights are random."""
    engine = f"@{row['engine']}" if row["engine"] else ""
    return f"{row['model']}{engine}" + (" (random weights)" if row["random_weights"] else "")


def make_chart(rows: list[results_query.Row], labels: list[str], one: results_query.Row) -> dict[str, Any]:
    """Return a chart: x is the time of each run [s since 1970], and each line has values at its own runs alone."""
    times = [at.timestamp() if (at := to_time(row["created"])) is not None else 0.0 for row in rows]
    return {
        "title": one["name"],
        "unit": one["unit"],
        "time": True,
        "points": True,
        "x": times,
        "series": [
            {"label": label, "values": [row["value"] if name_line(row) == label else None for row in rows]}
            for label in labels
        ],
    }
