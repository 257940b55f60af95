"""The job API as an OpenAPI 3.1 document, made from what checks the requests."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import msgspec

from admlops import __version__
from admlops.service.job_api.requests import DEFAULT_WAIT_MS, MAX_WAIT_MS, Policy, RunBody
from admlops.service.jobs.endpoints import ENDPOINTS, Endpoint
from admlops.service.queue.job import Status

REFERENCE = "#/components/schemas/{name}"

_JOB = {
    "type": "object",
    "required": ["id", "status"],
    "properties": {
        "id": {"type": "string"},
        "status": {"enum": [str(one) for one in Status]},
        "delayTime": {"type": "integer", "description": "How long it waited [ms]."},
        "executionTime": {"type": "integer", "description": "How long its latest attempt took [ms]."},
        "output": {"description": "What the job answered; while it is in progress, how far it is."},
        "error": {"type": "string"},
        "errorClass": {"type": "string", "description": "The class of the failure, such as cuda_oom."},
        "workerId": {"type": "string"},
        "retries": {"type": "integer"},
        "cancelling": {"type": "boolean", "description": "It is to be cancelled, and still in progress."},
    },
}
_BEGUN = {
    "type": "object",
    "required": ["id", "status"],
    "properties": {
        "id": {"type": "string"},
        "status": {"enum": [str(one) for one in Status]},
        "cancelling": {"type": "boolean"},
    },
}
_STREAM = {
    "type": "object",
    "required": ["id", "status", "stream"],
    "properties": {
        "id": {"type": "string"},
        "status": {"enum": [str(one) for one in Status]},
        "stream": {
            "type": "array",
            "items": {"type": "object", "required": ["output"], "properties": {"output": {}}},
        },
    },
}
_PURGED = {
    "type": "object",
    "required": ["removed", "status"],
    "properties": {"removed": {"type": "integer"}, "status": {"const": "completed"}},
}
_REFUSAL = {
    "type": "object",
    "required": ["error", "status"],
    "properties": {
        "error": {"type": "string"},
        "status": {"type": "integer"},
        "hint": {"type": "string", "description": "What helps."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def _numbers(*names: str) -> dict[str, Any]:
    return {"type": "object", "required": list(names), "properties": {name: {"type": "integer"} for name in names}}


_HEALTH = {
    "type": "object",
    "required": ["jobs", "workers"],
    "properties": {
        "jobs": _numbers("completed", "failed", "inProgress", "inQueue", "retried"),
        "workers": _numbers("idle", "initializing", "ready", "running", "throttled", "unhealthy"),
    },
}
_REFUSALS = {
    "400": "The body is not JSON.",
    "401": "There is no valid token.",
    "403": "The token may not do that.",
    "404": "There is no such endpoint or job.",
    "408": "The body came too slowly.",
    "409": "The job is in no state for that.",
    "413": "The body is too large.",
    "422": "The request is not valid; `errors` says where.",
    "429": "Too many requests, or too many jobs that wait.",
    "503": "The queue's database does not answer.",
}


def make_openapi() -> dict[str, Any]:
    """Return the document. It is the same on every machine: it names no server and no file."""
    endpoints = list(ENDPOINTS.values())
    shapes = [one.shape for one in endpoints]
    _, components = msgspec.json.schema_components([*shapes, Policy], ref_template=REFERENCE)
    for schema in components.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    own = {"Job": _JOB, "Begun": _BEGUN, "Stream": _STREAM, "Purged": _PURGED, "Health": _HEALTH, "Refusal": _REFUSAL}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "admlops job API",
            "version": __version__,
            "description": "Runs, comparisons, battles, evaluations and exports as jobs, in the shape of RunPod's "
            "serverless endpoints. Every success is answered with 200.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "tags": [{"name": one.id, "description": one.title} for one in endpoints],
        "paths": {path: item for one in endpoints for path, item in _paths(one).items()},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {
                f"Refused{code}": {"description": text, "content": _json("Refusal")} for code, text in _REFUSALS.items()
            },
            "schemas": {**components, **own, **{_body_name(one): _body(one) for one in endpoints}},
        },
    }


def _paths(endpoint: Endpoint[Any]) -> dict[str, Any]:
    base = f"/v2/{endpoint.id}"
    wait = {
        "name": "wait",
        "in": "query",
        "description": f"How long to wait for the end [ms]; more than {MAX_WAIT_MS} is taken as {MAX_WAIT_MS}.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": DEFAULT_WAIT_MS},
    }

    def operation(name: str, summary: str, answer: str, **more: Any) -> dict[str, Any]:
        refusals = ["401", "403", "404", "429", "503", *more.pop("refusals", ())]
        return {
            "operationId": f"{endpoint.id}-{name}",
            "tags": [endpoint.id],
            "summary": summary,
            "responses": {
                "200": {"description": "Done.", "content": _json(answer)},
                **{code: {"$ref": f"#/components/responses/Refused{code}"} for code in sorted(refusals)},
            },
            **more,
        }

    body = {"requestBody": {"required": True, "content": _json(_body_name(endpoint))}}
    wrong = ("400", "408", "413", "422")
    job = {"parameters": [{"name": "job", "in": "path", "required": True, "schema": {"type": "string"}}]}
    return {
        f"{base}/run": {
            "post": operation("run", "Put a job into the queue.", "Begun", **body, refusals=wrong),
        },
        f"{base}/runsync": {
            "post": operation(
                "runsync", "Put a job into the queue and wait for its end.", "Job", **body, parameters=[wait],
                refusals=wrong,
            )
        },
        f"{base}/status/{{job}}": {**job, "get": operation("status", "Say how a job stands.", "Job")},
        f"{base}/status-sync/{{job}}": {
            **job,
            "get": operation("status-sync", "Wait for a job's end.", "Job", parameters=[wait], refusals=("422",)),
        },
        f"{base}/stream/{{job}}": {
            **job,
            "get": operation("stream", "Take the parts of the answer that nobody has taken yet.", "Stream"),
        },
        f"{base}/cancel/{{job}}": {**job, "post": operation("cancel", "Cancel a job.", "Begun")},
        f"{base}/retry/{{job}}": {
            **job,
            "post": operation("retry", "Try a job again that did not succeed.", "Begun", refusals=("409",)),
        },
        f"{base}/purge-queue": {"post": operation("purge-queue", "Cancel all jobs that wait.", "Purged")},
        f"{base}/health": {"get": operation("health", "Count jobs and workers.", "Health")},
    }  # fmt: skip


def _body_name(endpoint: Endpoint[Any]) -> str:
    return f"{endpoint.shape.__name__.removesuffix('Input')}Body"


def _body(endpoint: Endpoint[Any]) -> dict[str, Any]:
    """Return the schema of a request's body: `RunBody` with the endpoint's own input."""
    _, components = msgspec.json.schema_components([RunBody], ref_template=REFERENCE)
    body = copy.deepcopy(components["RunBody"])
    body["properties"]["input"] = {"$ref": REFERENCE.format(name=endpoint.shape.__name__)}
    body["description"] = f"A job: {endpoint.title}"
    return dict(body)


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": REFERENCE.format(name=name)}}}
