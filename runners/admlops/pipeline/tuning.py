"""Before a run in throughput mode: search its best setting, or take the one that was found when it began."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from admlops.core.counting import count_of
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error
from admlops.core.types import Say
from admlops.execution.scene_job import Job, SceneJob
from admlops.health.machine import describe_machine
from admlops.pipeline.placing import measure_room
from admlops.pipeline.prefetching import choose_prefetch
from admlops.pipeline.run_job import RunPlan, choose_executor, make_job
from admlops.pipeline.run_request import AUTO_BATCH, RunRequest
from admlops.pipeline.scene_jobs import list_scene_jobs
from admlops.pipeline.throughput import find_best, read_throughput
from admlops.pipeline.trials import Trial, run_trial
from admlops.results.run_folder import RunFolder


def tune(layout: Layout, plan: RunPlan, request: RunRequest, *, say: Say) -> RunPlan:
    """Return the plan with the workers and the batch that do most samples a second.

    A run that goes on keeps what was found when it began.

    Raises:
        RunFailedError: not even one worker does what it is asked.
        StoppedError: somebody stopped the search; nothing of a run is there yet.
        RecordError: what was found for a run that goes on is damaged.
    """
    if request.resume or request.retry_failed:
        before = read_throughput(layout.runs / plan.header.run / "throughput.json")
        if before is not None:
            say(f"throughput mode goes on with {count_of(before['workers'], 'worker')}, batch {before['batch']}")
            return _with_setting(plan, request, int(before["workers"]), int(before["batch"]), say=say)
    scenes = tuple(list_scene_jobs(plan.data, plan.scenes))
    layout.repository.mkdir(parents=True, exist_ok=True)
    try:
        scratch = tempfile.TemporaryDirectory(prefix=".throughput-", dir=layout.repository)
    except OSError as error:
        raise explain_os_error(error, layout.repository) from error
    with scratch as folder, request.cancel.watched():
        trials = _Trials(layout, plan, request, scenes, Path(folder), say)
        search = plan.model.batches and request.engine is None and request.batch in (1, AUTO_BATCH)
        found = find_best(
            trials.attempt,
            room=measure_room(request, plan.executor, describe_machine()),
            batches=search,
            batch=1 if search else int(request.batch) if plan.model.batches and request.batch != AUTO_BATCH else 1,
            most=request.workers if request.workers > 1 else None,
            say=say,
        )
    return replace(_with_setting(plan, request, found.workers, found.batch, say=say), throughput=found)


class _Trials:
    """Tries settings of a plan, each in a folder of its own."""

    def __init__(
        self,
        layout: Layout,
        plan: RunPlan,
        request: RunRequest,
        scenes: tuple[SceneJob, ...],
        folder: Path,
        say: Say,
    ) -> None:
        self._layout = layout
        self._plan = plan
        self._request = replace(request, resume=False, retry_failed=False)
        self._scenes = scenes
        self._folder = folder
        self._say = say
        self._count = 0

    def attempt(self, workers: int, batch: int | Literal["auto"]) -> Trial:
        """Try so many workers on each device, at so many samples at once."""
        self._count += 1
        plan = _with_setting(self._plan, self._request, workers, batch, say=lambda _: None)

        def make(run: RunFolder, scenes: tuple[SceneJob, ...]) -> Job:
            return make_job(self._layout, self._request, plan, run, scenes)

        return run_trial(
            make,
            plan.header,
            self._scenes,
            plan.executor,
            folder=self._folder / f"trial-{self._count}",
            batch=batch,
            cancel=self._request.cancel,
        )


def _with_setting(
    plan: RunPlan, request: RunRequest, workers: int, batch: int | Literal["auto"], *, say: Say
) -> RunPlan:
    """The plan for so many workers on each device, at so many samples at once."""
    executor, _ = choose_executor(replace(request, workers=workers), describe_machine(), say=say)
    settings: dict[str, Any] = {name: value for name, value in plan.header.settings.items() if name != "batch"}
    settings["gpu_memory_limit_mb"] = None  # the limit is that of all workers together
    if batch != 1:
        settings["batch"] = batch
    asked = replace(request, workers=workers, batch=batch)
    prefetch = choose_prefetch(asked, executor.slots(), say=say)
    options = {**plan.header.options, "workers": workers, "prefetch": prefetch, "throughput": True}
    header = msgspec.structs.replace(plan.header, settings=settings, options=options)
    return replace(plan, executor=executor, header=header)
