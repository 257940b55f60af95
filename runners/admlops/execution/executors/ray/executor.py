"""The Ray executor: the slots of a cluster's nodes, an actor each, and their events in the driver.

Actors are never restarted and their calls never repeated by Ray: a call that failed may have run. A slot whose actor is
lost is reported once, and its later messages are dropped; the coordinator does its scene elsewhere.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import Layout, find_layout
from admlops.execution.cancel import CancelToken
from admlops.execution.cluster.code import describe_host, require_same
from admlops.execution.cluster.connection import Node, connect, list_names, list_nodes
from admlops.execution.executor import (
    ExecutorOptions,
    SceneRequest,
    Slot,
    SlotBroken,
    SlotJoined,
    WorkerEvent,
    WorkerStopped,
)
from admlops.execution.executors.ray.codec import (
    Problem,
    decode_happened,
    describe_spec,
    encode_scene,
    unpack_events,
)
from admlops.execution.executors.ray.lines import (
    LOST_HINT,
    Line,
    encode,
    lost,
    match_actors,
    on_node,
    reason_of,
    slot_at,
)
from admlops.execution.executors.ray.node import (
    describe_environment,
    describe_model_code,
)
from admlops.execution.executors.ray.places import Place, choose_places, gpu_share
from admlops.execution.executors.ray.portable import describe_files, make_portable
from admlops.execution.scene_job import WorkerSpec

PROBE_S = 60.0
"""How long a node may take to say what it is."""
PLACE_S = 60.0
"""How long Ray may take to start a slot's actor: a GPU may be in use by others."""
EVENTS_WAIT_S = 20.0
END_S = 10.0
"""How long a slot may take to end, beyond the worker's own patience."""
JOIN_LOOK_S = 5.0
"""How often new nodes are looked for."""
POLL_S = 0.2
STORE_VARIABLE = "ADMLOPS_PACK_STORE"
GROUPS = {"commands": 1, "events": 1, "control": 1}
Take = Callable[[Line, bytes], None]
"""Handles an answer."""


