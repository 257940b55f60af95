"""What a job is called, how far it is, and where its results are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from admlops.service.queue.job import Job, Status

KINDS = {"run": "Run", "compare": "Comparison", "battle": "Battle", "evaluate": "Evaluation", "export": "Export"}
SUBJECTS = {
    "run": ("model",),
    "compare": ("models",),
    "battle": ("model_a", "model_b"),
    "evaluate": ("run",),
    "export": ("model",),
}
AGAIN = frozenset({Status.FAILED, Status.CANCELLED, Status.TIMED_OUT})
ACTIVE = (Status.IN_QUEUE, Status.IN_PROGRESS)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A job as pages show it. `total` is 0 where nothing is known of how far it is."""

    job: Job
    kind: str
    subject: str
    state: str
    done: int
    total: int
    note: str

    @property
    def may_cancel(self) -> bool:
        return self.job.status in ACTIVE and not self.job.cancel

    @property
    def may_retry(self) -> bool:
        return self.job.status in AGAIN


def describe_job(job: Job) -> Shown:
    """Return a job as pages show it. What a job says of itself may have any form."""
    progress = job.progress if isinstance(job.progress, Mapping) else {}
    total, done = _count(progress.get("of")), _count(progress.get("samples"))
    model = progress.get("model")
    return Shown(
        job=job,
        kind=KINDS.get(job.endpoint, job.endpoint),
        subject=_subject(job),
        state="cancelling" if job.cancel and job.status is Status.IN_PROGRESS else str(job.status),
        done=min(done, total) if total else done,
        total=total,
        note=_note(job, model, all_done=0 < total <= done),
    )


def _note(job: Job, model: object, *, all_done: bool) -> str:
    if isinstance(model, str) and job.endpoint in {"compare", "battle"}:
        return model
    return "evaluating" if all_done and job.status is Status.IN_PROGRESS else ""


def _subject(job: Job) -> str:
    given = job.input if isinstance(job.input, Mapping) else {}
    said = [given.get(key) for key in SUBJECTS.get(job.endpoint, ())]
    flat = [str(name) for one in said for name in (one if isinstance(one, list) else [one]) if name]
    return (" and " if job.endpoint == "battle" else ", ").join(flat)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def find_run_name(job: Job) -> str | None:
    """Return the name of the run that a job made or is making; None where there is none, or several."""
    output = job.output if isinstance(job.output, Mapping) else {}
    given = job.input if isinstance(job.input, Mapping) else {}
    if isinstance(output.get("run"), str):
        return str(output["run"])
    if job.endpoint == "evaluate" and isinstance(given.get("run"), str):
        return str(given["run"])
    if job.endpoint == "run" and job.started is not None and isinstance(given.get("model"), str):
        return f"{given['model']}-{job.id}"
    return None


def find_comparison_name(job: Job) -> str | None:
    """Return the name of the comparison that a job made."""
    return job.id if job.endpoint in {"compare", "battle"} and job.status is Status.COMPLETED else None
