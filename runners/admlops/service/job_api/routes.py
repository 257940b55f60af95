"""The routes below /v2/{endpoint}."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from admlops.core.errors import StorageError
from admlops.service.context import Part, Service
from admlops.service.job_api.answers import answer, show_health, show_job, show_stream
from admlops.service.job_api.inputs import check_job
from admlops.service.job_api.openapi import make_openapi
from admlops.service.job_api.rates import Rates
from admlops.service.job_api.requests import InvalidError, read_run, read_wait
from admlops.service.job_api.waiting import wait_for_chunks, wait_for_end
from admlops.service.jobs.endpoints import ENDPOINTS
from admlops.service.queue.job import Job, Status
from admlops.service.security.access import identity_of
from admlops.service.security.responses import refuse

log = logging.getLogger(__name__)

QUEUE_FLOOR, QUEUE_PER_RUNNER = 50, 500
"""More jobs than both may not wait, as with RunPod."""
CANCEL_WAIT_S = 1.5
"""The JavaScript SDK gives up after 3 s."""
AGAIN = (Status.FAILED, Status.TIMED_OUT, Status.CANCELLED)

Handler = Callable[["JobApi", Request], Awaitable[Response]]


def job_api_part(service: Service) -> Part:
    """The job API."""
    return Part(routes=JobApi(service).routes())


def _limited(operation: str) -> Callable[[Handler], Handler]:
    """Refuse what is asked too often, of an unknown endpoint, or is not valid."""

    def wrap(handler: Handler) -> Handler:
        @wraps(handler)
        async def limited(self: JobApi, request: Request) -> Response:
            if request.path_params["endpoint"] not in self.endpoints:
                return refuse(404, "there is no such endpoint", hint=f"there are: {', '.join(self.endpoints)}")
            wait = self.rates.wait_s(identity_of(request).name, operation)
            if wait > 0:
                return refuse(429, "too many requests", headers={"retry-after": str(int(wait) + 1)})
            try:
                return await handler(self, request)
            except InvalidError as error:
                return refuse(error.status, error.message, hint=error.hint, problems=error.problems)
            except StorageError as error:
                log.warning("%s", error)
                return refuse(503, "the queue's database does not answer", headers={"retry-after": "5"})

        return limited

    return wrap


class JobApi:
    """Handlers of the routes; each runs in the server's loop and asks the queue in a thread."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.rates = Rates()
        self.endpoints = ENDPOINTS.ids()  # asked once: the registry is locked while endpoints are imported

    def routes(self) -> list[BaseRoute]:
        base = "/v2/{endpoint}"
        return [
            Route(f"{base}/run", self.run, methods=["POST"]),
            Route(f"{base}/runsync", self.runsync, methods=["POST"]),
            _get(f"{base}/status/{{job}}", self.status),
            _get(f"{base}/status-sync/{{job}}", self.status_sync),
            _get(f"{base}/stream/{{job}}", self.stream),
            Route(f"{base}/cancel/{{job}}", self.cancel, methods=["POST"]),
            Route(f"{base}/retry/{{job}}", self.retry, methods=["POST"]),
            Route(f"{base}/purge-queue", self.purge, methods=["POST"]),
            _get(f"{base}/health", self.health),
            Route("/openapi.json", self.openapi, methods=["GET"]),
        ]

    @_limited("run")
    async def run(self, request: Request) -> Response:
        """Put a job into the queue."""
        job = await self._submit(request, sync=False)
        return answer({"id": job.id, "status": str(job.status)})

    @_limited("runsync")
    async def runsync(self, request: Request) -> Response:
        """Put a job into the queue and wait for its end, for a while."""
        seconds = read_wait(request)
        job = await self._submit(request, sync=True)
        return answer(show_job(await wait_for_end(self.service, job, seconds)))

    @_limited("status")
    async def status(self, request: Request) -> Response:
        """Say how a job stands."""
        return answer(show_job(await self._find(request)))

    @_limited("status")
    async def status_sync(self, request: Request) -> Response:
        """Say how a job stands, at its end or after a while."""
        seconds = read_wait(request)
        return answer(show_job(await wait_for_end(self.service, await self._find(request), seconds)))

    @_limited("stream")
    async def stream(self, request: Request) -> Response:
        """Hand out the chunks of a job that nobody has taken yet. It takes them from others: reading is not enough."""
        if not identity_of(request).may("run"):
            raise InvalidError(403, "this token may not do that: it needs the scope run")
        job, chunks = await wait_for_chunks(self.service, await self._find(request))
        return answer(show_stream(request, job, chunks))

    @_limited("cancel")
    async def cancel(self, request: Request) -> Response:
        """Cancel a job; the answer waits a moment for the one that runs it."""
        job = await self._find(request)
        await run_in_threadpool(self.service.queue.cancel, job.id)
        job = await wait_for_end(self.service, job, CANCEL_WAIT_S)
        still = {"cancelling": True} if job.cancel and not job.status.is_final else {}
        return answer({"id": job.id, "status": str(job.status), **still})

    @_limited("retry")
    async def retry(self, request: Request) -> Response:
        """Put a job that did not succeed back into the queue."""
        job = await self._find(request)
        if job.status not in AGAIN:
            raise InvalidError(409, f"the job is {job.status}: only one that did not succeed can be tried again")
        again = await run_in_threadpool(self.service.queue.retry, job.id)
        return answer({"id": job.id, "status": str((again or job).status)})

    @_limited("purge-queue")
    async def purge(self, request: Request) -> Response:
        """Cancel all jobs of the endpoint that wait."""
        removed = await run_in_threadpool(self.service.queue.purge, request.path_params["endpoint"])
        return answer({"removed": removed, "status": "completed"})

    @_limited("status")
    async def health(self, request: Request) -> Response:
        """Count jobs and runners."""
        endpoint = request.path_params["endpoint"]
        counts = await run_in_threadpool(self.service.queue.counts, endpoint)
        runners = await run_in_threadpool(self.service.queue.runners)
        takers = tuple(one for one in runners if not one.endpoints or endpoint in one.endpoints)
        return answer(show_health(counts, takers, self.service.settings.runners))

    async def openapi(self, _: Request) -> Response:
        """Describe the API."""
        return answer(await run_in_threadpool(make_openapi))

    async def _submit(self, request: Request, *, sync: bool) -> Job:
        endpoint = request.path_params["endpoint"]
        wanted = await read_run(request)
        given = await run_in_threadpool(check_job, self.service.settings, endpoint, wanted)
        waiting = (await run_in_threadpool(self.service.queue.counts, endpoint)).in_queue
        if waiting > max(QUEUE_FLOOR, QUEUE_PER_RUNNER * max(1, self.service.settings.runners)):
            raise InvalidError(429, f"{waiting} jobs wait already")
        job = await run_in_threadpool(
            self.service.queue.submit,
            endpoint,
            given,
            execution_timeout_s=wanted.policy.executionTimeout / 1000,
            ttl_s=wanted.policy.ttl / 1000,
            webhook=wanted.webhook,
            low_priority=wanted.policy.lowPriority,
            requested_by=identity_of(request).name,
            sync=sync,
        )
        request.state.audit = {"job": job.id}
        return job

    async def _find(self, request: Request) -> Job:
        job = await self.service.find_job(request.path_params["job"])
        if job is None or job.endpoint != request.path_params["endpoint"]:
            raise InvalidError(404, "there is no such job at this endpoint")
        return job


def _get(path: str, handler: Callable[[Request], Awaitable[Response]]) -> Route:
    """Return a route for GET alone: a HEAD of /stream would take chunks and show none."""
    route = Route(path, handler, methods=["GET"])
    assert route.methods is not None
    route.methods.discard("HEAD")
    return route
