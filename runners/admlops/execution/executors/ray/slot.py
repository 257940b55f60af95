"""One slot on a node: an actor of Ray's that owns a share of a GPU and a worker process.

Its methods take and return bytes, always JSON; docs/cluster.md says why. Commands are queued and carried out by a
thread that lives as long as the actor, because the kernel ends a worker with the thread that made it.
"""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from admlops.execution.cancel import CancelToken
from admlops.execution.cluster.code import describe_node
from admlops.execution.cluster.marks import ACTOR_VARIABLE, CLUSTER_VARIABLE, end_marked, is_alive, own_actor_mark
from admlops.execution.executor import SceneAnswered, Slot, SlotBroken, WorkerEvent
from admlops.execution.executors.ray.codec import (
    URGENT,
    Problem,
    decode_scene,
    encode_happened,
    make_spec,
)
from admlops.execution.executors.ray.node import check_data, prepare
from admlops.execution.scene_runner import SceneRunner
from admlops.health.devices import VISIBLE, ComputeDevice, choose_devices, visible_devices
from admlops.health.machine import describe_machine

EVENTS_WAITING = 256
"""How far a worker may be ahead of the driver."""
EVENTS_AT_ONCE = 16
GATHER_S = 0.05
"""How long answers are gathered before they are sent, unless one of them lets the driver act."""
FOLDER = "admlops-slot-"
LOG_BYTES = 256 << 10
"""How much of a worker's log goes to the driver at once."""


def describe(request: bytes) -> bytes:
    """Return what `describe_node` says, as JSON. A task of Ray's, on each node."""
    del request
    return msgspec.json.encode(describe_node())


