"""A cluster of stand-in nodes in simulated time, which drives the real coordinator; and the bound on what it can do.

Nodes are lost, freeze, become slow and come back by a seeded random process; the driver itself may be lost, and the run
is then resumed. A scene takes as long as its samples do on a card of a healthy node; a slow node takes longer.

The bound is Graham's for list scheduling: no slot is idle while a scene waits, so a run is over no later than when the
machines that were there could have done the work, and the longest scene on top. Work that a lost node had done of a
scene has to be done again, and is part of it; such a scene cannot be whole before the loss is noticed, and its time.
Source: R. L. Graham, "Bounds on Multiprocessing Timing Anomalies", 1969.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from admlops.execution.cancel import CancelToken
from admlops.execution.executor import (
    SampleAnswered,
    SceneAnswered,
    SceneRequest,
    Slot,
    SlotJoined,
    SlotLost,
    WorkerEvent,
    WorkerReady,
    WorkerStarted,
    WorkerStopped,
)
from admlops.execution.messages import Hello, Ready, Result
from admlops.execution.scene_job import WorkerSpec
from admlops.health.devices import ComputeDevice
from admlops.results.record import Outputs

STOP_S = 0.5
DRIVER_AWAY_S = 120.0
"""How long it takes until somebody resumes a run whose driver was lost [s]."""
LONGEST_S = 1e4
"""No run of a test takes so long, in simulated time."""
HELLO = Hello(protocol=1, model="StandIn", python="3.11", adapter="-", libraries={}, digest="0")
READY = Ready(fixes=[], device_name="a card")


class DriverLost(RuntimeError):  # noqa: N818  what happens to a machine, not an error of anybody's
    """The machine of the coordinator is gone."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often what happens, as the mean time between two such events of one node [s]; 0: never.

    `lost` and `frozen` nodes are noticed after `lost_seen_s` and `frozen_seen_s`. The former come back after `away_s`,
    the latter thaw after `frozen_s`, slow ones run at 0.1 to 0.5 of their speed for `slow_s`, each in the mean. The
    driver is lost at `driver_lost_s`, times of the whole run's clock.
    """

    lost: float = 0.0
    frozen: float = 0.0
    slow: float = 0.0
    lost_seen_s: float = 1.4
    frozen_seen_s: float = 8.7
    away_s: float = 60.0
    frozen_s: float = 30.0
    slow_s: float = 120.0
    driver_lost_s: Sequence[float] = ()


@dataclass
class Node:
    """One machine. `waiting` is what a frozen one does when it thaws."""

    name: str
    speed: float = 1.0
    is_up: bool = True
    is_frozen: bool = False
    slots: list[SimulatedSlot] = field(default_factory=list, repr=False)
    waiting: list[Callable[[], None]] = field(default_factory=list, repr=False)

    @property
    def rate(self) -> float:
        """How much work each of its cards does in a second."""
        return self.speed if self.is_up and not self.is_frozen else 0.0


@dataclass(eq=False)
class SimulatedSlot:
    """One card with its worker. `turn` changes with each command, so that what was under way before is dropped."""

    number: int
    node: Node
    usable_from: float
    turn: int = 0
    is_dead: bool = False
    scene_s: float = 0.0
    """The time of the scene that it is at, on a healthy node [s]."""
    done_s: float = 0.0
    """How much of it is done [s]."""


class World:
    """The nodes, their clock and what befalls them; it outlives the driver. `seconds_of` gives a sample's time."""

    def __init__(
        self,
        *,
        nodes: int,
        cards: int,
        seed: int,
        faults: Faults,
        load_s: float,
        seconds_of: Callable[[str], float],
    ) -> None:
        self.now = 0.0
        self.cards = cards
        self.load_s = load_s
        self.seconds_of = seconds_of
        self.faults = faults
        self.nodes = [Node(name=f"node-{number}") for number in range(nodes)]
        self.lost_work_s = 0.0
        self.earliest_s = 0.0
        """No run can be over before: a scene that was cut off is begun anew when that is noticed."""
        self.happened: dict[str, int] = {}
        self.late_answers = 0
        self.rates: list[tuple[float, float]] = []
        """(time, work that all cards do in a second from then on)."""
        self.driver: SimulatedCluster | None = None
        self._random = random.Random(seed)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        for node in self.nodes:
            for kind in ("lost", "frozen", "slow"):
                self._expect(node, kind)
        for at in faults.driver_lost_s:
            self.after(at, self._lose_driver)

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        """Let something happen in so many seconds."""
        self._serial += 1
        heapq.heappush(self._due, (self.now + seconds, self._serial, what))

    def step(self, until: float) -> bool:
        """Let the next thing happen, if it is due by then; else go on to that time and return False."""
        assert self.now < LONGEST_S, "the run does not end"
        if not self._due or self._due[0][0] > until:
            self.now = until
            return False
        self.now, _, what = heapq.heappop(self._due)
        what()
        return True

    def note_rate(self) -> None:
        """Write down what the cards can do from now on; a card counts from when its model can be loaded."""
        ready = sum(
            node.rate * sum(not slot.is_dead and slot.usable_from <= self.now for slot in node.slots)
            for node in self.nodes
        )
        self.rates.append((self.now, ready))

    def bound_s(self, work_s: float, longest_s: float) -> float:
        """Return the time by which list scheduling has done the work on these nodes [s]."""
        left = work_s + self.lost_work_s
        for (begin, rate), (end, _) in zip(self.rates, [*self.rates[1:], (float("inf"), 0.0)], strict=True):
            if rate > 0 and left <= rate * (end - begin):
                return max(begin + left / rate + longest_s, self.earliest_s)
            left -= rate * (end - begin) if rate else 0.0
        raise AssertionError("the nodes could not do the work")

    def _expect(self, node: Node, kind: str) -> None:
        mean_s = getattr(self.faults, kind)
        if mean_s:
            self.after(self._random.expovariate(1 / mean_s), lambda: self._befall(node, kind))

    def _befall(self, node: Node, kind: str) -> None:
        self._expect(node, kind)
        if not node.is_up or node.is_frozen or (kind == "slow" and node.speed < 1.0):
            return
        self.happened[kind] = self.happened.get(kind, 0) + 1
        if kind == "slow":
            node.speed = self._random.uniform(0.1, 0.5)
            self.after(self._random.expovariate(1 / self.faults.slow_s), lambda: self._recover(node))
        elif kind == "frozen":
            node.is_frozen = True
            self.after(self.faults.frozen_seen_s, lambda: self._miss(node, list(node.slots)))
            self.after(self._random.expovariate(1 / self.faults.frozen_s), lambda: self._thaw(node))
        else:
            node.is_up, slots = False, list(node.slots)
            self._cut(slots, seen_s=self.faults.lost_seen_s)
            for slot in slots:
                slot.is_dead = True
            self.after(self.faults.lost_seen_s, lambda: self._report(slots, f"{node.name} does not answer"))
            self.after(self._random.expovariate(1 / self.faults.away_s), lambda: self._return(node))
        self.note_rate()

    def _recover(self, node: Node) -> None:
        node.speed = 1.0
        self.note_rate()

    def _miss(self, node: Node, slots: Sequence[SimulatedSlot]) -> None:
        """Give a node up that is frozen still; what it has done of its scenes is lost."""
        if not node.is_frozen or node.slots != slots:
            return
        self._cut(slots)
        node.slots = []
        self._report(slots, f"{node.name} has said nothing for {self.faults.frozen_seen_s:g} s")
        self.note_rate()

    def _thaw(self, node: Node) -> None:
        node.is_frozen, waiting, node.waiting = False, node.waiting, []
        for what in waiting:
            what()  # late answers among them, of slots that were given up
        if not node.slots:
            self._return(node)
        self.note_rate()

    def _return(self, node: Node) -> None:
        node.is_up, node.slots = True, []
        self.happened["joined"] = self.happened.get("joined", 0) + 1
        if self.driver is not None:
            self.driver.join(node)
        self.note_rate()

    def _cut(self, slots: Sequence[SimulatedSlot], *, seen_s: float = 0.0) -> None:
        """Note what is lost of the scenes that these slots are at."""
        for slot in slots:
            self.lost_work_s += slot.done_s
            if slot.scene_s:
                self.earliest_s = max(self.earliest_s, self.now + seen_s + slot.scene_s)
            slot.done_s = slot.scene_s = 0.0

    def _report(self, slots: Sequence[SimulatedSlot], reason: str) -> None:
        if self.driver is not None:
            self.driver.lose(slots, reason)

    def _lose_driver(self) -> None:
        if self.driver is None:
            return
        self.happened["driver lost"] = self.happened.get("driver lost", 0) + 1
        for node in self.nodes:
            self._cut(node.slots, seen_s=DRIVER_AWAY_S + self.load_s)
            for slot in node.slots:
                slot.is_dead = True
            node.slots, node.waiting = [], []
        self.driver = None
        self.note_rate()
        raise DriverLost("the driver's machine is gone")


