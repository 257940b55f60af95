"""What probes and Prometheus get: of a real server, and of its parts where a machine must be made up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from tests.health.fake_nvml import POWER_W, WORK_J, Card, FakeNvml, divided
from tests.noisy_runs import NoisyRuns
from tests.service.served import Served

from admlops.core.errors import StorageError
from admlops.core.paths import Layout, find_layout
from admlops.health.gpu_metrics import METRICS, GpuMetrics
from admlops.pipeline.health.check import Finding, Place
from admlops.service.app import create_app
from admlops.service.health.inference_times import InferenceTimes, runs_of
from admlops.service.health.metrics import make_registry
from admlops.service.health.queue_check import CHECK as QUEUE_CHECK
from admlops.service.health.readiness import Readiness
from admlops.service.health.routes import health_part
from admlops.service.jobs.settings import default_settings
from admlops.service.queue.database import DEFAULT_FILE, default_url, open_database
from admlops.service.queue.job import RunnerState, Status
from admlops.service.queue.jobs import JobQueue
from admlops.service.security.tokens import Tokens
from admlops.service.settings import Settings


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_without_token_is_told_a_status_and_nothing_else(served: Served, path: str) -> None:
    with served.client(None) as stranger:
        answer = stranger.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "pass"})
    assert answer.headers["content-type"] == "application/health+json"
    assert answer.headers["cache-control"] == "no-store"


def test_who_has_a_token_is_told_why(served: Served) -> None:
    with served.client(served.read_token) as reader:
        shape = reader.get("/readyz").json()
    assert shape["serviceId"] == "admlops"
    assert {key.split(":")[0] for key in shape["checks"]} == {"database", "disk", "gpu"}
    assert shape["checks"]["database:takes-writes-in"][0]["status"] == "pass"


def test_metrics_need_a_token(served: Served) -> None:
    with served.client(None) as stranger:
        assert stranger.get("/metrics").status_code == 401
    with served.client(served.read_token) as reader:
        assert reader.get("/metrics").status_code == 200


def test_metrics_tell_of_jobs_in_both_forms(served: Served) -> None:
    with served.client() as client:
        job = client.post("/v2/run/runsync", json={"input": {"model": "GroundPlane"}})
        assert job.status_code == 200, job.text
        plain = client.get("/metrics", headers={"accept": "text/plain"})
        open_ = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    families = {one.name: one for one in parse_text(plain.text)}
    assert {"admlops_jobs", "admlops_queue_depth", "admlops_workers", "admlops_queue_up"} <= set(families)
    assert {one.labels["state"] for one in families["admlops_jobs"].samples} == {
        *("completed", "failed", "cancelled", "timed_out")
    }
    assert "openmetrics" in open_.headers["content-type"]
    assert families.keys() <= {one.name for one in parse_openmetrics(open_.text)}  # type: ignore[no-untyped-call]


def test_a_load_balancer_is_told_that_it_has_begun(served: Served) -> None:
    with served.client(None) as stranger:
        answer = stranger.get("/ping")
    assert (answer.status_code, answer.json()) == (200, {"status": "pass"})


def test_a_pod_without_its_gpu_is_not_ready_and_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNPOD_POD_ID", "abc")
    monkeypatch.setenv("RUNPOD_GPU_COUNT", "64")
    tokens = Tokens([("alice", "read", "a-token-of-some-length")])
    layout = Layout(root=find_layout().root, repository=tmp_path, environments=tmp_path)
    settings = Settings(layout=layout, jobs=default_settings(layout), tokens=tokens)
    app = create_app(settings, parts=[health_part])

    async def ask(path: str, **headers: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers=headers)

    async def ask_all() -> list[httpx.Response]:
        told = {"authorization": "Bearer a-token-of-some-length"}
        return [await ask("/livez"), await ask("/readyz"), await ask("/ping"), await ask("/readyz", **told)]

    live, ready, ping, told = asyncio.run(ask_all())
    assert [one.status_code for one in (live, ready, ping, told)] == [200, 503, 204, 503]
    assert ready.json() == {"status": "fail"}
    assert ping.content == b""
    (count,) = told.json()["checks"]["gpu:count"]
    assert "rented with 64 GPUs" in count["output"]
    app.state.service.queue.database.close()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    opened = JobQueue(open_database(f"sqlite:///{tmp_path / 'jobs.sqlite3'}"))
    yield opened
    opened.database.close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    layout = Layout(root=find_layout().root, repository=tmp_path, environments=tmp_path)
    return Place(layout=layout, variables={}, nvml=FakeNvml())


def runner(name: str, job: str | None) -> RunnerState:
    return RunnerState(owner=name, host="h", pid=1, endpoints=(), job=job, started=1.0, seen=time.time())


def test_it_has_begun_once_a_runner_was_seen(queue: JobQueue, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admlops.service.health.readiness.KEPT_S", 0.0)

    async def ask() -> list[bool]:
        readiness = Readiness(queue, place, runners=1)
        before = await readiness.has_begun()
        queue.runner_seen(runner("one", None))
        after = await readiness.has_begun()
        queue.runner_gone("one")
        return [before, after, await readiness.has_begun()]

    assert asyncio.run(ask()) == [False, True, True]


def test_a_database_that_takes_no_writes_is_not_ready(queue: JobQueue, place: Place) -> None:
    with queue.database.write() as connection:
        connection.exec_driver_sql("CREATE TRIGGER full BEFORE INSERT ON runners BEGIN SELECT RAISE(FAIL, 'full'); END")
    report = asyncio.run(Readiness(queue, place, runners=0).report())
    (database, *_) = report.checks
    assert (database.status, report.status) == ("fail", "fail")
    assert "full" in database.findings[0].problem
    assert queue.runners(within_s=1e10) == []


def test_many_who_ask_share_one_look_and_none_stays_behind(queue: JobQueue, place: Place) -> None:
    looks: list[float] = []
    readiness = Readiness(queue, place, runners=0)
    write = queue.database.write

    def counted() -> Any:
        looks.append(time.monotonic())
        return write()

    queue.database.write = counted  # type: ignore[method-assign]

    async def ask() -> None:
        await asyncio.gather(*(readiness.report() for _ in range(50)))

    asyncio.run(ask())
    assert len(looks) == 1


def test_a_look_that_hangs_is_not_begun_again(queue: JobQueue, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("admlops.service.health.readiness.ANSWER_S", 0.2)
    monkeypatch.setattr("admlops.service.health.readiness.KEPT_S", 0.0)
    gate = threading.Event()
    readiness = Readiness(queue, place, runners=0)
    monkeypatch.setattr(queue.database, "write", lambda: gate.wait(20))

    async def ask() -> list[str]:
        return [(await readiness.report()).checks[0].findings[0].problem for _ in range(2)]

    said = asyncio.run(ask())
    gate.set()
    assert said == ["it did not answer within 0.2 s", "an earlier look still waits for its answer"]


def test_jobs_that_nobody_takes_are_warned_of(place: Place) -> None:
    def look() -> dict[str, Finding]:
        return {one.measure: one for one in QUEUE_CHECK.look(place)}

    assert look()["database"].value == "none: admlops serve makes one"
    queue = JobQueue(open_database(default_url(place.layout)))
    queue.submit("run", {})
    assert (look()["jobs that wait"].value, look()["jobs that wait"].status) == (1, "warn")
    queue.runner_seen(runner("me", None))
    assert look()["jobs that wait"].status == "pass"
    queue.database.close()
    file = place.layout.repository / DEFAULT_FILE
    assert look()["database"].value == "answers"
    for path in file.parent.glob(f"{file.name}*"):
        path.write_bytes(b"no database " * 1000)
    broken = look()["database"]
    assert (broken.status, "file is not a database" in broken.problem) == ("fail", True)


def scrape(queue: JobQueue, nvml: FakeNvml, tmp_path: Path) -> dict[str, Metric]:
    registry = make_registry(queue, GpuMetrics(nvml), InferenceTimes(queue, tmp_path), runners=2)
    return {one.name: one for one in parse_text(generate_latest(registry).decode())}


def test_gpus_have_dcgms_names_and_labels(queue: JobQueue, tmp_path: Path) -> None:
    card = Card()
    nvml = FakeNvml([card, Card(name="NVIDIA L4")])
    families = scrape(queue, nvml, tmp_path)
    assert {one.name for one in METRICS} <= set(families)
    energy = families["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"]
    assert {sample.name for sample in energy.samples} == {"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"}
    first = families["DCGM_FI_DEV_FB_FREE"].samples[0]
    assert set(first.labels) == {"gpu", "UUID", "pci_bus_id", "device", "modelName", "Hostname"}
    assert {key: first.labels[key] for key in ("gpu", "UUID", "device", "modelName")} == {
        "gpu": "0",
        "UUID": "GPU-0abc",
        "device": "nvidia0",
        "modelName": "NVIDIA H200",
    }
    begun, at = energy.samples[0].value, time.monotonic()
    for _ in range(5):
        card.work()
    again = scrape(queue, nvml, tmp_path)["DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"].samples[0].value
    assert (again - begun) / 1e3 == pytest.approx(5 * WORK_J + POWER_W * (time.monotonic() - at), abs=10)


def test_slices_are_told_apart(queue: JobQueue, tmp_path: Path) -> None:
    families = scrape(queue, FakeNvml([divided("3g.71gb", "4g.71gb"), Card()]), tmp_path)
    memory = [(one.labels["gpu"], one.labels["GPU_I_ID"]) for one in families["DCGM_FI_DEV_FB_USED"].samples]
    assert memory == [("0", "1"), ("0", "2"), ("1", "")]
    power = [(one.labels["gpu"], one.labels["GPU_I_PROFILE"]) for one in families["DCGM_FI_DEV_POWER_USAGE"].samples]
    assert power == [("0", ""), ("1", "")], "a board's power counts once"


def test_a_machine_without_gpu_tells_of_none(queue: JobQueue, tmp_path: Path) -> None:
    assert not [name for name in scrape(queue, FakeNvml(), tmp_path) if name.startswith("DCGM")]


def test_jobs_and_runners_are_counted(queue: JobQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = make_registry(queue, GpuMetrics(FakeNvml()), InferenceTimes(queue, tmp_path), runners=3)

    def values(name: str) -> dict[str, float]:
        families = {one.name: one for one in parse_text(generate_latest(registry).decode())}
        return {sample.labels.get("state", ""): sample.value for sample in families[name].samples}

    for _ in range(3):
        queue.submit("run", {})
    job = queue.claim("me", 60)
    assert job is not None
    queue.runner_seen(runner("me", job.id))
    assert values("admlops_queue_depth") == {"": 2}
    assert values("admlops_jobs_in_progress") == {"": 1}
    assert values("admlops_workers") == {"idle": 0, "running": 1, "initializing": 2}
    queue.finish(job, Status.FAILED, error="no")
    assert values("admlops_jobs") == {"completed": 0, "failed": 1, "cancelled": 0, "timed_out": 0}
    queue.remove_finished(older_than_s=-1)
    assert values("admlops_jobs")["failed"] == 1, "a counter never falls"

    def away() -> Any:
        raise StorageError("the database is away", hint="start it")

    monkeypatch.setattr(queue, "counts", away)
    assert values("admlops_queue_up") == {"": 0}


def test_inference_times_are_read_once_from_the_runs_of_jobs(queue: JobQueue, noisy_runs: NoisyRuns) -> None:
    times = InferenceTimes(queue, noisy_runs.layout.runs)

    def counted() -> dict[str, float]:
        times.catch_up()
        samples = [sample for family in times.collect() for sample in family.samples if sample.name.endswith("_count")]
        return {sample.labels["model"]: sample.value for sample in samples}

    for output in ({"run": "near"}, {"models": [{"run": "near"}, {"run": "far"}]}, {"run": "gone"}):
        queue.submit("run", {})
        job = queue.claim("me", 60)
        assert job is not None
        queue.finish(job, Status.COMPLETED, output=output)
    lines = [one for run in (noisy_runs.near, noisy_runs.far) for one in run.records()]
    timed = [one.metadata.model_name for one in lines if one.metadata.inference_time is not None]
    assert timed
    for _ in range(2):
        assert counted() == {name: timed.count(name) for name in set(timed)}


def test_runs_of_any_job_are_found() -> None:
    output = {"run": "a", "models": [{"run": "b", "x": [{"run": "../etc"}]}], "battle": {"run": 7}}
    assert list(runs_of(output)) == ["a", "b"]
    assert list(runs_of(None)) == []
