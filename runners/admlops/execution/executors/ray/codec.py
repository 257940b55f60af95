"""What goes between the driver and a slot's actor, as JSON bytes: the worker's description, scenes, events, errors.

Answers of workers travel as the worker's own messages, and the driver validates them as the local executor does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw, Struct

from admlops.core import errors
from admlops.core.errors import AdmlopsError, UsageError
from admlops.execution.batches import Batch
from admlops.execution.deadlines import Deadlines
from admlops.execution.executor import (
    SampleAnswered,
    SceneAnswered,
    SceneRequest,
    SlotBroken,
    WorkerEvent,
    WorkerFailed,
    WorkerReady,
    WorkerStarted,
    WorkerStopped,
)
from admlops.execution.failures import WorkerFailure
from admlops.execution.messages import Failed, Hello, Ready, Result, decode_message
from admlops.execution.scene_job import WorkerSpec
from admlops.execution.worker import WorkerCommand
from admlops.worker.wire import FAILED, RESULT, Frame

NOTHING = Raw(b"null")


class Problem(Struct, frozen=True):
    """An error on its way from a node: the name of its class, what it said, and the next command."""

    kind: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """Describe an error."""
        if isinstance(error, AdmlopsError):
            return cls(kind=type(error).__name__, message=error.message, hint=error.hint)
        return cls(kind=type(error).__name__, message=str(error))

    def to_error(self, node: str) -> Exception:
        """Return an error of the same class that names the node; a defect of ours comes back as a RuntimeError."""
        kind = UsageError if self.kind == "MissingExtraError" else getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, AdmlopsError) and self.hint:
            return kind(f"node {node}: {self.message}", hint=self.hint)
        return RuntimeError(f"node {node}: {self.kind}: {self.message}")


class _Failure(Struct, frozen=True):
    kind: str
    message: str
    detail: str
    starting: bool
    signal: str | None
    batch: int
    advice: str


class _Event(Struct, frozen=True, omit_defaults=True):
    """One event; which fields it has depends on `kind`, the name of its class."""

    kind: str
    pid: int = 0
    mark: str = ""
    exit_code: int | None = None
    left: list[int] = []
    hello: Raw = NOTHING
    ready: Raw = NOTHING
    result: Raw = NOTHING
    failed: Raw = NOTHING
    failure: _Failure | None = None
    problem: Problem | None = None


class Happened(Struct, frozen=True, omit_defaults=True):
    """The events of a slot since the last look, and what was added to its worker's log."""

    events: list[_Event]
    log: str = ""
    ended: bool = False


_ENCODER = msgspec.json.Encoder()
_HAPPENED = msgspec.json.Decoder(Happened)
URGENT = (SceneAnswered, WorkerFailed, WorkerReady, WorkerStopped, SlotBroken, WorkerStarted)
"""Events that the driver acts upon: they are sent at once."""


def encode_happened(events: Sequence[WorkerEvent], *, log: str, ended: bool) -> bytes:
    """Return the bytes that `decode_happened` reads."""
    return _ENCODER.encode(Happened(events=[_pack(event) for event in events], log=log, ended=ended))


def decode_happened(content: bytes) -> Happened:
    """Return what happened, with its answers still as bytes. Raises DecodeError."""
    return _HAPPENED.decode(content)


def unpack_events(happened: Happened, *, slot: int, node: str) -> list[WorkerEvent]:
    """Return the events of a slot, under the number that it has in the run. Raises ProtocolError, DecodeError."""
    return [_unpack(event, slot, node) for event in happened.events]


