"""The work of a run, the events on its way, and the summary at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from admlops.execution.batches import Batch
from admlops.execution.deadlines import DEFAULT_DEADLINES, Deadlines
from admlops.execution.failures import WorkerFailure
from admlops.execution.messages import Usage
from admlops.execution.output_check import ExpectedOutputs
from admlops.execution.worker import WorkerCommand
from admlops.results.record import Failure
from admlops.results.run_folder import RunFolder


class SampleRef(NamedTuple):
    """A sample by its token, and its place in its whole scene, from 0."""

    token: str
    index_in_scene: int


@dataclass(frozen=True, kw_only=True)
class SceneJob:
    """One scene: the samples to run, in time order. It names them; their content is read when the scene begins."""

    name: str
    samples: Sequence[SampleRef]


class SampleSource(Protocol):
    """The source of samples' content."""

    def read(self, token: str) -> Mapping[str, Any]:
        """Return the sample in the form of docs/architecture.md, with paths relative to the data set's root.

        Raises:
            DataError: the tables do not hold it whole.
        """


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run's work. The caller holds `run.lock()`.

    `command.variables` is a worker's whole environment (`process_environment(environment.variables)`). `settings` is
    the payload of the load frame without what a worker's slot and retries add: `device`, `variant`, `shrink`.
    `data_root` is where workers find the data set, `runtime` the id and the module's path of what executes the network,
    and folders with packages that it needs.
    Records are checked against `expected` when they are written. Scenes that the run folder already holds are left out;
    with `retry_failed` those with failed samples are done again: whole scenes of a `temporal` model, else the failed
    samples alone. `batch` says how many samples a worker may take at once; None: one.
    """

    run: RunFolder
    model: str
    variant: str
    command: WorkerCommand
    settings: Mapping[str, Any]
    scenes: Sequence[SceneJob]
    samples: SampleSource
    data_root: str = ""
    runtime: Mapping[str, Any] | None = None
    expected: ExpectedOutputs | None = None
    temporal: bool = True
    batch: Batch | None = None
    retry_failed: bool = False
    deadlines: Deadlines = DEFAULT_DEADLINES
    grace_s: float = 5.0
    retry_limit: int = 20

    @property
    def worker(self) -> WorkerSpec:
        """The description of every worker of the run."""
        return WorkerSpec(
            model=self.model,
            command=self.command,
            settings={**self.settings, "variant": self.variant, "data_root": self.data_root, "runtime": self.runtime},
            deadlines=self.deadlines,
            grace_s=self.grace_s,
            logs=self.run.logs_path,
        )


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """A worker's description, the same in every slot: an executor starts it anywhere.

    `settings` is the payload of the load frame without `device` and `shrink`. `logs` is the folder for workers' logs.
    """

    model: str
    command: WorkerCommand
    settings: Mapping[str, Any]
    deadlines: Deadlines
    grace_s: float
    logs: Path


@dataclass(frozen=True, kw_only=True)
class RunEvent:
    """An event of a run, in the order of events of each worker.

    worker   a worker was started: `pid`, for whoever measures its memory
    resumed  a scene was there from before: `samples` of them
    sample   one answer: `samples` is 1, `failure` says why it failed if it did, `inference_time` [s] otherwise;
             `batch` is how many samples went together with it, `usage` what the worker has taken until then
    skip     the rest of a scene was given up: `samples` failed records, `failure`
    retry    a scene is done again: `samples` is negative, those that are taken back; `failure` says why. Without one,
             the attempt of another worker, further or first, counts, and `samples` is the difference
    scene    a scene is whole and on disk
    lost     the worker's place is gone or its device taken out, `failure` says why; its scene is done elsewhere
    joined   a new place has come, which is `worker`
    stop     the run is being stopped because of `failure`
    """

    kind: Literal["worker", "resumed", "sample", "skip", "retry", "scene", "lost", "joined", "stop"]
    worker: int = 0
    pid: int | None = None
    scene: str | None = None
    sample_token: str | None = None
    samples: int = 0
    inference_time: float | None = None
    batch: int = 1
    usage: Usage | None = None
    failure: WorkerFailure | None = None


@dataclass(frozen=True, kw_only=True)
class LostPlace:
    """A device that a run has lost or taken out: the workers on it, the machine (empty: this one), and when [unix s].

    `failure` says why, and what to do.
    """

    workers: tuple[int, ...]
    device: str
    device_name: str
    node: str
    at: float
    failure: WorkerFailure


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The outcome of a run. `ok` and `failed` count the samples on disk, `remaining` those that `--resume` would do.

    `failures` holds one per failure class, the first that was seen; `stopped_by` the one that stopped the run;
    `dropped` counts the failed samples of scenes that were not finished, `first_failed` is the first failed record on
    disk; `left` are processes that outlived KILL; `lost` are the places that went away.
    """

    state: Literal["complete", "failed", "cancelled"]
    ok: int
    failed: int
    remaining: int
    retries: int
    stopped_by: WorkerFailure | None
    failures: tuple[WorkerFailure, ...] = ()
    dropped: int = 0
    first_failed: Failure | None = None
    left: list[int] = field(default_factory=list)
    lost: tuple[LostPlace, ...] = ()
