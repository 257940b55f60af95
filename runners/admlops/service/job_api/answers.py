"""A job as the API shows it."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from admlops.service.queue.job import Chunk, Counts, Job, RunnerState, Status

NEVER_ENDING_CLIENTS = ("python-requests", "aiohttp", "python/")
"""How the Python SDK names itself. Its stream ends at COMPLETED, FAILED and TIMED_OUT, and polls a CANCELLED job for
ever (runpod 1.12, endpoint/helpers.py, FINAL_STATES)."""


def answer(body: Any) -> Response:
    """Return a body as JSON. The status is always 200: the JavaScript SDK takes any other as a failure."""
    return Response(msgspec.json.encode(body), media_type="application/json")


def show_job(job: Job) -> dict[str, Any]:
    """Return the body of /status: also that of /runsync and of a webhook. Times are in milliseconds."""
    body: dict[str, Any] = {"id": job.id, "status": str(job.status)}
    if job.delay_s is not None:
        body["delayTime"] = round(job.delay_s * 1000)
    if job.execution_s is not None:
        body["executionTime"] = round(job.execution_s * 1000)
    if job.status is Status.COMPLETED:
        body["output"] = job.output
    elif job.progress is not None and job.status is Status.IN_PROGRESS:
        body["output"] = job.progress
    elif job.output is not None:
        body["output"] = job.output
    if job.error is not None and job.status is not Status.COMPLETED:
        body["error"] = job.error
        if job.error_class is not None:
            body["errorClass"] = job.error_class
    if job.owner is not None:
        body["workerId"] = job.owner
    if job.attempt > 1:
        body["retries"] = job.attempt - 1
    if job.cancel and not job.status.is_final:
        body["cancelling"] = True
    return body


def show_stream(request: Request, job: Job, chunks: tuple[Chunk, ...]) -> dict[str, Any]:
    """Return the body of /stream."""
    status = str(job.status)
    agent = request.headers.get("user-agent", "").lower()
    if job.status is Status.CANCELLED and any(name in agent for name in NEVER_ENDING_CLIENTS):
        status = str(Status.FAILED)
    return {"id": job.id, "status": status, "stream": [{"output": one.content} for one in chunks]}


def show_health(counts: Counts, runners: tuple[RunnerState, ...], expected: int) -> dict[str, Any]:
    """Return the body of /health. `expected` is how many runners the service itself has started."""
    busy = sum(one.job is not None for one in runners)
    idle = len(runners) - busy
    return {
        "jobs": {
            "completed": counts.completed,
            "failed": counts.failed + counts.timed_out,
            "inProgress": counts.in_progress,
            "inQueue": counts.in_queue,
            "retried": counts.retried,
        },
        "workers": {
            "idle": idle,
            "initializing": max(0, expected - len(runners)),
            "ready": idle,
            "running": busy,
            "throttled": 0,
            "unhealthy": 0,
        },
    }
