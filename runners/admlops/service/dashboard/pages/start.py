"""Starting a job by a form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admlops.service.dashboard.forms import list_known, make_form, read_form, read_sent, to_form
from admlops.service.dashboard.pages.missing import show_missing
from admlops.service.dashboard.rendering import show
from admlops.service.dashboard.site import Site
from admlops.service.job_api.inputs import check_job
from admlops.service.job_api.requests import InvalidError, Policy, Wanted
from admlops.service.job_api.routes import require_room
from admlops.service.jobs.endpoints import ENDPOINTS, Endpoint
from admlops.service.queue.job import Job
from admlops.service.security.access import identity_of

WORDS = {
    "run": ("Run a model", "Run a model over scenes, evaluate it and write its report."),
    "compare": (
        "Compare models",
        "Run what is missing of several models, and put them side by side on the same samples.",
    ),
    "battle": ("Battle", "Put two models or runs against each other, and see who wins."),
    "evaluate": ("Evaluate a run", "Compute the official metrics of a run that is there, and write its report."),
    "export": ("Export a network", "Write a model's network as a file that other runtimes execute."),
}
NAMED = re.compile(r"\w+")


class StartPages:
    """The forms."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def choose(self, request: Request) -> Response:
        """Show what can be started."""
        kinds = await run_in_threadpool(_list_kinds)
        return await show(request, "start.html", {"kinds": kinds})

    async def form(self, request: Request) -> Response:
        """Show the form of an endpoint; the address's query fills it in."""
        endpoint = await run_in_threadpool(_find, request.path_params["endpoint"])
        if endpoint is None:
            return await show_missing(
                request, "kind of job", request.path_params["endpoint"], "/start", "See which there are"
            )
        return await self._show(request, endpoint, read_form_query(endpoint, request))

    async def submit(self, request: Request) -> Response:
        """Put a job into the queue, or show the form again with what is wrong."""
        endpoint = await run_in_threadpool(_find, request.path_params["endpoint"])
        if endpoint is None:
            return await show_missing(
                request, "kind of job", request.path_params["endpoint"], "/start", "See which there are"
            )
        given = read_form(endpoint, await read_sent(request))
        try:
            job = await run_in_threadpool(self._submit, endpoint.id, given, identity_of(request).name)
        except InvalidError as error:
            return await self._show(request, endpoint, given, error)
        request.state.audit = {"job": job.id}
        return RedirectResponse(f"/jobs/{job.id}", status_code=303)

    def _submit(self, endpoint: str, given: dict[str, Any], who: str) -> Job:
        """Check an input as the job API does, and put it into the queue. Raises InvalidError."""
        check_job(self._site.service.settings, endpoint, Wanted(input=given, webhook=None, policy=Policy()))
        require_room(self._site.service, endpoint)
        return self._site.queue.submit(endpoint, given, requested_by=who)

    async def _show(
        self,
        request: Request,
        endpoint: Endpoint[Any],
        given: Mapping[str, Any],
        error: InvalidError | None = None,
    ) -> Response:
        known = await run_in_threadpool(
            list_known, self._site.layout, self._site.database, self._site.job_settings.data_roots
        )
        wrong = _name_field(endpoint, error)
        form = make_form(endpoint, known, given, wrong)
        heading, words = WORDS.get(endpoint.id, (endpoint.title, ""))
        values = {"form": form, "heading": heading, "words": words, "error": error, "named": bool(wrong)}
        return await show(request, "form.html", values, status=200 if error is None else error.status)


def _list_kinds() -> list[tuple[str, str, str]]:
    """Return (id, heading, what it does) of every endpoint; loading one may import a lot."""
    return [(one, *(WORDS.get(one) or (ENDPOINTS.get(one).title, ""))) for one in ENDPOINTS.ids()]


def _find(name: str) -> Endpoint[Any] | None:
    return ENDPOINTS.get(name) if name in ENDPOINTS.ids() else None


def read_form_query(endpoint: Endpoint[Any], request: Request) -> dict[str, Any]:
    """Return the input that an address's query says, such as `?model=MapTR`."""
    given = read_form(endpoint, to_form(request.query_params.multi_items()))
    return {name: value for name, value in given.items() if name in request.query_params}


def _name_field(endpoint: Endpoint[Any], error: InvalidError | None) -> dict[str, str]:
    """Return the message by the field that it speaks of: by its path, or by its words; empty where it names none."""
    properties = endpoint.schema["properties"]
    for path, message in () if error is None else error.problems:
        named = (name for name in NAMED.findall(f"{path.removeprefix('input')} {message}") if name in properties)
        name = next(named, None)
        if name is not None:
            return {name: message}
    return {}
