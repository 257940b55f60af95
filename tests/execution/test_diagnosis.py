"""A worker's failure that is known carries its cause and what mends it: in the summary, the events, the records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import Admlops
from tests.execution.execution_bench import Bench

from admlops.core.errors import EnvError
from admlops.execution.failures import POLICIES, WorkerFailure, diagnose_failure
from admlops.results.record import FailureClass

LIBGL = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"


def diagnosed(kind: FailureClass, **facts: object) -> WorkerFailure:
    failure = WorkerFailure(kind=kind, **{"message": "the worker ended by itself with exit code 1", **facts})  # type: ignore[arg-type]
    return diagnose_failure(failure, model="MapTR", python=Path("/nowhere/bin/python"))


def test_a_worker_that_cannot_import_says_what_is_missing(bench: Bench) -> None:
    summary = bench.go(raw="import_error")
    assert summary.stopped_by
    assert "no_such_module_anywhere is not in the environment" in summary.stopped_by.summary
    assert summary.stopped_by.hint.startswith("admlops env verify StandIn")
    event = bench.events("failure")[-1]
    assert (event["rule"], event["hint"]) == ("module-missing", summary.stopped_by.hint)


def test_a_failure_that_is_not_known_keeps_its_class_advice(bench: Bench) -> None:
    summary = bench.go({"behaviour": "exit_3", "at": "b-1"})
    assert summary.failures[0].hint == POLICIES["crash"].hint
    assert bench.events("failure")[0]["rule"] is None


def test_the_log_of_a_crash_is_looked_at() -> None:
    failure = diagnosed("crash", detail=f"Traceback …\n{LIBGL}", starting=True)
    assert "libgl1" in failure.hint
    assert failure.for_record().message.endswith(
        "which whatever draws windows wants (opencv-python; opencv-python-headless does not)"
    )
    assert failure.for_record().hint == failure.hint


def test_a_failure_while_running_is_not_explained_by_a_rule_about_starting() -> None:
    said = "ModuleNotFoundError: No module named 'shapely'"
    assert diagnosed("model", message=said, starting=True).diagnosis is not None
    assert diagnosed("model", message=said, starting=False).diagnosis is None


def test_the_signal_counts() -> None:
    assert "full disk" in diagnosed("crash", signal="SIGBUS").summary
    assert diagnosed("crash", signal="SIGSEGV").diagnosis is None


@pytest.mark.parametrize("kind", ["hang", "cuda_oom", "host_oom", "data", "protocol", "cancelled", "poisoned"])
def test_classes_that_say_enough_are_left_alone(kind: FailureClass) -> None:
    assert diagnosed(kind, detail=LIBGL, starting=True).hint == POLICIES[kind].hint


def test_the_command_explains_the_last_failed_run(bench: Bench, admlops: Admlops, tmp_path: Path) -> None:
    bench.go(raw="import_error")
    runs = tmp_path / "repository" / "runs"
    runs.mkdir(parents=True)
    bench.path.rename(runs / "run")
    variables = {"ADMLOPS_ENVIRONMENTS": str(tmp_path / "no-environments")}
    for arguments in ((), ("run",)):
        said = admlops("doctor", *arguments, variables=variables).stdout
        assert "run: a worker of StandIn failed (model)" in said
        assert "(rule module-missing)" in said
        assert "→ admlops env verify StandIn" in said
    found = json.loads(admlops("doctor", "--json", variables=variables).stdout)
    assert found["diagnosis"]["rule"] == "module-missing"
    assert found["where"].endswith("worker-0.log")


def test_an_error_that_ended_a_run_is_told_too(bench: Bench, admlops: Admlops, tmp_path: Path) -> None:
    with pytest.raises(EnvError):
        bench.go(python=Path("/no/such/python"))
    assert bench.run.header.state == "failed"
    runs = tmp_path / "repository" / "runs"
    runs.mkdir(parents=True)
    bench.path.rename(runs / "run")
    variables = {"ADMLOPS_ENVIRONMENTS": str(tmp_path / "no-environments")}
    said = admlops("doctor", "run", variables=variables, check=False).stdout
    assert "run: the run of StandIn was ended by an error" in said
    assert "/no/such/python could not be started" in said
    shown = admlops("results", "show", "run", variables=variables).stdout
    assert "failed: /no/such/python could not be started" in shown
