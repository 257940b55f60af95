"""The runs that are on disk: finding one by name or path, and listing them all from their own files."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import RecordError
from admlops.core.paths import Layout, user_path
from admlops.results.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class SkippedRun:
    """A folder among the runs that cannot be read, and why."""

    folder: Path
    reason: str


def find_run(layout: Layout, name: str) -> RunFolder:
    """The run called `name` under the repository's `runs/`, or the run in the folder that `name` is the path of.

    Raises:
        RecordError: there is no such run, or its header cannot be read.
    """
    for path in (layout.runs / name, user_path(name)):
        if (path / "run.json").exists():
            return RunFolder.open(path)
    known = [run.path.name for run in list_runs(layout)[0]]
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise RecordError(f'no run is called "{name}" in {layout.runs}{meant}', hint="admlops results list")


def list_runs(layout: Layout) -> tuple[list[RunFolder], list[SkippedRun]]:
    """Every run, oldest first, and every folder that is not a readable run. Reads only `run.json` files."""
    if not layout.runs.is_dir():
        return [], []
    found: list[RunFolder] = []
    skipped: list[SkippedRun] = []
    for folder in sorted(layout.runs.iterdir()):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        try:
            found.append(RunFolder.open(folder))
        except RecordError as error:
            skipped.append(SkippedRun(folder=folder, reason=error.message))
    return sorted(found, key=lambda run: (run.header.created, run.path.name)), skipped


def count_samples(run: RunFolder) -> tuple[int, int]:
    """Return (samples in scenes that are complete, samples in all scenes of the run)."""
    scenes = run.header.scenes
    return sum(scenes[scene] for scene in run.complete_scenes()), sum(scenes.values())


def count_failed(run: RunFolder) -> int:
    """Return how many samples on disk failed: from the run's events, from the records of scenes that have none.

    Raises:
        RecordError: the records of a scene cannot be read.
    """
    told = {str(event.get("scene")): event.get("failed") for event in run.events() if event.get("event") == "scene"}
    total = 0
    for scene in run.complete_scenes():
        failed = told.get(scene)
        if not isinstance(failed, int):
            failed = sum(status == "failed" for _, _, status in run.statuses_of(scene))
        total += failed
    return total
