"""The overview, the list of jobs, a job, and what can be done with one."""

from __future__ import annotations

from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admlops.service.dashboard.forms import read_sent
from admlops.service.dashboard.job_words import describe_job, find_run_name
from admlops.service.dashboard.live.views import JobView, OverviewView
from admlops.service.dashboard.pages.missing import show_missing
from admlops.service.dashboard.rendering import show
from admlops.service.dashboard.site import Site
from admlops.service.queue.job import Job, JobFilter, Status
from admlops.service.security.access import identity_of

PAGE = 50
CHOICES = {"IN_QUEUE": "Waiting", "IN_PROGRESS": "Running", "COMPLETED": "Done", "FAILED": "Failed",
           "CANCELLED": "Cancelled", "TIMED_OUT": "Timed out"}  # fmt: skip


class JobPages:
    """Pages of jobs."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def overview(self, request: Request) -> Response:
        """Show how many jobs stand where, and the machine."""
        view = OverviewView(self._site, may_run=identity_of(request).may("run"))
        parts = await run_in_threadpool(view.parts)
        return await show(request, "overview.html", {"parts": _mark(parts), "live": "/live/overview"})

    async def list(self, request: Request) -> Response:
        """List all jobs, the latest first."""
        state = request.query_params.get("state", "")
        before = request.query_params.get("before", "")
        filters = JobFilter(statuses=(Status(state),) if state in CHOICES else ())
        number = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
        jobs = await run_in_threadpool(self._site.queue.list, filters, limit=PAGE + 1, before=number)
        shown = [describe_job(job) for job in jobs[:PAGE]]
        values = {
            "jobs": shown,
            "runs": {one.job.id: find_run_name(one.job) for one in shown},
            "state": state,
            "choices": CHOICES,
            "earlier": shown[-1].job.number if len(jobs) > PAGE else None,
            "paged": number is not None,
        }
        return await show(request, "jobs.html", values)

    async def job(self, request: Request) -> Response:
        """Show a job."""
        job = await self._find(request)
        if job is None:
            return await show_missing(request, "job", request.path_params["job"], "/jobs", "Look among all jobs")
        view = JobView(self._site, job.id, may_run=identity_of(request).may("run"))
        parts = await run_in_threadpool(view.parts)
        values = {
            "shown": describe_job(job),
            "job": job,
            "parts": _mark(parts),
            "live": f"/live/jobs/{job.id}",
            "lines": [Markup(line) for line in await run_in_threadpool(view.lines)],  # noqa: S704  escaped by the view
        }
        return await show(request, "job.html", values)

    async def cancel(self, request: Request) -> Response:
        """Cancel a job, and show it, or the page that it was cancelled from."""
        job = await self._find(request)
        if job is None:
            return await show_missing(request, "job", request.path_params["job"], "/jobs", "Look among all jobs")
        request.state.audit = {"job": job.id}
        await run_in_threadpool(self._site.queue.cancel, job.id)
        form = await read_sent(request)
        return RedirectResponse("/" if form.get("back") == "/" else f"/jobs/{job.id}", status_code=303)

    async def retry(self, request: Request) -> Response:
        """Put a job back into the queue, and show it."""
        job = await self._find(request)
        if job is None:
            return await show_missing(request, "job", request.path_params["job"], "/jobs", "Look among all jobs")
        request.state.audit = {"job": job.id}
        await run_in_threadpool(self._site.queue.retry, job.id)
        return RedirectResponse(f"/jobs/{job.id}", status_code=303)

    async def _find(self, request: Request) -> Job | None:
        return await run_in_threadpool(self._site.queue.get, request.path_params["job"])


def _mark(parts: object) -> dict[str, Markup]:
    assert isinstance(parts, dict)
    return {name.replace("-", "_"): Markup(html) for name, html in parts.items()}  # noqa: S704  rendered, escaped there