def _pack(event: WorkerEvent) -> _Event:
    kind = type(event).__name__
    match event:
        case WorkerStarted():
            return _Event(kind=kind, pid=event.pid, mark=event.mark)
        case WorkerReady():
            return _Event(kind=kind, hello=_raw(event.hello), ready=_raw(event.ready))
        case SampleAnswered():
            answer = _raw(event.answer)
            return _Event(kind=kind, result=answer) if isinstance(event.answer, Result) else _Event(kind, failed=answer)
        case WorkerFailed():
            facts = {name: value for name, value in asdict(event.failure).items() if name in _Failure.__struct_fields__}
            return _Event(kind=kind, failure=_Failure(**facts))
        case WorkerStopped():
            return _Event(kind=kind, pid=event.pid, mark=event.mark, exit_code=event.exit_code, left=list(event.left))
        case SlotBroken():
            return _Event(kind=kind, problem=Problem.of(event.error))
        case _:
            return _Event(kind=kind)


def _unpack(event: _Event, slot: int, node: str) -> WorkerEvent:
    match event.kind:
        case "WorkerStarted":
            return WorkerStarted(slot=slot, pid=event.pid, mark=event.mark)
        case "WorkerReady":
            hello, ready = (msgspec.json.decode(raw, type=kind) for raw, kind in _greeting(event))
            return WorkerReady(slot=slot, hello=hello, ready=ready)
        case "SampleAnswered":
            frame = Frame(RESULT, bytes(event.result)) if bytes(event.result) != b"null" else _failed_frame(event)
            answer = decode_message(frame)
            assert isinstance(answer, Result | Failed), "an answer of another kind"
            return SampleAnswered(slot=slot, answer=answer)
        case "WorkerFailed":
            assert event.failure is not None, "a failure that is none"
            facts: Any = {name: getattr(event.failure, name) for name in _Failure.__struct_fields__}
            return WorkerFailed(slot=slot, failure=WorkerFailure(**facts))
        case "WorkerStopped":
            return WorkerStopped(
                slot=slot, pid=event.pid, mark=event.mark, exit_code=event.exit_code, left=list(event.left)
            )
        case "SlotBroken":
            assert event.problem is not None, "a problem that is none"
            return SlotBroken(slot=slot, error=event.problem.to_error(node))
        case _:
            return SceneAnswered(slot=slot)


def _greeting(event: _Event) -> tuple[tuple[Raw, Any], tuple[Raw, Any]]:
    return (event.hello, Hello), (event.ready, Ready)


def _failed_frame(event: _Event) -> Frame:
    return Frame(FAILED, bytes(event.failed))


def _raw(message: Struct) -> Raw:
    return Raw(_ENCODER.encode(message))


def encode_scene(request: SceneRequest, check: dict[str, int]) -> bytes:
    """Return a scene as bytes. `check` maps files of the data set that the node must have to their sizes."""
    return _ENCODER.encode(
        {
            "scene": request.scene,
            "samples": list(request.samples),
            "batch": None if request.batch is None else asdict(request.batch),
            "check": check,
        }
    )


def decode_scene(content: bytes) -> tuple[SceneRequest, dict[str, int]]:
    """Return the scene and the files to look for."""
    facts = msgspec.json.decode(content)
    batch = None if facts["batch"] is None else Batch(**facts["batch"])
    return SceneRequest(scene=facts["scene"], samples=facts["samples"], batch=batch), facts["check"]


def describe_spec(spec: WorkerSpec) -> dict[str, Any]:
    """Return a worker's description as plain values, without what each node finds for itself: variables and logs."""
    return {
        "model": spec.model,
        "python": str(spec.command.python),
        "adapter": str(spec.command.adapter),
        "cwd": str(spec.command.cwd),
        "settings": dict(spec.settings),
        "deadlines": asdict(spec.deadlines),
        "grace_s": spec.grace_s,
    }


def make_spec(facts: dict[str, Any], *, variables: dict[str, str], logs: Path) -> WorkerSpec:
    """Return the description that `describe_spec` gave, on a node."""
    return WorkerSpec(
        model=facts["model"],
        command=WorkerCommand(
            python=Path(facts["python"]),
            adapter=Path(facts["adapter"]),
            cwd=Path(facts["cwd"]),
            variables=variables,
        ),
        settings=facts["settings"],
        deadlines=Deadlines(**facts["deadlines"]),
        grace_s=facts["grace_s"],
        logs=logs,
    )
