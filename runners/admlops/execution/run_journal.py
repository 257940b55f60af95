"""Telling what happens in a run: to its folder's `events.jsonl`, and to whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import UNSET, structs

from admlops.execution.executor import WorkerReady, WorkerStarted, WorkerStopped
from admlops.execution.failures import WorkerFailure
from admlops.execution.scene_job import Job, RunEvent
from admlops.execution.slot_states import SlotState

OnEvent = Callable[[RunEvent], None]


class RunJournal:
    """Writes the events of one run down and passes them on, both in the coordinator's thread."""

    def __init__(self, job: Job, on_event: OnEvent) -> None:
        self._run = job.run
        self._on_event = on_event

    def note(self, kind: str, slot: SlotState, **facts: Any) -> None:
        """Write an event of a slot into the run's folder. Raises StorageError."""
        self._run.append_event(kind, worker=slot.number, **facts)

    def note_started(self, slot: SlotState, event: WorkerStarted) -> None:
        """Write down that a worker has begun."""
        node = {"node": slot.device.node} if slot.device.node else {}
        self.note(
            "worker_started", slot, pid=event.pid, mark=event.mark, shrink=slot.shrink, device=slot.device.id, **node
        )

    def note_ready(self, slot: SlotState, event: WorkerReady) -> None:
        """Write down how a worker has loaded its model."""
        self.note(
            "worker_ready",
            slot,
            python=event.hello.python,
            libraries=event.hello.libraries,
            digest=event.hello.digest,
            device_name=event.ready.device_name,
            fixes=event.ready.fixes,
            precision=None if event.ready.precision is UNSET else structs.asdict(event.ready.precision),
        )

    def note_stopped(self, slot: SlotState, event: WorkerStopped) -> None:
        """Write down how a worker has ended."""
        self.note("worker_stopped", slot, pid=event.pid, mark=event.mark, exit_code=event.exit_code, left=event.left)

    def note_failure(
        self, slot: SlotState, failure: WorkerFailure, action: str, *, sample_token: str | None = None
    ) -> None:
        """Write down a failure and what is done about it."""
        self.note(
            "failure",
            slot,
            **{"class": failure.kind},
            message=failure.message,
            detail=failure.detail,
            starting=failure.starting,
            rule=failure.diagnosis.rule if failure.diagnosis else None,
            hint=failure.hint,
            action=action,
            scene=None if slot.attempt is None else slot.attempt.scene.name,
            sample_token=sample_token,
        )

    def note_refused_graphs(self, slot: SlotState, reasons: Mapping[str, str]) -> None:
        """Write down which parts of the network a worker runs without a CUDA graph, and why."""
        self.note("graphs_refused", slot, reasons=dict(reasons))

    def note_lost(self, slots: Sequence[SlotState], failure: WorkerFailure) -> None:
        """Say that a device is gone, with the slots on it: which one of which machine, why, and what to do."""
        slot = slots[0]
        device = slot.slot.device
        self.note(
            "device_lost",
            slot,
            workers=[one.number for one in slots],
            node=slot.slot.node,
            device=device.id,
            device_name=device.name,
            uuid=device.uuid,
            **{"class": failure.kind},
            reason=failure.reason,
            hint=failure.hint,
        )
        self.tell(slot, "lost", failure=failure)

    def note_joined(self, slot: SlotState) -> None:
        """Say that there is a new slot."""
        device = slot.slot.device
        self.note("slot_joined", slot, node=slot.slot.node, device=device.id, device_name=device.name, uuid=device.uuid)
        self.tell(slot, "joined")

    def note_scene(self, slot: SlotState) -> None:
        """Say that the slot's scene is whole and on the disk."""
        assert slot.attempt is not None, "the end of no scene"
        scene, recorder = slot.attempt.scene.name, slot.attempt.recorder
        self._run.append_event("scene", scene=scene, samples=recorder.done, failed=recorder.failed)
        self._on_event(RunEvent(kind="scene", worker=slot.number, scene=scene))

    def note_stop(self, failure: WorkerFailure) -> None:
        """Say that the run is being stopped."""
        if failure.kind == "cancelled":
            self._run.append_event("cancelled")
        self._on_event(RunEvent(kind="stop", failure=failure))

    def tell(self, slot: SlotState, kind: Any, **facts: Any) -> None:
        """Pass on an event of the slot's scene to whoever watches."""
        scene = None if slot.attempt is None else slot.attempt.scene.name
        self._on_event(RunEvent(kind=kind, worker=slot.number, scene=scene, **facts))

    def tell_started(self, slot: SlotState, event: WorkerStarted) -> None:
        """Pass on that there is a worker; its pid means something on this machine alone."""
        self._on_event(RunEvent(kind="worker", worker=slot.number, pid=None if slot.device.node else event.pid))

    def tell_resumed(self, scene: str, samples: int) -> None:
        """Pass on that a scene was there from before."""
        self._on_event(RunEvent(kind="resumed", scene=scene, samples=samples))
