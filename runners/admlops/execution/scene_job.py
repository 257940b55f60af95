"""What `execute` is asked for, what it tells on the way, and what it says at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from admlops.execution.deadlines import DEFAULT_DEADLINES, Deadlines
from admlops.execution.failures import Trouble
from admlops.execution.worker import WorkerCommand
from admlops.results.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class SceneJob:
    """One scene: its samples in time order, each in the shape that docs/architecture.md gives."""

    name: str
    samples: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run's work. The caller holds `run.lock()`.

    `command.variables` is a worker's whole environment (`process_environment(environment.variables)`). `settings` is
    the payload of the load frame without `variant` and `shrink`, which are added here. With `devices`, worker n gets
    the n-th of them, in turn, in place of the settings' own. Scenes that the run folder already holds are left out.
    """

    run: RunFolder
    model: str
    variant: str
    command: WorkerCommand
    settings: Mapping[str, Any]
    scenes: Sequence[SceneJob]
    workers: int = 1
    devices: Sequence[str] = ()
    deadlines: Deadlines = DEFAULT_DEADLINES
    grace_s: float = 5.0
    retry_limit: int = 20


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Something happened, in the order of events of each worker.

    worker   a worker was started: `pid`, for whoever measures its memory
    resumed  a scene was there from before: `samples` of them
    sample   one answer: `samples` is 1, `trouble` says why it failed if it did, `inference_time` [s] otherwise
    skip     the rest of a scene was given up: `samples` failed records, `trouble`
    retry    a scene begins anew: `samples` is negative, those that are taken back; `trouble` says why
    scene    a scene is whole and on disk
    stop     the run is being stopped because of `trouble`
    """

    kind: Literal["worker", "resumed", "sample", "skip", "retry", "scene", "stop"]
    worker: int = 0
    pid: int | None = None
    scene: str | None = None
    sample_token: str | None = None
    samples: int = 0
    inference_time: float | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run went. `ok` and `failed` count the samples on disk, `remaining` those that `--resume` would do.

    `troubles` holds one per failure class, the first that was seen, `stopped_by` the one that stopped the run;
    `left` are processes that outlived KILL.
    """

    state: Literal["complete", "failed", "cancelled"]
    ok: int
    failed: int
    remaining: int
    retries: int
    stopped_by: Trouble | None
    troubles: tuple[Trouble, ...] = ()
    left: list[int] = field(default_factory=list)
