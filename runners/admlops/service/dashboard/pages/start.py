"""Starting a job by a form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admlops.core.errors import AdmlopsError
from admlops.service.dashboard.forms import list_known, make_form, read_form, read_sent, to_form
from admlops.service.dashboard.pages.missing import show_missing
from admlops.service.dashboard.rendering import show
from admlops.service.dashboard.site import Site
from admlops.service.jobs.endpoints import ENDPOINTS, Endpoint, check_input
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
NAMED = (re.compile(r"\$\.(\w+)"), re.compile(r"`(\w+)`"), re.compile(r"(\w+)"))
"""How messages name a field: by its path, between backquotes, or as any word."""


class StartPages:
    """The forms."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def choose(self, request: Request) -> Response:
        """Show what can be started."""
        kinds = [(one, *WORDS.get(one, (ENDPOINTS.get(one).title, ""))) for one in ENDPOINTS.ids()]
        return show(request, "start.html", {"kinds": kinds})

    async def form(self, request: Request) -> Response:
        """Show the form of an endpoint; the address's query fills it in."""
        endpoint = _find(request.path_params["endpoint"])
        if endpoint is None:
            return show_missing(
                request, "kind of job", request.path_params["endpoint"], "/start", "See which there are"
            )
        return await self._show(request, endpoint, read_form_query(endpoint, request))

    async def submit(self, request: Request) -> Response:
        """Put a job into the queue, or show the form again with what is wrong."""
        endpoint = _find(request.path_params["endpoint"])
        if endpoint is None:
            return show_missing(
                request, "kind of job", request.path_params["endpoint"], "/start", "See which there are"
            )
        given = read_form(endpoint, await read_sent(request))
        try:
            job = await run_in_threadpool(self._submit, endpoint.id, given, identity_of(request).name)
        except AdmlopsError as error:
            return await self._show(request, endpoint, given, error)
        request.state.audit = {"job": job.id}
        return RedirectResponse(f"/jobs/{job.id}", status_code=303)

    def _submit(self, endpoint: str, given: dict[str, Any], who: str) -> Job:
        check_input(self._site.layout, self._site.job_settings, endpoint, given)
        return self._site.queue.submit(endpoint, given, requested_by=who)

    async def _show(
        self,
        request: Request,
        endpoint: Endpoint[Any],
        given: Mapping[str, Any],
        error: AdmlopsError | None = None,
    ) -> Response:
        known = await run_in_threadpool(
            list_known, self._site.layout, self._site.database, self._site.job_settings.data_roots
        )
        wrong = _name_field(endpoint, error)
        form = make_form(endpoint, known, given, wrong)
        heading, words = WORDS.get(endpoint.id, (endpoint.title, ""))
        values = {"form": form, "heading": heading, "words": words, "error": error, "named": bool(wrong)}
        return show(request, "form.html", values, status=200 if error is None else 422)


def _find(name: str) -> Endpoint[Any] | None:
    return ENDPOINTS.get(name) if name in ENDPOINTS.ids() else None


def read_form_query(endpoint: Endpoint[Any], request: Request) -> dict[str, Any]:
    """Return the input that an address's query says, such as `?model=MapTR`."""
    given = read_form(endpoint, to_form(request.query_params.multi_items()))
    return {name: value for name, value in given.items() if name in request.query_params}


def _name_field(endpoint: Endpoint[Any], error: AdmlopsError | None) -> dict[str, str]:
    """Return the message by the field that it speaks of; empty where it names none."""
    if error is None:
        return {}
    message = error.message.removeprefix(f"input of {endpoint.id}: ")
    properties = endpoint.schema["properties"]
    named = (name for pattern in NAMED for name in pattern.findall(message))
    return {name: message for name in [next((one for one in named if one in properties), None)] if name}
