"""What the live pages show: the overview, a job, and a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import escape

from admlops.core.errors import RecordError
from admlops.results.run_folder import RunFolder
from admlops.results.runs import count_failed, count_samples
from admlops.service.dashboard.job_words import ACTIVE, describe_job, find_comparison_name, find_run_name
from admlops.service.dashboard.log_text import LogTail
from admlops.service.dashboard.rendering import render
from admlops.service.dashboard.site import Site
from admlops.service.jobs.folders import job_log
from admlops.service.queue.job import FINAL, JobFilter

MOST_ACTIVE = 100
RECENT = 15
MOST_CHUNKS = 500


class OverviewView:
    """How many jobs stand where, the machine, the jobs that wait or run, and those that ended last."""

    tick_s = 2.0
    job = None

    def __init__(self, site: Site, *, may_run: bool) -> None:
        self._site = site
        self._may_run = may_run

    def parts(self) -> Mapping[str, str]:
        queue = self._site.queue
        active = [describe_job(job) for job in queue.list(JobFilter(statuses=ACTIVE), limit=MOST_ACTIVE)]
        active.sort(key=lambda one: (one.job.started is None, one.job.low_priority, -one.job.priority, one.job.number))
        ended = [describe_job(job) for job in queue.list(JobFilter(statuses=tuple(FINAL)), limit=RECENT)]
        ended.sort(key=lambda one: one.job.finished or 0.0, reverse=True)
        common: dict[str, Any] = {"may_run": self._may_run, "find_run": self._find_run}
        counts = queue.counts()
        return {
            "part-counts": render("parts/counts.html", {"counts": counts}),
            "part-machine": render(
                "parts/machine.html", {"machine": self._site.machine.read(), "runners": queue.runners()}
            ),
            "part-active": render(
                "parts/active.html",
                {**common, "jobs": active, "more": counts.in_queue + counts.in_progress - len(active)},
            ),
            "part-ended": render("parts/ended.html", {**common, "jobs": ended}),
        }

    def lines(self) -> Sequence[str]:
        return ()

    def _find_run(self, shown: Any) -> str | None:
        return find_run_name(shown.job)


class JobView:
    """A job: its state, how far it is, its scenes, its results, and its log."""

    tick_s = 1.0

    def __init__(self, site: Site, job_id: str, *, may_run: bool) -> None:
        self._site = site
        self.job = job_id
        self._may_run = may_run
        self._tail = LogTail(job_log(site.layout, job_id))

    def parts(self) -> Mapping[str, str]:
        job = self._site.queue.get(self.job)
        if job is None:
            return {"part-job": render("parts/job_gone.html", {}), "part-scenes": "", "part-outcome": ""}
        chunks = [one.content for one in self._site.queue.chunks_after(self.job)]
        scenes = [one for one in chunks if isinstance(one, Mapping) and "scene" in one]
        run = find_run_name(job)
        values = {
            "shown": describe_job(job),
            "job": job,
            "may_run": self._may_run,
            "run": run if run is not None and (self._site.layout.runs / run).is_dir() else None,
            "comparison": find_comparison_name(job),
            "output": job.output if isinstance(job.output, Mapping) else {},
        }
        return {
            "part-job": render("parts/job.html", values),
            "part-scenes": render(
                "parts/scenes.html",
                {"scenes": scenes[-MOST_CHUNKS:], "more": max(0, len(scenes) - MOST_CHUNKS), **values},
            ),
            "part-outcome": render("parts/outcome.html", values),
        }

    def lines(self) -> Sequence[str]:
        return [str(escape(line)) for line in self._tail.read()]


class RunView:
    """A run that may still go on: its state, how far it is, what happened, and its workers' logs."""

    tick_s = 1.5
    job = None

    def __init__(self, site: Site, name: str) -> None:
        self._path = site.layout.runs / name
        self._tails: dict[str, LogTail] = {}

    def parts(self) -> Mapping[str, str]:
        try:
            run = RunFolder.open(self._path)
            done, total = count_samples(run)
            values = {
                "run": run,
                "state": run.observe_state(),
                "done": done,
                "total": total,
                "failed": count_failed(run),
            }
        except RecordError as error:
            return {"part-run": render("parts/run_unreadable.html", {"error": error})}
        return {
            "part-run": render("parts/run_state.html", values),
            "part-events": render("parts/events.html", {"events": describe_events(run)}),
        }

    def lines(self) -> Sequence[str]:
        for path in sorted((self._path / "logs").glob("*.log")):
            self._tails.setdefault(path.stem, LogTail(path))
        several = len(self._tails) > 1
        return [
            str(escape(f"{name}  {line}" if several else line))
            for name, tail in self._tails.items()
            for line in tail.read()
        ]


MOST_EVENTS = 200


def describe_events(run: RunFolder) -> list[tuple[float, str]]:
    """Say what happened in a run: (seconds since 1970, a sentence), the latest last."""
    told = ((float(event.get("t", 0.0)), _say_event(event)) for event in run.events())
    return [(at, text) for at, text in told if text][-MOST_EVENTS:]


def _say_event(event: Mapping[str, Any]) -> str:
    kind = event.get("event")
    worker = f"Worker {event.get('worker')}"
    match kind:
        case "run_started":
            return "The run began."
        case "run_ended":
            error = event.get("error")
            return f"The run ended: {event.get('state')}." + (f" {error}" if error else "")
        case "worker_started":
            return f"{worker} started on {event.get('device', 'a device')}."
        case "worker_ready":
            return f"{worker} is ready."
        case "worker_stopped":
            code = event.get("exit_code")
            return f"{worker} stopped." if code in (0, None) else f"{worker} stopped with exit code {code}."
        case "scene":
            failed = event.get("failed")
            return f"Scene {event.get('scene')}: {event.get('samples')} samples" + (
                f", {failed} of them failed." if failed else "."
            )
        case "cancelled":
            return "The run was cancelled."
    rest = ", ".join(f"{key} {value}" for key, value in event.items() if key not in {"t", "event", "mark"})
    return f"{str(kind).replace('_', ' ').capitalize()}: {rest}"[:400]
