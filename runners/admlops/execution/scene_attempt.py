"""Scenes on their way through a run: which ones wait, and one attempt at a time at each."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from admlops.core.errors import DataError
from admlops.execution.batches import Batch
from admlops.execution.device_key import DeviceKey
from admlops.execution.failures import POLICIES, WorkerFailure
from admlops.execution.messages import Ready
from admlops.execution.scene_job import Job, SampleSource, SceneJob
from admlops.execution.scene_recorder import SceneRecorder
from admlops.results.record import FailureClass

MOST_SECONDS = 3
"""How often a slow scene may be begun on another machine too."""


class SceneAttempt:
    """A scene that is being done; `tries`, `shrink`, `batch` and `avoided` last from one attempt to the next.

    `kept` are records from before that stay as they are; `unreadable` the samples that the data set does not hold
    whole; `samples` what a worker is asked for. `avoided` are devices that may be at fault for a failure of it. `rival`
    is another attempt that goes on at the same time; the one that began later `is_second`.
    """

    def __init__(self, job: Job, scene: SceneJob, *, kept: Mapping[str, bytes]) -> None:
        self.scene = scene
        self.tries: Counter[FailureClass] = Counter()
        self.shrink = 0
        self.batch = job.batch
        self.unreadable: dict[str, WorkerFailure] = {}
        self.samples: Sequence[Mapping[str, Any]] = ()
        self.avoided: set[DeviceKey] = set()
        self.rival: SceneAttempt | None = None
        self.is_second = False
        self._number = 1
        self._seconds = 0
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
            self._recorder = SceneRecorder(
                self._job, self.scene, kept=self._kept, ready=ready, shrink=self.shrink, attempt=self._number
            )

    def begin_again(self, *, shrink: bool, batch: Batch | None = None) -> None:
        """Forget this attempt; the next one asks for less GPU memory if `shrink`, and for `batch` if that is given."""
        self.close()
        self.batch = batch or self.batch
        self._recorder = None
        self.shrink += shrink

    def forget_device(self, kind: FailureClass) -> None:
        """Undo what failures of this class have changed: the device at fault is out of the run now."""
        if POLICIES[kind].shrink:
            self.shrink = 0
        del self.tries[kind]

    @property
    def has_rival(self) -> bool:
        """Whether another slot is at the same scene."""
        return self.rival is not None

    @property
    def may_be_doubled(self) -> bool:
        """Whether another slot may do the scene too. One with unreadable samples fails there as it does here."""
        return self._seconds < MOST_SECONDS and not self.unreadable

    def make_second(self) -> SceneAttempt:
        """Return another attempt at the scene, to be done at the same time; the first one that is whole counts."""
        second = SceneAttempt(self._job, self.scene, kept=self._kept)
        second.tries, second.avoided, second.shrink, second.batch = self.tries, self.avoided, self.shrink, self.batch
        second.samples, second.is_second = self.samples, True
        self._seconds += 1
        second._seconds, second._number = self._seconds, self._seconds + 1
        self.rival, second.rival = second, self
        return second

    def become_only(self) -> None:
        """Note that the other attempt has been given up."""
        self.rival, self.is_second = None, False

    def discard(self) -> None:
        """Remove this attempt and its file: the other one counts."""
        self.rival = None
        if self._recorder is not None:
            self._recorder.discard()
            self._recorder = None

    def allow_loss(self) -> bool:
        """Say whether the scene may be done again after its place was lost; count it if so.

        A scene that takes down its machine must not be tried on all of them.
        """
        if self.tries["lost"] >= POLICIES["lost"].retries:
            return False
        self.tries["lost"] += 1
        return True

    def close(self) -> None:
        """Close the scene's file; what was not committed does not count."""
        if self._recorder is not None:
            self._recorder.close()


@dataclass(kw_only=True)
class ScenePlan:
    """The scenes that wait, the longest first, and those that are done: (scene, its number of samples).

    `unfinished` counts those that are not whole yet, waiting or at a slot.
    """

    waiting: deque[SceneAttempt]
    done_before: list[tuple[str, int]]
    unfinished: int

    def take(
        self, device: DeviceKey, has_device_beside: Callable[[Collection[DeviceKey]], bool]
    ) -> SceneAttempt | None:
        """Take out the next scene for a device, None if there is none.

        One that failed on this device is left to another, if there is one.
        """
        for place, attempt in enumerate(self.waiting):
            if device not in attempt.avoided or not has_device_beside(attempt.avoided):
                del self.waiting[place]
                return attempt
        return None

    def put_back(self, attempt: SceneAttempt) -> None:
        """Let the scene be done next: the longest are begun first, so it comes before all that wait."""
        self.waiting.appendleft(attempt)


def plan_scenes(job: Job) -> ScenePlan:
    """Plan the scenes that the run folder lacks, and those with failed samples where these are to be done again."""
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
    longest_first = deque(sorted(waiting, key=lambda one: -len(one.scene.samples)))
    return ScenePlan(waiting=longest_first, done_before=done, unfinished=len(waiting))


def _records_to_keep(job: Job, scene: SceneJob) -> Mapping[str, bytes] | None:
    """Return the records of a scene that stay when its failed samples are done again; None if none failed.

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
