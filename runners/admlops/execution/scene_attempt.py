"""Scenes on their way through a run: which ones wait, and one attempt at a time at each."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from admlops.core.errors import DataError
from admlops.execution.batches import Batch
from admlops.execution.failures import POLICIES, WorkerFailure
from admlops.execution.messages import Ready
from admlops.execution.scene_job import Job, SampleSource, SceneJob
from admlops.execution.scene_recorder import SceneRecorder
from admlops.results.record import FailureClass


class SceneAttempt:
    """A scene that is being done; `tries`, `shrink` and `batch` last from one attempt to the next.

    `kept` are records from before that stay as they are; `unreadable` the samples that the data set does not hold
    whole; `samples` what a worker is asked for.
    """

    def __init__(self, job: Job, scene: SceneJob, *, kept: Mapping[str, bytes]) -> None:
        self.scene = scene
        self.tries: Counter[FailureClass] = Counter()
        self.shrink = 0
        self.batch = job.batch
        self.unreadable: dict[str, WorkerFailure] = {}
        self.samples: Sequence[Mapping[str, Any]] = ()
        self._job = job
        self._kept = kept
        self._recorder: SceneRecorder | None = None

    def read(self, source: SampleSource) -> None:
        """Read the samples that a worker is to do."""
        samples = []
        for sample in self.scene.samples:
            if sample.token in self._kept:
                continue
            try:
                samples.append(source.read(sample.token))
            except DataError as error:
                self.unreadable[sample.token] = WorkerFailure(kind="data", message=error.message)
        self.samples = samples

    @property
    def recorder(self) -> SceneRecorder:
        """The records of this attempt."""
        assert self._recorder is not None, "a scene that was not begun"
        return self._recorder

    @property
    def done(self) -> int:
        """Count how many samples were recorded in this attempt."""
        return 0 if self._recorder is None else self._recorder.done

    @property
    def failed(self) -> int:
        """Count how many of them failed."""
        return 0 if self._recorder is None else self._recorder.failed

    def open(self, ready: Ready) -> None:
        """Begin the scene's file, unless it is open."""
        if self._recorder is None:
            self._recorder = SceneRecorder(self._job, self.scene, kept=self._kept, ready=ready, shrink=self.shrink)

    def begin_again(self, *, shrink: bool, batch: Batch | None = None) -> None:
        """Forget this attempt; the next one asks for less GPU memory if `shrink`, and for `batch` if that is given."""
        self.close()
        self.batch = batch or self.batch
        self._recorder = None
        self.shrink += shrink

    def allow_loss(self) -> bool:
        """Say whether the scene may be done again after its place was lost; count it if so.

        A scene that takes a machine down with it must not go through all of them.
        """
        if self.tries["lost"] >= POLICIES["lost"].retries:
            return False
        self.tries["lost"] += 1
        return True

    def close(self) -> None:
        """Close the scene's file; what was not committed does not count."""
        if self._recorder is not None:
            self._recorder.close()


@dataclass(frozen=True, kw_only=True)
class ScenePlan:
    """The scenes that wait, the longest first, and those that are done: (scene, its number of samples)."""

    waiting: deque[SceneAttempt]
    done_before: list[tuple[str, int]]


def plan_scenes(job: Job) -> ScenePlan:
    """Leave out what the run folder holds, but for the scenes with failed samples where those are to be done again."""
    complete = set(job.run.complete_scenes())
    waiting, done = [], []
    for scene in job.scenes:
        if scene.name not in complete:
            waiting.append(SceneAttempt(job, scene, kept={}))
            continue
        kept = _records_to_keep(job, scene) if job.retry_failed else None
        if kept is None:
            done.append((scene.name, len(scene.samples)))
            continue
        waiting.append(SceneAttempt(job, scene, kept=kept))
        if kept:
            done.append((scene.name, len(kept)))
    # The longest first, so that no worker ends long after the others; sorted() keeps the order of equals.
    return ScenePlan(waiting=deque(sorted(waiting, key=lambda one: -len(one.scene.samples))), done_before=done)


def _records_to_keep(job: Job, scene: SceneJob) -> Mapping[str, bytes] | None:
    """Return the records of a scene that stay when its failed samples are done again; None: none of it failed.

    A temporal model's records depend on the samples before, so nothing of its scene stays.
    """
    good, has_failed = {}, False
    for line, token, status in job.run.statuses_of(scene.name):
        if status == "ok":
            good[token] = line
        else:
            has_failed = True
    if not has_failed:
        return None
    return {} if job.temporal else good