class RaySlot:
    """The actor. Concurrency groups: `commands` in order, `events` one at a time, `control` beside both."""

    def __init__(self) -> None:
        self._events: queue.Queue[WorkerEvent] = queue.Queue(maxsize=EVENTS_WAITING)
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._cancel = CancelToken()
        self._runner: SceneRunner | None = None
        self._data_root = ""
        self._logs = _own_folder()
        self._log_offset = 0
        self._has_ended = False
        self._thread = threading.Thread(target=self._work, name="worker-slot", daemon=True)
        self._thread.start()

    def device(self, request: bytes) -> bytes:
        """Return the device that Ray has given this slot, and this process's id."""
        self._device = _own_device(msgspec.json.decode(request)["devices"])
        return msgspec.json.encode({"uuid": self._device.uuid, "name": self._device.name, "pid": os.getpid()})

    def prepare(self, request: bytes) -> bytes:
        """Check code, files and data, ensure the environment, and be ready for a worker."""
        remarks: list[str] = []
        try:
            self._prepare(msgspec.json.decode(request), remarks)
        except Exception as error:  # noqa: BLE001  an actor's edge: the driver raises it
            return msgspec.json.encode({"problem": Problem.of(error), "remarks": remarks})
        return msgspec.json.encode({"problem": None, "remarks": remarks})

    def start_worker(self, request: bytes) -> bytes:
        """Queue the start of a worker."""
        shrink = msgspec.json.decode(request)["shrink"]
        self._add(lambda runner: runner.start_worker(shrink))
        return b""

    def run_scene(self, request: bytes) -> bytes:
        """Queue a scene."""
        scene, check = decode_scene(request)

        def run(runner: SceneRunner) -> None:
            check_data(self._data_root, check)
            runner.run_scene(scene)

        self._add(run)
        return b""

    def stop_worker(self, request: bytes) -> bytes:
        """Interrupt the worker and queue its end."""
        grace_s = msgspec.json.decode(request)["grace_s"]
        if self._runner is not None:
            self._runner.interrupt()
        self._add(lambda runner: runner.stop_worker(grace_s))
        return b""

    def end(self, request: bytes) -> bytes:
        """Interrupt the worker, end it, then the thread; `events` says when that is done."""
        del request
        self._cancel.cancel()
        self._add(lambda runner: runner.end())
        self._commands.put(None)
        return b""

    def events(self, request: bytes) -> bytes:
        """Wait for events and return them, with what was added to the worker's log."""
        limit_s = msgspec.json.decode(request)["wait_s"]
        found: list[WorkerEvent] = []
        deadline = time.monotonic() + limit_s
        while len(found) < EVENTS_AT_ONCE:
            try:
                found.append(self._events.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                break
            if isinstance(found[-1], URGENT):
                break
            if len(found) == 1:
                deadline = time.monotonic() + GATHER_S
        ended = self._has_ended and self._events.empty()
        log = self._read_log()
        if ended:
            shutil.rmtree(self._logs, ignore_errors=True)
        return encode_happened(found, log=log, ended=ended)

    def _prepare(self, facts: Mapping[str, Any], remarks: list[str]) -> None:
        cluster = os.environ.get(CLUSTER_VARIABLE)
        if cluster:
            left = end_marked([cluster], orphans=True)
            if left:
                remarks.append(f"processes of an earlier run outlive KILL: {', '.join(map(str, left))}")
        for name in _set_by_ray():
            os.environ.pop(name, None)
        spec, variables = prepare(facts, say=remarks.append)
        for name in [name for name in variables if name.startswith("RAY_")]:
            del variables[name]
        variables[ACTOR_VARIABLE] = own_actor_mark()
        self._data_root = str(spec["settings"].get("data_root") or "")
        slot = Slot(number=facts["slot"], device=self._device)
        self._log = self._logs / f"worker-{slot.number}.log"
        self._runner = SceneRunner(
            make_spec(spec, variables=variables, logs=self._logs), slot, emit=self._events.put, cancel=self._cancel
        )

    def _add(self, command: Callable[[SceneRunner], None]) -> None:
        def carry_out() -> None:
            if self._runner is None:
                return  # it could not be prepared, and the driver knows
            try:
                command(self._runner)
            except Exception as error:  # noqa: BLE001  a thread's edge: the driver raises it
                self._events.put(SlotBroken(slot=0, error=error))

        self._commands.put(carry_out)

    def _work(self) -> None:
        while (command := self._commands.get()) is not None:
            command()
        self._has_ended = True
        self._events.put(SceneAnswered(slot=0))  # wakes `events`; nobody waits for a scene any more

    def _read_log(self) -> str:
        """Return what was added to the worker's log; after a cut in its middle, its end."""
        if self._runner is None:
            return ""
        with suppress(OSError), self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < self._log_offset:
                self._log_offset = max(0, size - LOG_BYTES)
            file.seek(self._log_offset)
            piece = file.read(LOG_BYTES)
            self._log_offset += len(piece)
            return piece.decode("utf-8", "replace")
        return ""


def _own_device(kind: str) -> ComputeDevice:
    """The device that Ray has given this process: the CPU, or the GPU of CUDA_VISIBLE_DEVICES."""
    machine = describe_machine()
    if kind == "cpu":
        return choose_devices("cpu", machine)[0]
    found = visible_devices(machine, os.environ.get(VISIBLE))
    if not found:
        return replace(choose_devices("cpu", machine)[0], name="")
    return found[0]


def _set_by_ray() -> frozenset[str]:
    """Return the variables of this process that its node lacks, such as OMP_NUM_THREADS=1, which would slow workers."""
    try:
        raylet = Path(f"/proc/{os.environ['RAY_RAYLET_PID']}/environ").read_bytes()
    except (OSError, KeyError):
        return frozenset({"OMP_NUM_THREADS"})
    there = {part.partition(b"=")[0].decode() for part in raylet.split(b"\0")}
    return frozenset(name for name in os.environ if name not in there and not name.startswith("RAY_"))


def _own_folder() -> Path:
    """Make a folder for the worker's log; remove those of actors that are gone, as a killed one removes nothing."""
    above = Path(tempfile.gettempdir())
    for path in above.glob(f"{FOLDER}*"):
        if not is_alive(path.name.removeprefix(FOLDER)):
            shutil.rmtree(path, ignore_errors=True)
    own = above / f"{FOLDER}{own_actor_mark()}"
    own.mkdir(mode=0o700)
    return own
