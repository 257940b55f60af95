"""Several models on one machine at the same time: each in a run of its own, as many at once as have room.

A model that was never measured runs first, alone, for one scene; its run then waits and goes on with the others. A
model that fails beside others, as by running out of memory, is stopped before a record of it is lost or differs, and
gets a turn of its own at the end. Records are those of models that run one after the other. Times are not: a run that
had a neighbour says so in its header, and nothing ranks its times.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from admlops.catalog import Model
from admlops.core.errors import StorageError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.execution.cancel import CancelToken
from admlops.execution.scene_job import RunEvent, Summary
from admlops.pipeline.memory_table import CONTEXT_MB, MemoryTable, is_measured_with, key_of
from admlops.pipeline.placing import Needs, Room, measure_room, needs_of
from admlops.pipeline.run import run_plan
from admlops.pipeline.run_job import RunPlan
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_watch import OnProgress, workers_a_device
from admlops.results.run_folder import RunFolder

WAKE_S = 0.2
ESTIMATE_MARGIN = 1.25
"""An estimate of the catalogue was measured on another GPU, maybe with another library."""
ESTIMATED_HOST_MB = 4000.0
"""What a worker of a network takes of the machine's memory, where only its share of the GPU is in the catalogue."""


@dataclass(kw_only=True)
class Turn:
    """One model's run: what is to be done, and how far it is. `label` is what the comparison calls it.

    `alone` is why it may have no neighbour; `measured` whether its first scene was done to measure it.
    """

    label: str
    model: Model
    plan: RunPlan
    request: RunRequest
    alone: str = ""
    measured: bool = False
    run: RunFolder | None = None
    summary: Summary | None = None
    error: BaseException | None = None

    @property
    def is_cancelled(self) -> bool:
        """Tell whether its run was stopped before its end, as by Ctrl-C."""
        return self.summary is not None and self.summary.state == "cancelled"


@dataclass(kw_only=True)
class _Active:
    """A turn whose run goes on in a thread."""

    turn: Turn
    needs: Needs | None
    token: CancelToken
    thread: threading.Thread
    beside: set[str] = field(default_factory=set)
    done: int = 0
    is_leaving: bool = False


def run_together(
    layout: Layout,
    turns: Sequence[Turn],
    request: RunRequest,
    *,
    machine: Mapping[str, Any],
    say: Say,
    on_progress: OnProgress,
) -> None:
    """Run all turns; each has its run and summary afterwards, or its error.

    If the request's token is set, all are stopped: their summaries say so, and a turn that did not begin has none.

    Args:
        request: its memory limit is that of all workers together; its token stops everything.
        machine: what `describe_machine` gave.
        on_progress: gets the events of all runs, and the number of their samples together.

    Raises:
        AdmlopsError: the table of memory is damaged, or nobody can say how much room there is.
    """
    if not turns:
        return
    room = measure_room(request, turns[0].plan.executor, machine)
    _Together(layout, turns, room, request.cancel, say, on_progress).run()


