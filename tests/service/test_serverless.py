"""The worker of RunPod's own serverless, by their own SDK, against a stand-in of their platform."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.noisy_runs import NoisyRuns
from tests.service.clients.installed import python_with
from tests.service.clients.serverless_platform import Platform, platform

from admlops.core.paths import find_layout

BATTLE = {"endpoint": "battle", "model_a": "near", "model_b": "far"}
pytestmark = pytest.mark.full


@contextmanager
def worker(python: Path, served: Platform, repository: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run the worker; what it says goes to a file beside the repository."""
    environment = {**os.environ, **served.variables(), "ADMLOPS_REP_PATH": str(repository), **variables}
    with (repository.parent / "worker.log").open("a") as log:
        process = subprocess.Popen(
            [python, find_layout().root / "runners" / "serverless_handler.py"],
            env=environment, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_battle_and_a_wrong_input(noisy_runs: NoisyRuns, shared_tmp: Path) -> None:
    python = python_with(shared_tmp, "runpod")
    with platform() as served, worker(python, served, noisy_runs.layout.repository):
        served.jobs.append({"id": "one", "input": BATTLE})
        served.jobs.append({"id": "two", "input": {"endpoint": "battle", "model_a": "near"}})
        output = served.wait("one")["output"]
        assert output["model_a"] == "Near"
        assert output["battle"]["verdict"]
        assert {one["model"] for one in output["models"]} == {"Near", "Far"}
        assert served.updates["one"], "each whole scene is told"
        assert "model_b" in served.wait("two")["error"]
        assert served.pings >= 1
        assert served.refused == 0


def test_parts_of_a_stream(noisy_runs: NoisyRuns, shared_tmp: Path) -> None:
    python = python_with(shared_tmp, "runpod")
    variables = {"ADMLOPS_STREAM": "1", "ADMLOPS_ENDPOINT": "battle"}
    with platform() as served, worker(python, served, noisy_runs.layout.repository, **variables):
        served.jobs.append({"id": "one", "input": {"model_a": "near", "model_b": "far"}})
        output = served.wait("one")["output"]
        assert output == served.parts["one"]
        assert {"scene", "samples"} <= set(output[0])
        assert output[-1]["model_a"] == "Near"


def test_a_job_that_is_stopped_is_cancelled(noisy_runs: NoisyRuns, shared_tmp: Path) -> None:
    from admlops.service.queue.database import default_url, open_database
    from admlops.service.queue.job import Status
    from admlops.service.queue.jobs import JobQueue

    python = python_with(shared_tmp, "runpod")
    repository = noisy_runs.layout.repository
    with platform() as served, worker(python, served, repository):
        served.jobs.append({"id": "one", "input": {"endpoint": "compare", "models": ["GroundPlane"]}})
        queue = JobQueue(open_database(default_url(noisy_runs.layout)))
        for _ in range(600):
            if any(job.status is Status.IN_PROGRESS for job in queue.list()):
                break
            time.sleep(0.1)
        served.stops.append("one")
        for _ in range(600):
            if queue.list()[0].status.is_final:
                break
            time.sleep(0.1)
        assert queue.list()[0].status is Status.CANCELLED
        queue.database.close()
