"""The list of runs, a run, its curves and its report."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from admlops.core.errors import RecordError
from admlops.results.run_folder import RunFolder
from admlops.service.dashboard import results_query
from admlops.service.dashboard.filling import Filler
from admlops.service.dashboard.live.views import RunView
from admlops.service.dashboard.pages.missing import show_missing
from admlops.service.dashboard.rendering import show
from admlops.service.dashboard.site import Site
from admlops.service.dashboard.telemetry import read_curves

NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,254}")
REPORT_HEADERS = {
    "content-security-policy": (
        "sandbox allow-scripts allow-downloads allow-modals; default-src 'none'; img-src data: blob:; "
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'self'"
    ),
    "cache-control": "no-store",
}
"""A report is a file that anybody may have written: it runs in an origin of its own and loads nothing."""
GONE = "Look among all runs"


class RunPages:
    """Pages of runs."""

    def __init__(self, site: Site, filler: Filler) -> None:
        self._site = site
        self._filler = filler

    async def list(self, request: Request) -> Response:
        """List runs, chosen by filters."""
        params = request.query_params
        wanted = {name: params.get(name, "") for name in (*results_query.FILTERS, "text")}
        page = read_page(request)
        database = self._site.database
        rows, total = await run_in_threadpool(results_query.list_runs, database, wanted, page=page)
        values: dict[str, Any] = {
            "runs": rows,
            "total": total,
            "all": await run_in_threadpool(results_query.count_runs, database),
            "wanted": wanted,
            "choices": await run_in_threadpool(results_query.list_choices, database),
            "unreadable": await run_in_threadpool(results_query.list_unreadable, database),
            "page": page,
            "pages": -(-total // results_query.PAGE),
        }
        return await show(request, "runs.html", values)

    async def run(self, request: Request) -> Response:
        """Show a run."""
        name = request.path_params["run"]
        folder = self._open(name)
        if folder is None:
            return await show_missing(request, "run", name, "/runs", GONE)
        found = await run_in_threadpool(results_query.get_run, self._site.database, name)
        if found is None:
            await self._filler.fill_for(folder.path)
            found = await run_in_threadpool(results_query.get_run, self._site.database, name)
        view = RunView(self._site, name)
        parts = await run_in_threadpool(view.parts)
        row, metrics = found if found is not None else (None, [])
        values: dict[str, Any] = {
            "name": name,
            "row": row,
            "header": folder.header,
            "metrics": group_metrics(metrics),
            "charts": await run_in_threadpool(read_curves, folder.telemetry_path),
            "has_report": folder.report_path.is_file(),
            "goes_on": folder.header.state == "running",
            "parts": {key.replace("-", "_"): Markup(html) for key, html in parts.items()},  # noqa: S704  escaped there
            "lines": [Markup(line) for line in await run_in_threadpool(view.lines)],  # noqa: S704  escaped by the view
            **({"live": f"/live/runs/{name}"} if folder.header.state == "running" else {}),
        }
        return await show(request, "run.html", values)

    async def telemetry(self, request: Request) -> Response:
        """Give a run's curves as JSON."""
        folder = self._open(request.path_params["run"])
        if folder is None:
            return JSONResponse({"error": "there is no such run"}, status_code=404)
        return JSONResponse({"charts": await run_in_threadpool(read_curves, folder.telemetry_path)})

    async def report(self, request: Request) -> Response:
        """Give a run's report, which may do nothing but show itself."""
        folder = self._open(request.path_params["run"])
        if folder is None or not folder.report_path.is_file():
            return await show_missing(request, "report of", request.path_params["run"], "/runs", GONE)
        return FileResponse(folder.report_path, media_type="text/html; charset=utf-8", headers=REPORT_HEADERS)

    def _open(self, name: str) -> RunFolder | None:
        if not NAME.fullmatch(name):
            return None
        try:
            return RunFolder.open(self._site.layout.runs / name)
        except RecordError:
            return None


def read_page(request: Request) -> int:
    """Return the number of the page that is asked for, from 1."""
    text = request.query_params.get("page", "1")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def group_metrics(metrics: list[results_query.Row]) -> list[tuple[str, list[results_query.Row]]]:
    """Return metrics by their protocol, in order."""
    found: dict[str, list[results_query.Row]] = {}
    for one in metrics:
        found.setdefault(one["protocol"], []).append(one)
    return list(found.items())
