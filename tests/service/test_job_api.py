"""The job API over HTTP, as RunPod's documentation has it."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest
from tests.service.served import FAILS, WAITS, Served

PYTHON_SDK = {"user-agent": "python-requests/2.32"}


@pytest.fixture
def client(served: Served) -> httpx.Client:
    return served.client()


def run(client: httpx.Client, limit: int = 3, operation: str = "run", **more: Any) -> dict[str, Any]:
    answer = client.post(f"/v2/run/{operation}", json={"input": {"model": "GroundPlane", "limit": limit}, **more})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def wait(client: httpx.Client, job: str, wanted: str = "COMPLETED") -> dict[str, Any]:
    for _ in range(200):
        body = dict(client.get(f"/v2/run/status/{job}").json())
        if body["status"] == wanted:
            return body
        time.sleep(0.05)
    raise AssertionError(body)


def test_run_and_status(client: httpx.Client) -> None:
    begun = run(client)
    assert begun["status"] == "IN_QUEUE"
    assert begun["id"].endswith("-u1")
    done = wait(client, begun["id"])
    assert done["output"] == {"run": f"run-of-{begun['id']}", "chunks": 3}
    assert done["delayTime"] >= 0
    assert done["executionTime"] >= 0


def test_runsync_waits_for_the_end(client: httpx.Client) -> None:
    done = run(client, operation="runsync")
    assert done["id"].startswith("sync-")
    assert done["status"] == "COMPLETED"


def test_status_sync_answers_when_its_time_is_over(client: httpx.Client) -> None:
    begun = run(client, WAITS)
    began = time.monotonic()
    body = client.get(f"/v2/run/status-sync/{begun['id']}", params={"wait": "300"}).json()
    assert body["status"] in {"IN_QUEUE", "IN_PROGRESS"}
    assert time.monotonic() - began >= 0.3
    client.post(f"/v2/run/cancel/{begun['id']}")
    assert wait(client, begun["id"], "CANCELLED")["status"] == "CANCELLED"


def test_status_sync_answers_at_the_end(client: httpx.Client) -> None:
    begun = run(client, WAITS)
    wait(client, begun["id"], "IN_PROGRESS")
    threading.Timer(0.3, lambda: client.post(f"/v2/run/cancel/{begun['id']}")).start()
    assert client.get(f"/v2/run/status-sync/{begun['id']}").json()["status"] == "CANCELLED"


def test_stream_gives_each_chunk_once(client: httpx.Client) -> None:
    begun = run(client)
    chunks: list[Any] = []
    while True:
        body = client.get(f"/v2/run/stream/{begun['id']}").json()
        chunks += [one["output"]["scene"] for one in body["stream"]]
        if body["status"] == "COMPLETED" and not body["stream"]:
            break
    assert chunks == ["scene-0", "scene-1", "scene-2"]


def test_head_of_a_stream_takes_nothing(client: httpx.Client) -> None:
    begun = run(client, 1)
    wait(client, begun["id"])
    assert client.head(f"/v2/run/stream/{begun['id']}").status_code == 405
    assert len(client.get(f"/v2/run/stream/{begun['id']}").json()["stream"]) == 1


def test_a_cancelled_stream_ends_for_the_python_client_too(client: httpx.Client) -> None:
    begun = run(client, WAITS)
    wait(client, begun["id"], "IN_PROGRESS")
    assert client.post(f"/v2/run/cancel/{begun['id']}").json()["status"] == "CANCELLED"
    job = begun["id"]
    assert client.get(f"/v2/run/stream/{job}", headers=PYTHON_SDK).json()["status"] == "FAILED"
    assert client.get(f"/v2/run/stream/{job}", headers={"user-agent": "xior"}).json()["status"] == "CANCELLED"
    assert client.get(f"/v2/run/status/{job}", headers=PYTHON_SDK).json()["status"] == "CANCELLED"


def test_a_failed_job_says_why_and_may_be_tried_again(client: httpx.Client) -> None:
    begun = run(client, FAILS)
    body = wait(client, begun["id"], "FAILED")
    assert (body["error"], body["errorClass"]) == ("the weights are missing", "data")
    assert "output" not in body
    assert client.post(f"/v2/run/retry/{begun['id']}").json() == {"id": begun["id"], "status": "IN_QUEUE"}
    assert wait(client, begun["id"], "FAILED")["retries"] == 1


def test_only_what_did_not_succeed_is_tried_again(client: httpx.Client) -> None:
    done = run(client, operation="runsync")
    assert client.post(f"/v2/run/retry/{done['id']}").status_code == 409


def test_health_counts_jobs_and_workers(client: httpx.Client) -> None:
    run(client, operation="runsync")
    body = client.get("/v2/run/health").json()
    assert set(body["jobs"]) == {"completed", "failed", "inProgress", "inQueue", "retried"}
    assert set(body["workers"]) == {"idle", "initializing", "ready", "running", "throttled", "unhealthy"}
    assert body["jobs"]["completed"] >= 1


def test_purge_cancels_what_waits(client: httpx.Client) -> None:
    running = run(client, WAITS)
    wait(client, running["id"], "IN_PROGRESS")
    waiting = [run(client)["id"] for _ in range(3)]
    assert client.post("/v2/run/purge-queue").json() == {"removed": 3, "status": "completed"}
    assert {wait(client, one, "CANCELLED")["status"] for one in waiting} == {"CANCELLED"}
    client.post(f"/v2/run/cancel/{running['id']}")
    wait(client, running["id"], "CANCELLED")


def test_policy_reaches_the_queue(client: httpx.Client) -> None:
    hold = run(client, WAITS)
    wait(client, hold["id"], "IN_PROGRESS")
    later = run(client, policy={"lowPriority": True})["id"]
    sooner = run(client)["id"]
    client.post(f"/v2/run/cancel/{hold['id']}")
    wait(client, later)
    assert wait(client, sooner)["delayTime"] <= wait(client, later)["delayTime"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "body"),
        ({"input": 3}, "input"),
        ({"input": {"model": "GroundPlane"}, "webhok": "x"}, "body"),
        ({"input": {"model": "GroundPlane"}, "webhook": "ftp://x"}, "webhook"),
        ({"input": {"model": "GroundPlane"}, "policy": {"executionTimeout": 10}}, "policy.executionTimeout"),
        ({"input": {"model": "GroundPlane"}, "policy": {"ttl": "soon"}}, "policy.ttl"),
    ],
)
def test_what_is_not_valid_is_refused_with_its_place(client: httpx.Client, body: Any, path: str) -> None:
    answer = client.post("/v2/run/run", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == path


def test_other_refusals_are_json(client: httpx.Client) -> None:
    cases = [
        (client.post("/v2/run/run", content=b"{"), 400),
        (client.post("/v2/run/run", content=b"[" * 100_000), 400),
        (client.post("/v2/run/run", content=b'{"input": {"model": ' + b"[" * 900 + b"]" * 900 + b"}}"), 422),
        (client.post("/v2/run/run", content=b'{"input": {"x": ' + b"[" * 500 + b"]" * 500 + b"}}"), 422),
        (client.post("/v2/nothing/run", json={"input": {}}), 404),
        (client.get("/v2/run/status/none"), 404),
        (client.get("/v2/run/status/..%2f..%2fetc%2fpasswd"), 404),
        (client.get("/v2/run/run"), 405),
        (client.get("/elsewhere"), 404),
        (client.get("/v2/run/status-sync/x?wait=soon"), 422),
    ]
    for answer, status in cases:
        assert answer.status_code == status, answer.text
        assert answer.json()["status"] == status
        assert answer.json()["error"]


def test_a_job_belongs_to_its_endpoint(client: httpx.Client) -> None:
    begun = run(client)
    assert client.get(f"/v2/battle/status/{begun['id']}").status_code == 404


def test_too_many_requests_are_told_when_to_come_back(client: httpx.Client) -> None:
    answers = [client.post("/v2/export/purge-queue") for _ in range(4)]
    refused = [one for one in answers if one.status_code == 429]
    assert refused
    assert 1 <= int(refused[0].headers["retry-after"]) <= 11