class SimulatedCluster:
    """An executor over a world's nodes: workers are loaded, answer and stop in the world's time."""

    join_wait_s = 600.0

    def __init__(self, world: World) -> None:
        self._world = world
        self._events: deque[WorkerEvent] = deque()
        self._numbers = 0
        self._attempts = 0
        self._slots: dict[int, SimulatedSlot] = {}
        self._first: tuple[Slot, ...] = ()

    def slots(self) -> Sequence[Slot]:
        """The cards of the nodes that are up."""
        if not self._first:
            self._first = tuple(
                slot for node in self._world.nodes if node.is_up and not node.is_frozen for slot in self._open(node)
            )
        return self._first

    def start(self, worker: WorkerSpec, cancel: CancelToken) -> None:
        """Nothing is to prepare."""
        self._world.driver = self
        self._world.note_rate()

    def start_worker(self, slot: int, *, shrink: int) -> None:
        """Load the model."""
        self._events.append(WorkerStarted(slot=slot, pid=1, mark=f"mark-{slot}"))
        self._later(self._slots[slot], self._world.load_s, lambda: WorkerReady(slot=slot, hello=HELLO, ready=READY))

    def run_scene(self, slot: int, request: SceneRequest) -> None:
        """Answer one sample after the other."""
        self._attempts += 1
        tokens = [str(one["sample_token"]) for one in request.samples]
        self._slots[slot].scene_s = sum(map(self._world.seconds_of, tokens))
        self._sample(self._slots[slot], tokens, 0, self._attempts)

    def stop_worker(self, slot: int, *, grace_s: float) -> None:
        """End the worker; what it had done counts for nothing."""
        one = self._slots[slot]
        one.turn += 1
        one.done_s = one.scene_s = 0.0
        self._later(one, STOP_S, lambda: WorkerStopped(slot=slot, pid=1, mark=f"mark-{slot}", exit_code=0, left=[]))

    def next_event(self, timeout_s: float) -> WorkerEvent | None:
        """Go on in time to the next event."""
        until = self._world.now + timeout_s
        while not self._events:
            if not self._world.step(until):
                return None
        return self._events.popleft()

    def close(self) -> Sequence[WorkerEvent]:
        """End it all at once: the run is over."""
        self._world.driver = None
        return ()

    def join(self, node: Node) -> None:
        """Offer the cards of a node that has come back."""
        self._events.extend(SlotJoined(slot=slot) for slot in self._open(node))

    def lose(self, slots: Sequence[SimulatedSlot], reason: str) -> None:
        """Say that slots are gone."""
        self._events.extend(SlotLost(slot=slot.number, reason=reason) for slot in slots)

    def _open(self, node: Node) -> list[Slot]:
        opened = []
        for card in range(self._world.cards):
            one = SimulatedSlot(number=self._numbers, node=node, usable_from=self._world.now + self._world.load_s)
            device = ComputeDevice(id=f"cuda:{card}", kind="cuda", name="a card", id_in_worker=f"cuda:{card}")
            opened.append(Slot(number=one.number, device=device, node=node.name))
            self._slots[one.number] = one
            node.slots.append(one)
            self._numbers += 1
        self._world.after(self._world.load_s, self._world.note_rate)
        return opened

    def _later(self, slot: SimulatedSlot, seconds: float, make: Callable[[], WorkerEvent]) -> None:
        turn = slot.turn

        def happen() -> None:
            if slot.is_dead or slot.turn != turn:
                return
            if slot.node.is_frozen:
                slot.node.waiting.append(happen)
            else:
                self._events.append(make())

        self._world.after(seconds, happen)

    def _sample(self, slot: SimulatedSlot, tokens: Sequence[str], place: int, attempt: int) -> None:
        turn, seconds = slot.turn, self._world.seconds_of(tokens[place])

        def answer() -> None:
            if slot.is_dead or slot.turn != turn:
                return
            if slot.node.is_frozen:
                slot.node.waiting.append(answer)
                return
            self._world.late_answers += slot not in slot.node.slots
            slot.done_s += seconds
            result = Result(
                sample_token=tokens[place],
                inference_time=seconds,
                end_to_end_time=seconds,
                gpu_memory_used=float(attempt),  # tells the attempts at a scene apart
                outputs=Outputs(),
            )
            self._events.append(SampleAnswered(slot=slot.number, answer=result))
            if place + 1 < len(tokens):
                self._sample(slot, tokens, place + 1, attempt)
            else:
                slot.done_s = slot.scene_s = 0.0
                self._events.append(SceneAnswered(slot=slot.number))

        self._world.after(seconds / slot.node.speed, answer)


def make_shape(seed: int, scenes: int, *, fewest: int, most: int) -> dict[str, int]:
    """Scenes of so many samples."""
    chance = random.Random(f"shape {seed}")
    return {f"s{number}": chance.randint(fewest, most) for number in range(scenes)}


def sample_seconds(mean_s: float) -> Callable[[str], float]:
    """A sample's time, told by its token alone: half to one and a half of the mean."""
    return lambda token: mean_s * random.Random(token).uniform(0.5, 1.5)


def work_of(shape: Mapping[str, int], seconds_of: Callable[[str], float]) -> tuple[float, float]:
    """(all work, the longest scene) of a run on healthy nodes [s]."""
    scenes = [sum(seconds_of(f"{name}-{index}") for index in range(count)) for name, count in shape.items()]
    return sum(scenes), max(scenes)
