"""What failed last on this machine: a build of an environment, or a run's workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from admlops.core.paths import Layout
from admlops.doctor import Diagnosis, Phase, Site, diagnose
from admlops.environments.inventory import InstalledEnvironment, list_installed
from admlops.environments.prefix import STATE_FILE
from admlops.results.run_folder import RunFolder
from admlops.results.runs import list_runs


@dataclass(frozen=True, kw_only=True)
class LastFailure:
    """One failure: what it was, when [s since 1970], what was said, and what it means if that is known.

    `advice` is what was said to do when it happened.
    """

    what: str
    where: Path
    when: float
    message: str
    diagnosis: Diagnosis | None
    advice: str


def last_failure(layout: Layout) -> LastFailure | None:
    """The newest failure among the environments and runs on disk; None if nothing failed."""
    return max([*_failed_builds(layout), *_failed_runs(layout)], key=lambda one: one.when, default=None)


def failure_of_run(run: RunFolder) -> LastFailure | None:
    """The last failure that a run wrote down; None for a run in which nothing failed."""
    event = next((event for event in reversed(run.events()) if event.get("event") == "failure"), None)
    if event is None or event.get("class") == "cancelled":
        return None
    phase: Phase = "start" if event.get("starting") else "run"
    said = f"{event.get('message')}\n{event.get('detail')}"
    site = Site(prefix=Path(run.header.environment.python).parent.parent)
    return LastFailure(
        what=f"{run.header.run}: a worker of {run.header.model} failed ({event.get('class')})",
        where=run.logs_path / f"worker-{event.get('worker', 0)}.log",
        when=float(event.get("t", 0.0)),
        message=said.strip(),
        diagnosis=diagnose(said, phases=[phase], model=run.header.model, site=site),
        advice=str(event.get("hint") or ""),
    )


def _failed_runs(layout: Layout) -> Iterator[LastFailure]:
    for run in list_runs(layout)[0]:
        found = failure_of_run(run)
        if found is not None:
            yield found


def _failed_builds(layout: Layout) -> Iterator[LastFailure]:
    for one in list_installed(layout):
        if one.state == "broken":
            yield _failed_build(one)


def _failed_build(one: InstalledEnvironment) -> LastFailure:
    state = one.prefix / STATE_FILE
    said = f"{one.details.get('reason')}\n{one.details.get('said') or ''}"
    model = None if one.spec is None else one.spec.model
    return LastFailure(
        what=f"{one.prefix.name}: its build failed",
        where=state,
        when=state.stat().st_mtime,
        message=said.strip(),
        diagnosis=diagnose(said, phases=["install", "compile", "start"], model=model, site=Site(prefix=one.prefix)),
        advice=str(one.details.get("hint") or ""),
    )
