"""The folder of a job, with its log: `jobs/<id>/` in the repository folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from admlops.core.errors import UsageError
from admlops.core.paths import Layout

JOB_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")
LOG_FILE = "job.log"


def job_folder(layout: Layout, job_id: str) -> Path:
    """Return the folder of a job, which may not be there yet.

    Raises:
        UsageError: this is no job's id: it could name another folder.
    """
    if not JOB_ID.fullmatch(job_id):
        raise UsageError(f"{job_id[:80]!r} is no job's id", hint="take an id that a request was answered with")
    return layout.repository / "jobs" / job_id


def job_log(layout: Layout, job_id: str) -> Path:
    """Return the file of a job's log: what its process wrote, with whatever bytes a model wrote. Raises UsageError."""
    return job_folder(layout, job_id) / LOG_FILE


def run_name(model: str, job_id: str) -> str:
    """Return the name of a job's run: the same in every attempt, so that a later one goes on with it."""
    return f"{model}-{job_id}"


def remove_folder(layout: Layout, job_id: str) -> None:
    """Remove the folder of a job that was removed. Its run stays."""
    shutil.rmtree(job_folder(layout, job_id), ignore_errors=True)
