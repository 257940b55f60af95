"""What an endpoint works with: its job, whom to tell, and the token that asks it to stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.execution.cancel import CancelToken
from admlops.execution.scene_job import RunEvent
from admlops.pipeline.run_watch import OnProgress
from admlops.results.run_folder import RunFolder
from admlops.service.jobs.scene_chunk import describe_scene
from admlops.service.jobs.settings import JobSettings
from admlops.service.queue.job import Job


class Reports(Protocol):
    """Takes what a job says of itself. Nothing of it may block the work."""

    def add_chunk(self, content: Any, *, key: str | None = None) -> None:
        """Add a part of the answer."""

    def progress(self, value: Any) -> None:
        """Say how far the work is."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A job that is being done. Setting `cancel` stops it; whole scenes stay."""

    layout: Layout
    settings: JobSettings
    job: Job
    reports: Reports
    say: Say
    cancel: CancelToken = field(default_factory=CancelToken)

    def watch(self, path: Path, *, label: str | None = None) -> OnProgress:
        """Return what takes a run's events: a chunk for each whole scene, and how far the run is.

        Args:
            path: the run's folder, which may not be there before the first event.
            label: what to call the model, where a job runs several.
        """
        done = 0
        more = {} if label is None else {"model": label}

        def take(event: RunEvent, total: int) -> None:
            nonlocal done
            done += event.samples
            self.reports.progress({**more, "run": path.name, "samples": done, "of": total})
            if event.scene is not None and event.kind in {"scene", "resumed"}:
                self._add_scene(RunFolder.open(path), event.scene, label)

        return take

    def add_scenes(self, run: RunFolder, *, label: str | None = None) -> None:
        """Add the chunks of all whole scenes of a run; those that are there already stay as they are."""
        for scene in run.complete_scenes():
            self._add_scene(run, scene, label)

    def _add_scene(self, run: RunFolder, scene: str, label: str | None) -> None:
        more = {} if label is None else {"model": label}
        self.reports.add_chunk({**more, **describe_scene(run, scene)}, key=f"{label or ''}/{scene}")
