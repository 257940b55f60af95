"""The dashboard as a part of the service: its addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from admlops.service.context import Part, Service
from admlops.service.dashboard.filling import Filler
from admlops.service.dashboard.live.hub import Hub
from admlops.service.dashboard.live.topic import View
from admlops.service.dashboard.live.views import JobView, OverviewView, RunView
from admlops.service.dashboard.machine import Machine
from admlops.service.dashboard.pages.comparisons import ComparisonPages
from admlops.service.dashboard.pages.history import HistoryPages
from admlops.service.dashboard.pages.jobs import JobPages
from admlops.service.dashboard.pages.runs import NAME, RunPages
from admlops.service.dashboard.pages.start import StartPages
from admlops.service.dashboard.rendering import STATIC, read_static
from admlops.service.dashboard.site import Site
from admlops.service.jobs.folders import JOB_ID
from admlops.service.security.access import identity_of

STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""Without the second nginx keeps events back until it has a page of them."""
YEAR = "private, max-age=31536000, immutable"


def dashboard_part(service: Service) -> Part:
    """The dashboard."""
    layout = service.settings.layout
    site = Site(service=service, layout=layout, queue=service.queue, machine=Machine(layout.repository))
    filler = Filler(site.database, layout, service.watcher)
    hub = Hub(service.watcher, service.stopping)
    jobs, runs, start = JobPages(site), RunPages(site, filler), StartPages(site)
    comparisons, history, live = ComparisonPages(site, filler), HistoryPages(site), Live(site, hub)
    routes = [
        Route("/", jobs.overview),
        Route("/jobs", jobs.list),
        Route("/jobs/{job}", jobs.job),
        Route("/jobs/{job}/cancel", jobs.cancel, methods=["POST"]),
        Route("/jobs/{job}/retry", jobs.retry, methods=["POST"]),
        Route("/start", start.choose),
        Route("/start/{endpoint}", start.form, methods=["GET"]),
        Route("/start/{endpoint}", start.submit, methods=["POST"]),
        Route("/runs", runs.list),
        Route("/runs/{run}", runs.run),
        Route("/runs/{run}/telemetry", runs.telemetry),
        Route("/runs/{run}/report", runs.report),
        Route("/comparisons", comparisons.list),
        Route("/comparisons/{comparison}", comparisons.comparison),
        Route("/comparisons/{comparison}/report", comparisons.report),
        Route("/side-by-side", comparisons.side_by_side),
        Route("/history", history.history),
        Route("/live/overview", live.overview),
        Route("/live/jobs/{job}", live.job),
        Route("/live/runs/{run}", live.run),
        Route("/static/{name}", serve_static),
    ]
    return Part(routes=routes, tasks=(filler.keep,))


class Live:
    """Streams of what pages show. `?once` gives all of it at once, for a page that keeps no connection."""

    def __init__(self, site: Site, hub: Hub) -> None:
        self._site = site
        self._hub = hub

    async def overview(self, request: Request) -> Response:
        """Keep the overview up to date."""
        may_run = identity_of(request).may("run")
        return await self._answer(request, f"overview {may_run}", lambda: OverviewView(self._site, may_run=may_run))

    async def job(self, request: Request) -> Response:
        """Keep the page of a job up to date."""
        name = request.path_params["job"]
        if not JOB_ID.fullmatch(name):
            return PlainTextResponse("there is no such job", status_code=404)
        may_run = identity_of(request).may("run")
        return await self._answer(request, f"job {name} {may_run}", lambda: JobView(self._site, name, may_run=may_run))

    async def run(self, request: Request) -> Response:
        """Keep the page of a run up to date."""
        name = request.path_params["run"]
        if not NAME.fullmatch(name) or not (self._site.layout.runs / name).is_dir():
            return PlainTextResponse("there is no such run", status_code=404)
        return await self._answer(request, f"run {name}", lambda: RunView(self._site, name))

    async def _answer(self, request: Request, topic: str, make: Callable[[], View]) -> Response:
        last_id = request.headers.get("last-event-id", "")
        if "once" in request.query_params:
            text, event_id = await self._hub.ask(topic, make, last_id)
            return HTMLResponse(text, headers={**STREAM_HEADERS, "x-event-id": quote(event_id)})
        stream: AsyncIterator[str] = self._hub.stream(topic, make, last_id)
        return StreamingResponse(stream, media_type="text/event-stream", headers=STREAM_HEADERS)


async def serve_static(request: Request) -> Response:
    """Give a file that pages load. Its address names its content, so that it may be kept."""
    name = request.path_params["name"]
    if name not in STATIC:
        return PlainTextResponse("there is no such file", status_code=404)
    return Response(read_static(name), media_type=STATIC[name][1], headers={"cache-control": YEAR})