class RayExecutor:
    """Workers on a Ray cluster. `--address` names it; without, it is the one that `admlops cluster up` started."""

    join_wait_s = 60.0
    """How long a run that has lost its last place waits for another: a node that comes back needs as long."""

    def __init__(self, options: ExecutorOptions) -> None:
        self._options = options
        self._layout: Layout = find_layout()
        self._ray: Any = None
        self._slots: tuple[Slot, ...] | None = None
        self._places: dict[int, Place] = {}
        self._code: Mapping[str, Any] = {}
        self._known: set[str] = set()
        self._joined: dict[Any, Node] = {}
        self._lines: dict[int, Line] = {}
        self._due: dict[Any, tuple[Line, Take]] = {}
        self._events: deque[WorkerEvent] = deque()
        self._spec: WorkerSpec | None = None
        self._work: bytes = b""
        self._looked = 0.0

    def slots(self) -> Sequence[Slot]:
        """Return the places on the nodes that are alive; each has proved that it has this machine's code.

        Raises:
            UsageError: there is no cluster, a node has other code, or no such devices.
        """
        if self._slots is None:
            self._ray = connect(self._options.address)
            nodes = list_nodes(self._ray)
            self._check_map(nodes)
            self._code = describe_host(self._layout)
            machines = self._describe(nodes)
            self._known = {node.id for node in nodes}
            places = choose_places(
                [(node, machines[node.id]) for node in nodes],
                devices=self._options.devices,
                workers=self._options.workers,
            )
            self._places = dict(enumerate(places))
            self._slots = tuple(slot_at(number, place) for number, place in self._places.items())
        return self._slots

    def start(self, worker: WorkerSpec, cancel: CancelToken) -> None:
        """Make an actor for each slot and let it prepare; workers' starts are queued behind that."""
        self.slots()
        self._spec = worker
        self._work = self._describe_work(worker)
        self._place(self._places, cancel)
        self._looked = time.monotonic()

    def start_worker(self, slot: int, *, shrink: int) -> None:
        """Queue the start of a worker in the slot."""
        self._command(slot, "start_worker", {"shrink": shrink})

    def run_scene(self, slot: int, request: SceneRequest) -> None:
        """Queue a scene in the slot; the node must have the same files of it."""
        line = self._lines.get(slot)
        if line is None:
            return  # it was lost, and the coordinator is about to be told
        scene = encode_scene(request, self._sizes(request))
        line.actor.run_scene.options(concurrency_group="commands").remote(scene)

    def stop_worker(self, slot: int, *, grace_s: float) -> None:
        """Interrupt the slot's worker and queue its end."""
        self._command(slot, "stop_worker", {"grace_s": grace_s})

    def next_event(self, timeout_s: float) -> WorkerEvent | None:
        """Return the next event of any slot, or None."""
        deadline = time.monotonic() + timeout_s
        self._look_for_nodes()
        while not self._events:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return None
            self._wait(left_s)
        return self._events.popleft()

    def close(self) -> Sequence[WorkerEvent]:
        """End every worker, then the actors."""
        grace_s = 0.0 if self._spec is None else self._spec.grace_s
        for line in self._lines.values():
            line.actor.end.remote(b"{}")
        deadline = time.monotonic() + 2 * grace_s + END_S
        while self._lines and time.monotonic() < deadline:
            self._wait(POLL_S)
            for line in [line for line in self._lines.values() if line.has_ended]:
                self._drop(line)
        for line in list(self._lines.values()):
            self._drop(line)
        untaken, self._events = list(self._events), deque()
        return untaken

    # --- nodes and slots

    def _describe(self, nodes: Sequence[Node]) -> dict[str, Mapping[str, Any]]:
        """Ask each node to describe its machine; its code must equal ours."""
        asked = {node.id: self._ask(node) for node in nodes}
        self._ray.wait(list(asked.values()), num_returns=len(asked), timeout=PROBE_S)
        return {node.id: self._take_description(node, asked[node.id]) for node in nodes}

    def _ask(self, node: Node) -> Any:
        from admlops.execution.executors.ray.slot import describe

        task = self._ray.remote(num_cpus=0, max_retries=0)(describe)
        return task.options(scheduling_strategy=on_node(node)).remote(b"{}")

    def _take_description(self, node: Node, answer: Any) -> Mapping[str, Any]:
        try:
            facts = msgspec.json.decode(self._ray.get(answer, timeout=0))
        except self._ray.exceptions.GetTimeoutError as error:
            raise EnvError(
                f"node {node.name} ({node.address}) does not answer within {PROBE_S:g} s", hint=LOST_HINT
            ) from error
        except self._ray.exceptions.RayError as error:
            raise EnvError(
                f"node {node.name} ({node.address}) cannot work for this run: {reason_of(error)}",
                hint="start its Ray from the .venv of an admlops checkout, as admlops cluster up does",
            ) from error
        require_same(facts["code"], self._code, where=f"node {node.name} ({facts['checkout']})")
        machine: Mapping[str, Any] = facts["machine"]
        return machine

    def _check_map(self, nodes: Sequence[Node]) -> None:
        known = list_names(self._ray)
        wrong = next((name for name in self._options.data_map if name not in known), None)
        if wrong is not None:
            raise UsageError(
                f"--data-map names {wrong!r}, which is no node of the cluster",
                hint=f"its nodes: {', '.join(node.name for node in nodes)}",
            )

    def _place(self, places: Mapping[int, Place], cancel: CancelToken | None) -> None:
        """Make actors and give each slot the one that got its GPU; a slot that gets none is lost."""
        lines = {number: self._make_line(number, place) for number, place in places.items()}
        asked = {line.actor.device.remote(encode({"devices": line.place.device.kind})): line for line in lines.values()}
        deadline = time.monotonic() + PLACE_S
        waiting = list(asked)
        while waiting and time.monotonic() < deadline and not (cancel is not None and cancel.is_cancelled):
            _, waiting = self._ray.wait(waiting, num_returns=len(waiting), timeout=POLL_S)
        got: dict[int, tuple[Any, str | None]] = {}
        for answer, line in asked.items():
            try:
                facts = msgspec.json.decode(self._ray.get(answer, timeout=0))
            except (self._ray.exceptions.RayError, TimeoutError) as error:
                self._ray.kill(line.actor)
                self._events.append(lost(line, f"Ray gave it no place: {reason_of(error)}"))
                continue
            got[line.number] = (line.actor, facts["uuid"])
        for line in match_actors(lines, got):
            self._lines[line.number] = line
            self._prepare(line)

    def _make_line(self, number: int, place: Place) -> Line:
        from admlops.execution.executors.ray.slot import RaySlot

        is_gpu = place.device.kind == "cuda"
        actor = self._ray.remote(
            num_cpus=0 if is_gpu else 1,
            num_gpus=gpu_share(self._options.workers) if is_gpu else 0,
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups=GROUPS,
        )(RaySlot)
        handle = actor.options(scheduling_strategy=on_node(place.node)).remote()
        log = None if self._spec is None else self._spec.logs / f"worker-{number}.log"
        return Line(number=number, place=place, actor=handle, log=log)

    def _prepare(self, line: Line) -> None:
        mapped = self._options.data_map
        facts = {
            "slot": line.number,
            "data_root": mapped.get(line.node) or mapped.get(line.place.node.address),
            **msgspec.json.decode(self._work),
        }
        answer = line.actor.prepare.options(concurrency_group="commands").remote(encode(facts))
        self._due[answer] = line, self._take_prepared
        self._look(line)

    def _look(self, line: Line) -> None:
        """Ask for the slot's next events."""
        answer = line.actor.events.options(concurrency_group="events").remote(encode({"wait_s": EVENTS_WAIT_S}))
        self._due[answer] = line, self._take_events

    def _describe_work(self, worker: WorkerSpec) -> bytes:
        """Describe the run's work for any node: paths with tokens, the code and files that it must have."""
        spec = describe_spec(worker)
        settings = {name: value for name, value in spec["settings"].items() if name != "data_root"}
        return encode(
            {
                "spec": make_portable(spec, self._layout),
                "code": describe_model_code(self._layout, worker.model, worker.command.adapter.parent),
                "files": describe_files(settings, self._layout),
                "environment": describe_environment(worker.command.python),
                "pack_store": os.environ.get(STORE_VARIABLE),
            }
        )

    def _look_for_nodes(self) -> None:
        """Notice nodes that have joined or come back; make slots of them once they have described themselves."""
        if time.monotonic() < self._looked + JOIN_LOOK_S or self._spec is None:
            return
        self._looked = time.monotonic()
        for node in list_nodes(self._ray):
            if node.id not in self._known:
                self._known.add(node.id)
                self._joined[self._ask(node)] = node

    def _take_node(self, answer: Any) -> None:
        node = self._joined.pop(answer)
        try:
            machine = self._take_description(node, answer)
            found = choose_places([(node, machine)], devices=self._options.devices, workers=self._options.workers)
        except (UsageError, EnvError):
            return  # it is of no use to this run, which goes on without it
        usual = next(iter(self._places.values())).device
        first = max(self._places) + 1
        new = dict(enumerate((one for one in found if one.device.name == usual.name), start=first))
        self._places.update(new)
        self._place(new, None)
        joined = [number for number in new if number in self._lines]
        self._events.extend(SlotJoined(slot=slot_at(number, new[number])) for number in joined)

    # --- commands and events

    def _command(self, slot: int, name: str, facts: Mapping[str, Any]) -> None:
        line = self._lines.get(slot)
        if line is not None:
            getattr(line.actor, name).options(concurrency_group="commands").remote(encode(facts))

    def _sizes(self, request: SceneRequest) -> dict[str, int]:
        """Return the sizes of files of a scene that this machine has, by their paths below the data set's root.

        The files of its first, middle and last sample: a partial copy lacks whole scenes, or breaks off somewhere.
        """
        assert self._spec is not None, "a scene before the start"
        root, samples = self._spec.settings.get("data_root"), request.samples
        sizes: dict[str, int] = {}
        for place in {0, len(samples) // 2, len(samples) - 1} if root and samples else ():
            sample = samples[place]
            for sensor in (*sample.get("cameras", {}).values(), sample.get("lidar") or {}):
                path = Path(str(root)) / str(sensor.get("path", ""))
                if path.is_file():
                    sizes[str(sensor["path"])] = path.stat().st_size
        return sizes

    def _wait(self, timeout_s: float) -> None:
        """Wait for any answer and take all that are there."""
        due = [*self._due, *self._joined]
        if not due:
            time.sleep(min(timeout_s, POLL_S))
            return
        ready, _ = self._ray.wait(due, num_returns=1, timeout=timeout_s)
        if ready and len(due) > 1:
            ready, _ = self._ray.wait(due, num_returns=len(due), timeout=0)
        for answer in ready:
            if answer in self._joined:
                self._take_node(answer)
            elif answer in self._due:  # absent if another answer has just shown its slot to be lost
                self._take(answer, *self._due.pop(answer))

    def _take(self, answer: Any, line: Line, take: Take) -> None:
        exceptions = self._ray.exceptions
        try:
            content = self._ray.get(answer)
        except exceptions.RayTaskError as error:
            self._events.append(SlotBroken(slot=line.number, error=RuntimeError(f"node {line.node}: {error}")))
            self._drop(line)
            return
        except exceptions.RayError as error:
            self._events.append(lost(line, reason_of(error)))
            self._drop(line)
            return
        take(line, content)

    def _take_events(self, line: Line, content: bytes) -> None:
        happened = decode_happened(content)
        if not happened.ended:
            self._look(line)  # first of all: the slot has the next answers ready while these are read
        if happened.log:
            self._write_log(line, happened.log)
        line.has_ended = happened.ended
        events = unpack_events(happened, slot=line.number, node=line.node)
        if happened.ended:
            events = [event for event in events if isinstance(event, WorkerStopped | SlotBroken)]
        self._events.extend(events)

    def _take_prepared(self, line: Line, content: bytes) -> None:
        facts = msgspec.json.decode(content)
        for remark in facts["remarks"]:
            self._write_log(line, f"--- node {line.node}: {remark}\n")
        if facts["problem"] is not None:
            problem = msgspec.convert(facts["problem"], Problem)
            error = problem.to_error(line.node)
            if line.number < len(self.slots()):
                self._events.append(SlotBroken(slot=line.number, error=error))
            else:  # an unfit machine that joined later does not end the run
                self._events.append(lost(line, str(error)))
                self._drop(line)

    def _write_log(self, line: Line, text: str) -> None:
        if line.log is not None:
            line.log.parent.mkdir(parents=True, exist_ok=True)
            with line.log.open("a", encoding="utf-8") as file:
                file.write(text)

    def _drop(self, line: Line) -> None:
        """Forget a slot and end its actor: its later messages are ignored."""
        self._lines.pop(line.number, None)
        self._due = {answer: due for answer, due in self._due.items() if due[0] is not line}
        self._ray.kill(line.actor)