class _Together:
    """Begins runs while there is room, and waits for their ends, in the thread that calls `run`."""

    def __init__(
        self, layout: Layout, turns: Sequence[Turn], room: Room, cancel: CancelToken, say: Say, on_progress: OnProgress
    ) -> None:
        self._layout = layout
        self._table = MemoryTable.of(layout)
        self._room = room
        self._cancel = cancel
        self._say = say
        self._on_progress = on_progress
        self._total = sum(sum(turn.plan.header.scenes.values()) for turn in turns)
        self._waiting = list(turns)
        self._active: list[_Active] = []
        self._ended: queue.SimpleQueue[_Active] = queue.SimpleQueue()
        self._telling = threading.Lock()
        self._marking = threading.Lock()

    def run(self) -> None:
        """Run every turn that waits."""
        self._say(f"room for workers beside each other: {self._room.said}")
        for turn in self._waiting:  # damage of the table is told before anything begins
            self._say(f"{turn.label}: {self._spell_needs(turn)}")
        try:
            with self._cancel.watched():
                while self._active or (self._waiting and not self._cancel.is_cancelled):
                    self._begin_what_fits()
                    self._wait()
        finally:
            for one in self._active:
                one.token.cancel()
            for one in self._active:
                one.thread.join()

    def _wait(self) -> None:
        if self._cancel.is_cancelled:
            for one in self._active:
                one.token.cancel()
        try:
            self._end(self._ended.get(timeout=WAKE_S))
        except queue.Empty:
            return

    # --- who may begin

    def _begin_what_fits(self) -> None:
        if self._cancel.is_cancelled:
            return
        while (chosen := self._choose()) is not None:
            turn, needs, first_scene = chosen
            self._waiting.remove(turn)
            self._begin(turn, needs, first_scene=first_scene)

    def _choose(self) -> tuple[Turn, Needs | None, bool] | None:
        """Return the turn to begin now, what it needs, and whether only its first scene is to be run, to measure it."""
        if any(one.needs is None for one in self._active):
            return None  # one that must be alone is at work
        known = [(turn, self._find_needs(turn)) for turn in self._waiting if not turn.alone]
        unknown = next((turn for turn, needs in known if needs is None and _can_be_measured(turn)), None)
        if unknown is not None:
            return None if self._active else (unknown, None, True)
        taken = [one.needs for one in self._active if one.needs is not None]
        for turn, needs in known:
            if needs is not None and not self._room.why_not([*taken, needs]):
                return turn, needs, False
        if self._active or not self._waiting:
            return None
        turn = next((turn for turn, _ in known), self._waiting[0])
        return turn, None, False

    def _find_needs(self, turn: Turn) -> Needs | None:
        """What all workers of a turn need on each device: as measured, else as the catalogue estimates it."""
        workers = workers_a_device(turn.plan.executor)
        row = self._table.find(key_of(turn.plan.header))
        if row is not None:
            return needs_of(row).times(workers)
        estimate = _estimate(turn)
        return None if estimate is None else estimate.times(workers)

    def _spell_needs(self, turn: Turn) -> str:
        row = self._table.find(key_of(turn.plan.header))
        if row is not None:
            gpu = "" if row.gpu_mb is None else f"{row.gpu_mb:,.0f} MB of the GPU, "
            cores = "" if row.cores is None else f", {row.cores:g} cores"
            return f"a worker takes {gpu}{row.host_mb:,.0f} MB of memory{cores}: measured in {row.run}"
        stated = turn.model.gpu_memory
        if stated is not None and _estimate(turn) is not None:
            return (
                f"a worker takes about {stated.megabytes:,.0f} MB of the GPU: the catalogue's estimate, {stated.source}"
            )
        if not _can_be_measured(turn):
            return "with --batch auto it takes what is there: it runs alone"
        return "never measured here: its first scene runs alone"

    # --- runs

    def _begin(self, turn: Turn, needs: Needs | None, *, first_scene: bool) -> None:
        token = CancelToken()
        turn.run = None  # its thread opens the folder anew
        active = _Active(turn=turn, needs=needs, token=token, thread=threading.Thread())
        others = list(self._active)
        if first_scene:
            self._say(f"{turn.label}: alone for its first scene, to measure what it takes")
        elif turn.alone or needs is None:
            reason = turn.alone or self._why_alone(turn)
            self._say(f"{turn.label}: in a turn of its own{reason and ': '}{reason}")
        elif others:
            self._say(f"{turn.label}: beside {', '.join(one.turn.label for one in others)}")
        active.thread = threading.Thread(
            target=self._work, args=(active, first_scene), name=f"admlops run {turn.label}", daemon=True
        )
        with self._marking:
            for other in others:
                _mark(active, other.turn)
                _mark(other, turn)
        self._active.append(active)
        active.thread.start()

    def _why_alone(self, turn: Turn) -> str:
        needs = self._find_needs(turn)
        lacks = "" if needs is None else self._room.why_not([needs])
        return f"it needs {lacks}" if lacks else ""

    def _work(self, active: _Active, first_scene: bool) -> None:
        turn = active.turn
        watched = replace(turn.request, cancel=active.token)

        def watch(event: RunEvent, _total: int) -> None:
            if event.kind == "retry" and event.failure is not None:
                self._leave_neighbours(active, event.failure.kind)
            if first_scene and event.kind == "scene":
                active.token.cancel()
            active.done += event.samples
            self._tell(turn, event, quiet=active.token.is_cancelled)

        def mark(run: RunFolder) -> None:
            with self._marking:
                turn.run = run
                if active.beside:
                    run.mark_beside(sorted(active.beside))

        try:
            turn.run, turn.summary = run_plan(
                self._layout,
                turn.plan,
                watched,
                say=lambda line: self._say(f"{turn.label}: {line}"),
                on_progress=watch,
                on_open=mark,
            )
        except BaseException as error:  # noqa: BLE001  a thread's edge: whoever asks for the turn's run is told
            turn.error = error
        finally:
            self._ended.put(active)

    def _leave_neighbours(self, active: _Active, kind: str) -> None:
        """Stop a run that fails beside others before it runs the scene in another way: its records would differ.

        Most often that is `cuda_oom`. A scene in progress is not kept.
        """
        with self._marking:
            beside = ", ".join(sorted(active.beside))
        if beside and not active.is_leaving:
            active.is_leaving = True
            active.turn.alone = f"{kind} beside {beside}"
            active.token.cancel()

    def _end(self, active: _Active) -> None:
        """Take a run that ended: it is done, or goes on later."""
        self._active.remove(active)
        active.thread.join()
        turn = active.turn
        goes_on = turn.error is None and turn.summary is not None and turn.summary.state == "cancelled"
        if not goes_on or self._cancel.is_cancelled or not active.token.is_cancelled:
            return
        turn.measured = True
        if active.is_leaving:
            self._say(f"{turn.label}: {turn.alone}; it goes on in a turn of its own")
        assert turn.run is not None, "a run that was stopped has a folder"
        if active.beside and not turn.run.complete_scenes():
            with turn.run.lock():
                turn.run.mark_alone()
        name = turn.run.header.run
        turn.request = replace(turn.request, name=name, resume=True)
        turn.plan = turn.plan.renamed(name)
        turn.summary = None
        with self._telling:
            self._on_progress(RunEvent(kind="resumed", scene=turn.label, samples=-active.done), self._total)
        self._waiting.append(turn)

    def _tell(self, turn: Turn, event: RunEvent, *, quiet: bool) -> None:
        """Pass on an event under the model's name; failures of runs that we stopped ourselves are not passed on."""
        scene = " ".join(part for part in (turn.label, event.scene) if part)
        shown = replace(event, scene=scene, failure=None if quiet else event.failure)
        with self._telling:
            self._on_progress(shown, self._total)


def _can_be_measured(turn: Turn) -> bool:
    return not turn.measured and is_measured_with(key_of(turn.plan.header))


def _mark(active: _Active, neighbour: Turn) -> None:
    """Note that a run has a neighbour, in its folder if it is there: whoever reads it later must know."""
    name = neighbour.plan.header.run
    active.beside.add(name)
    if active.turn.run is not None:
        try:
            active.turn.run.mark_beside([name])
        except StorageError as error:
            active.turn.error = error
            active.token.cancel()


def _estimate(turn: Turn) -> Needs | None:
    """Return the catalogue's estimate for the model as its authors run it; None without one, or for another way."""
    key, stated = key_of(turn.plan.header), turn.model.gpu_memory
    if stated is None or turn.plan.header.device_kind != "cuda" or key.engine or key.batch != "1":
        return None
    gpu_mb = (stated.megabytes + CONTEXT_MB) * ESTIMATE_MARGIN
    return Needs(gpu_mb=gpu_mb, host_mb=ESTIMATED_HOST_MB, cores=None)
