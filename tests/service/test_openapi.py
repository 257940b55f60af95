"""The published description of the API: it is the code's, it is valid, and it takes what the service takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from docs import generate
from jsonschema import Draft202012Validator
from tests.service.clients.installed import python_with
from tests.service.served import Served

from admlops.core.paths import find_layout
from admlops.service.job_api.openapi import make_openapi

DOCS = find_layout().root / "docs"


def test_the_page_is_what_the_code_says(served: Served) -> None:
    assert (DOCS / "openapi.json").read_text() == generate.write_openapi(), "python -m docs.generate"
    assert served.client(served.read_token).get("/openapi.json").json() == make_openapi()


def validator(name: str) -> Any:
    document = make_openapi()
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize(
    "body",
    [
        {"input": {"model": "GroundPlane"}},
        {"input": {"model": "GroundPlane", "limit": 0}},
        {"input": {"model": "GroundPlane", "unknown": 1}},
        {"input": {"model": "../x"}},
        {"input": {}},
        {},
        {"input": {"model": "GroundPlane"}, "policy": {"executionTimeout": 5000, "lowPriority": True}},
        {"input": {"model": "GroundPlane"}, "policy": {"executionTimeout": 4999}},
        {"input": {"model": "GroundPlane"}, "more": 1},
    ],
)
def test_the_schema_takes_what_the_service_takes(served: Served, body: dict[str, Any]) -> None:
    answer = served.client().post("/v2/run/run", json=body)
    assert (answer.status_code == 200) == validator("RunBody").is_valid(body), answer.text


def test_answers_are_of_their_schemas(served: Served) -> None:
    client = served.client()
    job = client.post("/v2/run/runsync", json={"input": {"model": "GroundPlane", "limit": 2}}).json()
    validator("Job").validate(job)
    validator("Stream").validate(client.get(f"/v2/run/stream/{job['id']}").json())
    validator("Health").validate(client.get("/v2/run/health").json())
    validator("Refusal").validate(client.get("/v2/run/status/none").json())


@pytest.mark.full
def test_nothing_that_is_generated_breaks_the_service(served: Served, shared_tmp: Path) -> None:
    """Schemathesis draws requests from the published description, right and wrong ones: no answer is a 500."""
    schemathesis = python_with(shared_tmp, "schemathesis").with_name("schemathesis")
    done = subprocess.run(
        [schemathesis, "run", f"{served.url}/openapi.json", "--checks", "not_a_server_error",
         "-H", f"Authorization: Bearer {served.run_token}", "--max-examples", "20",
         "--phases", "examples,coverage,fuzzing", "--request-timeout", "100", "--exclude-path-regex", "sync",
         "--seed", "1",
         "--generation-database", "none"],
        capture_output=True, text=True, timeout=290, cwd=shared_tmp, env={**os.environ, "NO_COLOR": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
