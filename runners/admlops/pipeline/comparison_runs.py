"""The runs of a comparison: what is there already, what goes on, and what is run, in turn or at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from admlops.catalog import Model
from admlops.core.counting import count_of
from admlops.core.errors import StoppedError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.datasets.base import Dataset
from admlops.execution.scene_job import Summary
from admlops.health.machine import describe_machine
from admlops.pipeline.run import run_plan
from admlops.pipeline.run_job import RunPlan
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_watch import OnProgress
from admlops.pipeline.together import Turn, run_together
from admlops.results.header import find_difference
from admlops.results.run_folder import RunFolder
from admlops.results.runs import list_runs

ShowProgress = Callable[[], AbstractContextManager[OnProgress]]
OnRun = Callable[[str, Path], None]
"""Called before a run with what the comparison calls its model, and the folder it is to have."""
RunOne = Callable[["Planned"], tuple[RunFolder, Summary | None]]
"""Gives the run to evaluate, and how it went if something was run now."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A model that can run, looked up and checked."""

    model: Model
    data: Dataset
    request: RunRequest
    plan: RunPlan
    label: str


def run_in_turn(
    layout: Layout, one: Planned, *, fresh: bool, say: Say, show_progress: ShowProgress, on_run: OnRun
) -> tuple[RunFolder, Summary | None]:
    """The run to evaluate, and how it went if something was run now.

    Raises:
        StoppedError: it was cancelled: whoever presses Ctrl-C means the whole comparison.
    """
    found = _go_on(layout, one, fresh=fresh, say=say)
    if isinstance(found, RunFolder):
        return found, None
    plan, request = found
    on_run(one.label, layout.runs / plan.header.run)
    with show_progress() as on_progress:
        run, summary = run_plan(layout, plan, request, say=say, on_progress=on_progress)
    if summary.state == "cancelled":
        raise _stopped(f"while {one.label} ran ({run.header.run})", fresh=fresh)
    return run, summary


def _go_on(layout: Layout, one: Planned, *, fresh: bool, say: Say) -> RunFolder | tuple[RunPlan, RunRequest]:
    """Return a finished run that will do, else what is to be run: a new run, or the rest of one that is there."""
    earlier = None if fresh else find_run_alike(layout, one.plan)
    if earlier is None:
        return one.plan, one.request
    name = earlier.header.run
    failed = earlier.count_statuses()["failed"]
    if earlier.header.state == "complete" and not failed:
        how = "" if earlier.header.shared is None else ", whose times are shared ones; --fresh measures a latency"
        say(f"{one.label}: using the finished run {name}{how}")
        return earlier
    again = (
        f"doing {count_of(failed, 'failed sample')} of the run {name} again"
        if failed
        else f"going on with the run {name}"
    )
    say(f"{one.label}: {again}")
    return one.plan.renamed(name), replace(one.request, name=name, resume=True, retry_failed=bool(failed))


def _stopped(where: str, *, fresh: bool) -> StoppedError:
    repeat = "repeat the command without --fresh" if fresh else "repeat the command"
    return StoppedError(
        f"the comparison was stopped {where}", hint=f"{repeat}: finished runs are used again, and others go on"
    )


def run_at_once(
    layout: Layout,
    planned: Sequence[Planned],
    request: RunRequest,
    fresh: bool,
    say: Say,
    show_progress: ShowProgress,
    on_run: OnRun,
) -> Mapping[str, RunFolder | Turn]:
    """Run all models at once that must run, as far as there is room; return each label's finished run, or its turn."""
    done: dict[str, RunFolder | Turn] = {}
    for one in planned:
        found = _go_on(layout, one, fresh=fresh, say=say)
        if isinstance(found, RunFolder):
            done[one.label] = found
            continue
        on_run(one.label, layout.runs / found[0].header.run)
        done[one.label] = Turn(label=one.label, model=one.model, plan=found[0], request=found[1])
    turns = [one for one in done.values() if isinstance(one, Turn)]
    with show_progress() as on_progress:
        run_together(layout, turns, request, machine=describe_machine(), say=say, on_progress=on_progress)
    stopped = [one.label for one in turns if one.error is None and (one.summary is None or one.is_cancelled)]
    if stopped:
        raise _stopped(f"before {', '.join(stopped)} had run", fresh=fresh)
    return done


def take_result(done: Mapping[str, RunFolder | Turn], one: Planned) -> tuple[RunFolder, Summary | None]:
    """Return a model's result from `run_at_once`; raise the error that ended its run."""
    found = done[one.label]
    if isinstance(found, RunFolder):
        return found, None
    if found.error is not None:
        raise found.error
    assert found.run is not None, "a turn without a run has an error"
    return found.run, found.summary


def find_run_alike(layout: Layout, plan: RunPlan) -> RunFolder | None:
    """The newest run that this one would repeat record for record: a complete one before one that was stopped.

    Of the complete ones, one that had its device to itself goes before one that shared it: it has a latency.
    """
    same = [
        run
        for run in list_runs(layout)[0]
        if run.header.data.root == plan.header.data.root and find_difference(run.header, plan.header) is None
    ]
    complete = [run for run in same if run.header.state == "complete"]
    chosen = [run for run in complete if run.header.shared is None] or complete or same
    return chosen[-1] if chosen else None
