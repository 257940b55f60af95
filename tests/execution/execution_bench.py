"""What the tests of this folder share: a run folder with a job of stand-in workers, and questions about how it went."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from admlops.core.processes import process_environment
from admlops.execution.cancel import CancelToken
from admlops.execution.coordinator import execute
from admlops.execution.deadlines import Deadlines
from admlops.execution.executor import Executor, ExecutorOptions
from admlops.execution.executors.local import LocalExecutor
from admlops.execution.process_cleanup import find_processes
from admlops.execution.scene_job import Job, RunEvent, SampleRef, SceneJob, Summary
from admlops.execution.worker import WorkerCommand
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Record
from admlops.results.run_folder import RunFolder

WORKERS = Path(__file__).parent / "workers"
PATIENT = Deadlines(start_s=60, call_s=60, silence_s=60, total_s=300)


def make_scenes(shape: Mapping[str, int]) -> list[SceneJob]:
    """Scenes of so many samples, with tokens such as `a-0`."""
    return [
        SceneJob(name=name, samples=tuple(SampleRef(f"{name}-{index}", index) for index in range(count)))
        for name, count in shape.items()
    ]


class PlainSamples:
    """Samples that say no more than which they are."""

    def read(self, token: str) -> Mapping[str, Any]:
        scene, _, index = token.rpartition("-")
        return {"sample_token": token, "scene": scene, "index_in_scene": int(index)}


def make_header(shape: Mapping[str, int], *, name: str = "run", **changes: Any) -> RunHeader:
    facts: dict[str, Any] = {
        "run": name,
        "model": "StandIn",
        "variant": "plain",
        "environment": EnvironmentInfo(name="none", digest="0", backend="none", python=sys.version.split()[0]),
        "data": DataInfo(root="/none", version="none", split=None, samples_sha256="0", synthetic=True),
        "provenance": Provenance(commit=None, admlops="0", host="test"),
        "scenes": dict(shape),
        "settings": {"device": "cpu"},
        "created": "2026-01-01T00:00:00Z",
    }
    return RunHeader(**{**facts, **changes})


@dataclass
class Bench:
    """One run folder below `folder`; `go` executes (or goes on with) the run."""

    folder: Path
    shape: dict[str, int] = field(default_factory=lambda: {"a": 4, "b": 4, "c": 4})
    summary: Summary | None = None
    progress: list[RunEvent] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "run"

    @property
    def run(self) -> RunFolder:
        return RunFolder.open(self.path)

    def go(
        self,
        options: Mapping[str, Any] | None = None,
        *,
        raw: str | None = None,
        adapter: str = "stand_in.py",
        workers: int = 1,
        deadlines: Deadlines = PATIENT,
        python: Path = Path(sys.executable),
        devices: str = "cpu",
        executor: Executor | None = None,
        cancel: CancelToken | None = None,
        **more: Any,
    ) -> Summary:
        """Execute with the stand-in `adapter` that has `options`, or with the raw worker that behaves as `raw` says."""
        run = self.run if self.path.exists() else RunFolder.create(self.path, make_header(self.shape))
        job = Job(
            run=run,
            model="StandIn",
            variant="plain",
            command=WorkerCommand(
                python=python,
                adapter=WORKERS / ("raw.py" if raw else adapter),
                cwd=self.folder,
                variables=process_environment({"BEHAVIOUR": raw}),
            ),
            scenes=make_scenes(self.shape),
            deadlines=deadlines,
            **{"grace_s": 0.3, "samples": PlainSamples(), "settings": {"options": dict(options or {})}, **more},
        )
        runner = executor or LocalExecutor(ExecutorOptions(devices=devices, workers=workers))
        with run.lock():
            self.summary = execute(job, executor=runner, on_event=self.progress.append, cancel=cancel)
        return self.summary

    def records(self) -> list[Record]:
        return list(self.run.records())

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.run.events() if event["event"] == kind]

    def failures(self) -> list[tuple[str, str]]:
        """(class, what was done about it), one for each failure."""
        return [(event["class"], event["action"]) for event in self.events("failure")]

    def log(self, number: int = 0) -> str:
        return (self.path / "logs" / f"worker-{number}.log").read_text(errors="replace")

    def living(self, *, patience_s: float = 0.0) -> list[int]:
        """The processes that still carry the mark of one of this run's workers."""
        marks = frozenset(event["mark"] for event in self.events("worker_started"))
        assert marks, "no worker was started"
        deadline = time.monotonic() + patience_s
        while (found := find_processes(marks)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def tokens(self) -> list[str]:
        return [record.metadata.sample_token for record in self.records()]

    def all_tokens(self) -> list[str]:
        return [f"{name}-{index}" for name, count in self.shape.items() for index in range(count)]


class Watched(list[Any]):
    """A list of events that calls a function with each of them."""

    def __init__(self, on_append: Callable[[Any], None]) -> None:
        super().__init__()
        self._on_append = on_append

    def append(self, item: Any) -> None:
        super().append(item)
        self._on_append(item)
