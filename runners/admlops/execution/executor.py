"""The interface of an executor: worker slots, commands to them, and events from them.

An executor has no policy. It starts a worker where it is told to, hands it a scene, and passes on what happens.
Retries, failure classes, records and counts are the coordinator's, and so the same for every executor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from admlops.execution.batches import Batch
from admlops.execution.cancel import CancelToken
from admlops.execution.failures import WorkerFailure
from admlops.execution.messages import Failed, Hello, Ready, Result
from admlops.execution.scene_job import WorkerSpec
from admlops.health.devices import ComputeDevice


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """A person's choice: `devices` as `--devices` takes them, `workers` for each device.

    `machine` is what `describe_machine` gave, for executors that run here. For those that run elsewhere `address` is
    the cluster's, and `data_map` is the data set's root by the name of a node.
    """

    devices: str = "auto"
    workers: int = 1
    machine: Mapping[str, Any] = field(default_factory=dict)
    address: str | None = None
    data_map: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place for one worker: its number in the run, the device that it has, and the machine that the device is in.

    `node` names one machine among several; it is empty for this one. No number is used twice in a run.
    """

    number: int
    device: ComputeDevice
    node: str = ""


@dataclass(frozen=True, kw_only=True)
class SceneRequest:
    """A scene for a worker: its samples in order, in the form of docs/architecture.md, with relative paths.

    `batch` says how many of them it may take at once; None: one.
    """

    scene: str
    samples: Sequence[Mapping[str, Any]]
    batch: Batch | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerStarted:
    """A worker process is there; `mark` is in the environment of everything that it starts."""

    slot: int
    pid: int
    mark: str


@dataclass(frozen=True, kw_only=True)
class WorkerReady:
    """The model is loaded."""

    slot: int
    hello: Hello
    ready: Ready


@dataclass(frozen=True, kw_only=True)
class SampleAnswered:
    """The worker's answer for the next sample of its scene."""

    slot: int
    answer: Result | Failed


@dataclass(frozen=True, kw_only=True)
class SceneAnswered:
    """Every sample of the scene has its answer; the worker waits for the next scene."""

    slot: int


@dataclass(frozen=True, kw_only=True)
class WorkerFailed:
    """The worker is of no further use and must be stopped."""

    slot: int
    failure: WorkerFailure


@dataclass(frozen=True, kw_only=True)
class WorkerStopped:
    """The worker has ended, as asked. `left` are processes of its own that outlived KILL."""

    slot: int
    pid: int
    mark: str
    exit_code: int | None
    left: list[int]


@dataclass(frozen=True, kw_only=True)
class SlotBroken:
    """The executor itself failed, such as by a full disk; the run ends with this error."""

    slot: int
    error: BaseException


@dataclass(frozen=True, kw_only=True)
class SlotLost:
    """The place is gone, and its worker with it: its node was lost, or its card fell off the bus.

    No other event of it follows; a late one, such as an answer, is ignored. `reason` says what was seen, `hint` what a
    person can do about it; empty: the advice of the class `lost`.
    """

    slot: int
    reason: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class SlotJoined:
    """A new place, such as one of a node that came back. Its number is new in the run."""

    slot: Slot


WorkerEvent = (
    WorkerStarted
    | WorkerReady
    | SampleAnswered
    | SceneAnswered
    | WorkerFailed
    | WorkerStopped
    | SlotBroken
    | SlotLost
    | SlotJoined
)


class Executor(Protocol):
    """Who runs workers: this machine, or a cluster. One object serves one run.

    The order of calls: `slots`, `start`, then for each slot `start_worker` (answered by WorkerStarted and WorkerReady),
    `run_scene` (by a SampleAnswered each sample, then SceneAnswered) and `stop_worker` (by WorkerStopped), and `close`.
    WorkerFailed may come instead of any answer; then the slot gets `stop_worker`. SlotLost may come at any time; ignore
    calls for the slot that were made before the coordinator took the event. Calls return at once.
    """

    def slots(self) -> Sequence[Slot]:
        """Return the places for workers, before anything is started.

        Raises:
            UsageError: a device that was asked for is not there.
        """

    def start(self, worker: WorkerSpec, cancel: CancelToken) -> None:
        """Prepare for workers of this kind. A set token interrupts the workers; `close` follows."""

    def start_worker(self, slot: int, *, shrink: int) -> None:
        """Start a worker in a slot that has none. `shrink` is the load frame's."""

    def run_scene(self, slot: int, request: SceneRequest) -> None:
        """Hand a scene to a worker that is ready."""

    def stop_worker(self, slot: int, *, grace_s: float) -> None:
        """End the slot's worker, whatever it is at, with all it has started. No other event of it follows."""

    def next_event(self, timeout_s: float) -> WorkerEvent | None:
        """Return the next event of any slot, in each slot's order, or None after `timeout_s` without one."""

    def close(self) -> Sequence[WorkerEvent]:
        """End every worker and wait for it; return the events that nobody has taken. May be called twice."""


@runtime_checkable
class Joinable(Protocol):
    """An executor to which places can be added while a run goes on."""

    @property
    def join_wait_s(self) -> float:
        """How long a run that has lost its last place waits for another [s]."""
