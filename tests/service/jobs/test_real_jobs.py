"""Jobs that run, evaluate and compare the embedded model on synthetic scenes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.service.jobs.conftest import PATIENCE_S, Jobs

from admlops.core.paths import find_layout
from admlops.environments import Environment
from admlops.results.run_folder import RunFolder, records_digest
from admlops.service.jobs.folders import run_name
from admlops.service.jobs.settings import JobSettings
from admlops.service.queue.job import Job, Status

pytestmark = pytest.mark.full
MODEL = "GroundPlane"


@pytest.fixture(scope="module")
def real_jobs(
    tmp_path_factory: pytest.TempPathFactory, synthetic_root: Path, groundplane_environment: Environment
) -> Iterator[Jobs]:
    """A runner that goes on for all tests, whose jobs may read the synthetic scenes alone."""
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADMLOPS_REP_PATH", str(folder / "repository"))
        settings = JobSettings(
            database=f"sqlite:///{folder / 'queue.sqlite3'}", data_roots=(synthetic_root.parent,), grace_s=20.0
        )
        jobs = Jobs(find_layout(), settings)
        jobs.start_runner()
        yield jobs
        jobs.stop()
        jobs.queue.database.close()


def submit(jobs: Jobs, endpoint: str, **given: object) -> Job:
    if endpoint != "evaluate":
        given = {"data": "nuscenes", "split": "mini_val", "device": "cpu", **given}
    return jobs.queue.submit(endpoint, given)


@pytest.fixture(scope="module")
def unbroken(real_jobs: Jobs) -> Job:
    """A run that nobody disturbed."""
    return real_jobs.wait(submit(real_jobs, "run", model=MODEL))


def open_run(jobs: Jobs, job: Job) -> RunFolder:
    return RunFolder.open(jobs.layout.runs / run_name(MODEL, job.id))


def test_a_run_says_its_scenes_its_metrics_and_its_report(real_jobs: Jobs, unbroken: Job) -> None:
    assert unbroken.status is Status.COMPLETED, (unbroken.error, real_jobs.log(unbroken))
    output = unbroken.output
    run = open_run(real_jobs, unbroken)
    assert output["run"] == run.path.name
    assert (output["samples"], output["failed"], output["state"]) == (8, 0, "complete")
    by_name = {(one["protocol"].partition("@")[0], one["name"]): one for one in output["metrics"]}
    assert by_name["nuscenes.detection_cvpr_2019", "mATE"]["unit"] == "m"
    assert (real_jobs.layout.repository / output["report"]).read_text().startswith("<!doctype html>")
    chunks = [chunk.content for chunk in real_jobs.queue.take_chunks(unbroken.id)]
    assert [(one["scene"], one["samples"], one["failed"]) for one in chunks] == [
        (name, 4, 0) for name in run.header.scenes
    ]
    assert all(one["latency_p50_ms"] > 0 for one in chunks)


def test_a_condition_chooses_scenes_and_what_is_evaluated(real_jobs: Jobs, unbroken: Job) -> None:
    first, _ = open_run(real_jobs, unbroken).header.scenes
    done = real_jobs.wait(submit(real_jobs, "run", model=MODEL, where=f"scene = '{first}' and index_in_scene < 2"))
    assert done.status is Status.COMPLETED, (done.error, real_jobs.log(done))
    assert done.output["samples"] == 4  # the scene is run whole
    assert list(open_run(real_jobs, done).header.scenes) == [first]


def test_a_run_that_is_killed_in_the_middle_goes_on_with_its_scenes(real_jobs: Jobs, unbroken: Job) -> None:
    job = submit(real_jobs, "run", model=MODEL)
    first, second = open_run(real_jobs, unbroken).header.scenes
    records = real_jobs.layout.runs / run_name(MODEL, job.id) / "records"
    deadline = time.monotonic() + PATIENCE_S
    while not (records / f"{first}.jsonl").exists():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(real_jobs.find_process(job), signal.SIGKILL)
    assert not (records / f"{second}.jsonl").exists(), "it was killed too late"
    before = (records / f"{first}.jsonl").stat().st_mtime_ns
    done = real_jobs.wait(job)
    assert (done.status, done.attempt) == (Status.COMPLETED, 2), (done.error, real_jobs.log(job))
    assert (records / f"{first}.jsonl").stat().st_mtime_ns == before
    assert "going on with" in real_jobs.log(job)
    assert records_digest(open_run(real_jobs, job)) == records_digest(open_run(real_jobs, unbroken))
    assert [chunk.content["scene"] for chunk in real_jobs.queue.chunks_after(job.id)] == [first, second]
    plain = [{k: v for k, v in one.items() if k != "interval"} for one in unbroken.output["metrics"]]
    assert [{k: v for k, v in one.items() if k != "interval"} for one in done.output["metrics"]] == plain
    assert open_run(real_jobs, job).check_manifest() == []


def test_a_run_in_progress_is_cancelled_and_can_be_retried(real_jobs: Jobs, unbroken: Job) -> None:
    job = submit(real_jobs, "run", model=MODEL)
    real_jobs.wait(job, lambda job: job.progress is not None)
    real_jobs.queue.cancel(job.id)
    done = real_jobs.wait(job)
    assert done.status is Status.CANCELLED, (done.error, real_jobs.log(job))
    assert open_run(real_jobs, job).header.state == "cancelled"
    real_jobs.queue.retry(job.id)
    again = real_jobs.wait(job)
    assert (again.status, again.attempt) == (Status.COMPLETED, 2)
    assert records_digest(open_run(real_jobs, job)) == records_digest(open_run(real_jobs, unbroken))


def test_evaluate_compare_and_battle(real_jobs: Jobs, unbroken: Job) -> None:
    run = unbroken.output["run"]
    other = real_jobs.wait(submit(real_jobs, "run", model=MODEL, limit=2, evaluate=False))
    assert other.status is Status.COMPLETED, other.error
    assert other.output["metrics"] == []
    there = {path.name for path in real_jobs.layout.runs.iterdir()}
    jobs = [
        submit(real_jobs, "evaluate", run=other.output["run"]),
        submit(real_jobs, "compare", models=[MODEL]),
        submit(real_jobs, "battle", model_a=run, model_b=other.output["run"]),
        submit(real_jobs, "battle", model_a=MODEL, model_b=run, limit=4),
    ]
    evaluated, compared, runs, mixed = (real_jobs.wait(job) for job in jobs)
    for one in (evaluated, compared, runs, mixed):
        assert one.status is Status.COMPLETED, (one.error, real_jobs.log(one))
        assert (real_jobs.layout.repository / one.output["report"]).is_file()
    assert evaluated.output["metrics"]
    assert set(compared.output["runs"]) <= there  # a finished run that is alike is used again
    assert {chunk.content["model"] for chunk in real_jobs.queue.chunks_after(compared.id)} == {MODEL}
    assert runs.output["winner"] is None
    assert runs.output["battle"]["verdict"] == "not comparable"
    assert mixed.output["battle"]["verdict"] in {"not comparable", "not decided"}
    assert msgspec.json.decode((real_jobs.layout.repository / compared.output["summary"]).read_bytes())["models"]


def test_a_job_that_cannot_be_done_says_why(real_jobs: Jobs) -> None:
    job = submit(real_jobs, "run", model=MODEL, split="no_such_split")
    done = real_jobs.wait(job)
    assert (done.status, done.attempt, done.error_class) == (Status.FAILED, 1, "Data")
    assert "no_such_split" in str(done.error)
