"""What failed last on this machine: a build of an environment, or a run's workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admlops.core.paths import Layout
from admlops.doctor import Explanation, Finding, Phase, Site, explain
from admlops.doctor.log import clean
from admlops.environments.inventory import InstalledEnvironment, list_installed
from admlops.environments.prefix import STATE_FILE
from admlops.results.run_folder import RunFolder
from admlops.results.runs import list_runs

SHOWN_LINES = 12


@dataclass(frozen=True, kw_only=True)
class LastFailure:
    """One failure: what it was, when [s since 1970], what was said, and what it means where that is known.

    `advice` is the hint that was given when it happened.
    """

    what: str
    where: Path
    when: float
    message: str
    explanation: Explanation
    advice: str


def last_failure(layout: Layout) -> LastFailure | None:
    """The newest failure among the environments and runs on disk; None if nothing failed."""
    return max([*_failed_builds(layout), *_failed_runs(layout)], key=lambda one: one.when, default=None)


def failure_of_run(run: RunFolder) -> LastFailure | None:
    """The last failure that a run wrote down; None for a run in which nothing failed."""
    events = run.events()
    event = next((event for event in reversed(events) if event.get("event") == "failure"), None)
    ended = events[-1] if events else {}
    if ended.get("event") == "run_ended" and ended.get("state") == "failed" and _is_of_host(ended, event):
        return _failure_of_host(run, ended)
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
        explanation=_explain(said, [phase], run.header.model, site),
        advice=str(event.get("hint") or ""),
    )


def _is_of_host(ended: dict[str, Any], failure: dict[str, Any] | None) -> bool:
    """Say whether an error of the host ended the run: its message is not that of a worker's failure."""
    return failure is None or str(failure.get("message")) not in str(ended.get("error"))


def _failure_of_host(run: RunFolder, ended: dict[str, Any]) -> LastFailure:
    said = str(ended.get("error"))
    return LastFailure(
        what=f"{run.header.run}: the run of {run.header.model} was ended by an error",
        where=run.events_path,
        when=float(ended.get("t", 0.0)),
        message=said,
        explanation=_explain(said, ["run"], run.header.model, Site()),
        advice=said.partition("→")[2].strip() or run.header.resume_command,
    )


def _failed_runs(layout: Layout) -> Iterator[LastFailure]:
    for run in list_runs(layout)[0]:
        found = failure_of_run(run)
        if found is not None:
            yield found


def _failed_builds(layout: Layout) -> Iterator[LastFailure]:
    for one in list_installed(layout) if layout.is_checkout else ():
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
        explanation=_explain(said, ["install", "compile", "start"], model, Site(prefix=one.prefix)),
        advice=str(one.details.get("hint") or ""),
    )


def _explain(said: str, phases: Sequence[Phase], model: str | None, site: Site) -> Explanation:
    """Explain a failure's message; something failed here, so words that no rule knows are an unknown failure."""
    told = explain(clean(said), phases=phases, model=model, site=site)
    if told.state != "none":
        return told
    lines = tuple(line for line in clean(said) if line.strip())[-SHOWN_LINES:]
    return Explanation(state="unknown", findings=(Finding(line=1, quoted=lines, diagnosis=None),))
