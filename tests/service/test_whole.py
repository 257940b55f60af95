"""Battles and comparisons from end to end: every client, real runners, both databases."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.noisy_runs import NoisyRuns
from tests.service.clients.installed import HERE, folder_with_sdk, node, python_with
from tests.service.queue.postgres import start_postgresql
from tests.service.served import Served, serve
from tests.service.test_clients import CLIENT

from admlops.environments import Environment

pytestmark = pytest.mark.full
Client = Callable[[Served, str, dict[str, Any], Path], dict[str, Any]]


def said(command: list[str | Path], variables: dict[str, str] | None = None) -> dict[str, Any]:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, env={**os.environ, **(variables or {})}, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def by_python(service: Served, endpoint: str, given: dict[str, Any], shared: Path) -> dict[str, Any]:
    """RunPod's Python SDK."""
    command: list[str | Path] = [python_with(shared, "runpod"), HERE / "use_runpod.py", service.run_token, endpoint]
    answer = said([*command, json.dumps(given), "--once"], {"RUNPOD_ENDPOINT_BASE_URL": f"{service.url}/v2"})
    assert answer["stream"], "each whole scene is a part"
    return dict(answer["output"])


def by_javascript(service: Served, endpoint: str, given: dict[str, Any], shared: Path) -> dict[str, Any]:
    """RunPod's JavaScript SDK."""
    script = folder_with_sdk(shared) / "use_runpod.mjs"
    answer = said([node(), script, f"{service.url}/v2", service.run_token, endpoint, json.dumps(given), "--once"])
    assert answer["stream"]
    return dict(answer["output"])


def by_own(service: Served, endpoint: str, given: dict[str, Any], _: Path) -> dict[str, Any]:
    """The project's own client."""
    command: list[str | Path] = [node(), HERE / "use_admlops_once.mjs", CLIENT / "admlops.js", service.url]
    return dict(said([*command, service.run_token, endpoint, json.dumps(given)])["output"])


def by_curl(service: Served, endpoint: str, given: dict[str, Any], _: Path) -> dict[str, Any]:
    """curl."""
    command: list[str | Path] = ["curl", "-sS", "-H", f"authorization: Bearer {service.run_token}"]
    base = f"{service.url}/v2/{endpoint}"
    job = said([*command, "-X", "POST", "-d", json.dumps({"input": given}), f"{base}/run"])
    while job["status"] in {"IN_QUEUE", "IN_PROGRESS"}:
        job = said([*command, f"{base}/status-sync/{job['id']}?wait=60000"])
    assert job["status"] == "COMPLETED", job
    return dict(job["output"])


CLIENTS: list[Client] = [by_python, by_javascript, by_own, by_curl]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def whole(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    noisy_runs: NoisyRuns,
    synthetic_root: Path,
    groundplane_environment: Environment,
) -> Iterator[Served]:
    """A service with a runner on a copy of two evaluated runs; GroundPlane can run on synthetic scenes."""
    folder = tmp_path_factory.mktemp(f"whole-{request.param}")
    shutil.copytree(noisy_runs.layout.runs, folder / "runs")
    options = ("--runners", "1", "--data-root", synthetic_root.parent)
    if request.param == "sqlite":
        with serve(folder, *options) as service:
            yield service
    else:
        with start_postgresql() as cluster, serve(folder, *options, "--database", cluster.url(cluster.create())) as own:
            yield own


@pytest.mark.parametrize("client", CLIENTS, ids=lambda one: one.__name__)
def test_a_battle(whole: Served, shared_tmp: Path, client: Client) -> None:
    output = client(whole, "battle", {"model_a": "near", "model_b": "far"}, shared_tmp)
    assert {one["model"] for one in output["models"]} == {"Near", "Far"}
    assert output["battle"]["verdict"] == "not decided", "three scenes are too few"
    assert output["winner"] is None
    values = {one["model"]: {each["name"]: each["value"] for each in one["metrics"]} for one in output["models"]}
    assert values["Near"]["NDS"] > values["Far"]["NDS"]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda one: one.__name__)
def test_a_comparison(whole: Served, synthetic_root: Path, shared_tmp: Path, client: Client) -> None:
    given = {"models": ["GroundPlane"], "data": synthetic_root.name, "split": "mini_val"}
    output = client(whole, "compare", given, shared_tmp)
    assert output["models"][0]["state"] == "ready"
    assert {one["protocol"] for one in output["rankings"]} >= {"nuscenes.detection_cvpr_2019"}
