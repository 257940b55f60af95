"""One piece of work in a process of a model's environment: its answer, and what went wrong in it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.models.both_ways import LAYOUT

from admlops.core.errors import AdmlopsError, DataError, RunFailedError, UsageError
from admlops.core.processes import process_environment
from admlops.execution.job_process import JobRequest, run_job
from admlops.execution.worker import WorkerCommand

ADAPTER = f"""
import sys
sys.path.insert(0, {str(LAYOUT.worker.parent)!r})
from worker.adapter import Adapter
from worker.main import main

class Small(Adapter):
    name = "Small"

if __name__ == "__main__":
    sys.exit(main(Small))
"""
PROGRAM = """
from .jobs import tell
from .network import NetworkError, refuse_export
from .samples.errors import DataError

def run(adapter, settings, request):
    tell("begun")
    {line}
"""


def do(folder: Path, line: str, said: list[str]) -> dict[str, object]:
    adapter, program = folder / "demo.py", folder / "program.py"
    adapter.write_text(ADAPTER)
    program.write_text(PROGRAM.format(line=line))
    command = WorkerCommand(python=Path(sys.executable), adapter=adapter, cwd=folder, variables=process_environment({}))
    job = JobRequest(
        model="Small",
        title="exporting Small",
        command=command,
        program=program,
        settings={"device": "cpu"},
        request={"number": 3},
        log=folder / "job.log",
    )
    return run_job(job, say=said.append)


def test_a_job_answers_and_tells_how_far_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    assert do(tmp_path, "return {'model': adapter.name, 'twice': 2 * request['number']}", said) == {
        "model": "Small",
        "twice": 6,
    }
    assert said == ["begun"]


@pytest.mark.parametrize(
    ("line", "kind", "text", "hint"),
    [
        (
            "raise refuse_export(adapter.name, 'its neck gives 3 levels')",
            UsageError,
            "exporting Small: Small cannot be exported: its neck gives 3 levels",
            "admlops models show Small   # lists its other configurations",
        ),
        (
            "raise NetworkError('the file was exported for 3', hint='admlops export Small --axis height=4')",
            UsageError,
            "exporting Small: the file was exported for 3",
            "admlops export Small --axis height=4",
        ),
        (
            "raise NetworkError('image is float64')",
            RunFailedError,
            "exporting Small: NetworkError: image is float64",
            "less {folder}/job.log   # has the traceback",
        ),
        (
            "raise DataError('0.jpg cannot be read')",
            DataError,
            "exporting Small: DataError: 0.jpg cannot be read",
            "less {folder}/job.log   # has the traceback",
        ),
    ],
)
def test_a_mistake_has_its_own_next_command_and_any_other_failure_the_log(
    tmp_path: Path, line: str, kind: type[AdmlopsError], text: str, hint: str
) -> None:
    with pytest.raises(AdmlopsError) as refused:
        do(tmp_path, line, [])
    assert (type(refused.value), refused.value.message) == (kind, text)
    assert refused.value.hint == hint.format(folder=tmp_path)
    assert "Traceback" in (tmp_path / "job.log").read_text()
