"""RunPod's own clients, unchanged, against the service; a stand-in does the jobs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from docs import generate
from tests.service.clients.installed import HERE, folder_with_sdk, node, python_with
from tests.service.served import Served

from admlops.core.paths import find_layout

CLIENT = find_layout().root / "runners" / "clients" / "js"
GIVEN = json.dumps({"model": "GroundPlane", "limit": 3})
CHUNKS = [{"scene": f"scene-{number}", "samples": 4} for number in range(3)]


def call(command: list[str | Path], variables: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a script that prints JSON in its last line."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, env={**os.environ, **(variables or {})}, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.full
def test_python_client(served: Served, shared_tmp: Path) -> None:
    python = python_with(shared_tmp, "runpod")
    found = call(
        [python, HERE / "use_runpod.py", served.run_token, "run", GIVEN, "--stand-in"],
        {"RUNPOD_ENDPOINT_BASE_URL": f"{served.url}/v2"},
    )
    assert found["output"] == {"run": f"run-of-{found['id']}", "chunks": 3}
    assert found["status"] == "COMPLETED"
    assert found["run_sync"]["chunks"] == 3
    assert found["stream"] == CHUNKS
    assert "422" in found["empty"], "an empty input arrives, and lacks its model"
    assert found["cancel"]["status"] == "CANCELLED"
    assert found["cancelled_stream"] in ([], [{"scene": "scene-0"}]), "the stream of a cancelled job ends"
    assert found["failed"] is None, "how this client shows that a job failed"
    assert found["purge"] == {"removed": 0, "status": "completed"}
    assert found["health"]["jobs"]["completed"] >= 3
    assert found["asyncio"]["status"] == "COMPLETED"
    assert found["wrong_key"].startswith("RuntimeError: 401")


@pytest.mark.full
def test_javascript_client(served: Served, shared_tmp: Path) -> None:
    folder = folder_with_sdk(shared_tmp)
    command: list[str | Path] = [node(), folder / "use_runpod.mjs", f"{served.url}/v2", served.run_token, "run"]
    found = call([*command, GIVEN, "--stand-in"])
    assert found["begun"]["status"] == "IN_QUEUE"
    assert found["done"]["output"]["chunks"] == 3
    assert found["status"]["succeeded"] is True
    assert found["runSync"]["output"]["chunks"] == 3
    assert found["stream"] == [{"output": one} for one in CHUNKS]
    assert found["cancelled"]["status"] == "CANCELLED"
    assert found["failed"]["error"] == "the weights are missing"
    assert found["health"]["jobs"]["completed"] >= 3
    assert "removed" in found["purge"]
    assert found["wrongKey"] == 401


def test_curl(served: Served) -> None:
    def curl(path: str, *options: str) -> dict[str, Any]:
        return call(["curl", "--silent", "--show-error", "-H", f"authorization: {served.run_token}", *options,
                     f"{served.url}/v2/run/{path}"])  # fmt: skip

    body = ("-X", "POST", "-H", "content-type: application/json", "-d", json.dumps({"input": json.loads(GIVEN)}))
    begun = curl("run", *body)
    assert curl(f"status-sync/{begun['id']}")["output"]["chunks"] == 3
    assert [one["output"] for one in curl(f"stream/{begun['id']}")["stream"]] == CHUNKS
    assert curl("runsync", *body)["status"] == "COMPLETED"
    assert curl(f"cancel/{begun['id']}", "-X", "POST")["status"] == "COMPLETED", "what has ended stays as it is"
    assert "workers" in curl("health")


def test_our_own_client(served: Served) -> None:
    found = call([node(), HERE / "use_admlops.mjs", CLIENT / "admlops.js", served.url, served.run_token])
    assert found["done"]["output"]["chunks"] == 3
    assert found["stream"] == CHUNKS
    assert found["runSync"]["status"] == "COMPLETED"
    assert found["output"]["chunks"] == 3
    assert found["failed"] == [True, "the weights are missing", "data"]
    assert found["aborted"] == ["enough", True]
    assert found["cancelled"] == "CANCELLED", "an abort cancels the job"
    assert found["invalid"] == [True, 422, "input.model"]
    assert found["refused"] == 401
    assert found["away"] == 0
    assert found["health"]["jobs"]["completed"] >= 3
    assert found["purged"]["status"] == "completed"


def test_the_types_of_inputs_are_those_of_the_service() -> None:
    assert generate.TYPES.read_text() == generate.write_input_types(), "python -m docs.generate"


@pytest.mark.full
def test_the_example_of_a_route(served: Served, shared_tmp: Path) -> None:
    """The types are strict TypeScript, and the route answers with winner and metrics."""
    folder = folder_with_sdk(shared_tmp)
    shutil.copytree(CLIENT, folder / "node_modules" / "admlops-client", dirs_exist_ok=True)
    route = shutil.copy(CLIENT / "examples" / "next" / "app" / "api" / "battle" / "route.ts", folder / "route.ts")
    compiler = folder / "node_modules" / "typescript" / "bin" / "tsc"
    options = ["--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2023,dom", "--types", "node"]
    done = subprocess.run(
        [node(), compiler, *options, route], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout
    variables = {"ADMLOPS_URL": served.url, "ADMLOPS_TOKEN": served.run_token}
    found = call([node(), folder / "use_route.mjs", "http://127.0.0.1:9/a.jpg"], variables)
    assert found["right"] == {
        "status": 200,
        "winner": "GroundPlane",
        "verdict": "GroundPlane wins",
        "reason": "a stand-in says so",
        "metrics": {
            one: [{"name": "count_score", "protocol": "p", "value": 1.0}] for one in ("GroundPlane", "NanoDet")
        },
    }
    assert found["wrong"]["status"] == 422
    assert found["unknown"]["status"] == 422
