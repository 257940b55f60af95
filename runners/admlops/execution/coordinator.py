"""What the threads of one run share: the scenes that wait, the counts that policies need, the reason to stop."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable
from typing import Literal

from admlops.execution.failures import FAILING_FROM_THE_START, POLICIES, Trouble
from admlops.execution.scene_job import Job, Progress, SceneJob, Summary
from admlops.results.record import FailureClass

WAKE_S = 0.2


class Board:
    """What the threads of one run share; every method may be called from any of them."""

    def __init__(self, job: Job, on_progress: Callable[[Progress], None]) -> None:
        complete = set(job.run.complete_scenes())
        self.done_before = [scene for scene in job.scenes if scene.name in complete]
        # The longest first, so that no worker ends long after the others; sorted() keeps the order of equals.
        self.waiting = sorted(
            (scene for scene in job.scenes if scene.name not in complete), key=lambda scene: -len(scene.samples)
        )
        self.cancelled = threading.Event()
        self.error: BaseException | None = None
        self._job = job
        self._on_progress = on_progress
        self._news: queue.Queue[Progress] = queue.Queue()
        self._lock = threading.Lock()
        self._stopped_by: Trouble | None = None
        self._troubles: dict[FailureClass, Trouble] = {}
        self._retries = 0
        self._model_works = False
        self._model_failures = 0
        self._left: list[int] = []

    def next_scene(self) -> SceneJob | None:
        """The next scene to do, or None: there is none, or the run is being stopped."""
        with self._lock:
            return self.waiting.pop(0) if self.waiting and not self.cancelled.is_set() else None

    def tell(self, progress: Progress) -> None:
        self._news.put(progress)

    def tell_while(self, threads: list[threading.Thread]) -> None:
        """Pass on what the threads tell until they have ended."""
        while any(thread.is_alive() for thread in threads) or not self._news.empty():
            try:
                self._on_progress(self._news.get(timeout=WAKE_S))
            except queue.Empty:
                continue

    def allow_retry(self, trouble: Trouble, tries: Counter[FailureClass]) -> bool:
        """Whether the scene may be done again with a fresh worker; counts it if so. `tries` are the scene's own."""
        with self._lock:
            self._troubles.setdefault(trouble.kind, trouble)
            allowed = tries[trouble.kind] < POLICIES[trouble.kind].retries and not self.cancelled.is_set()
            if not allowed:
                return False
            if self._retries >= self._job.retry_limit:
                self._stop(trouble)
                return False
            tries[trouble.kind] += 1
            self._retries += 1
            return True

    def note_answer(self, trouble: Trouble | None) -> bool:
        """Count a sample that is done. False: the model fails from its first sample on, and the run stops."""
        with self._lock:
            if trouble is None:
                self._model_works = True
                return True
            self._troubles.setdefault(trouble.kind, trouble)
            if trouble.kind == "model" and not self._model_works:
                self._model_failures += 1
                if self._model_failures >= FAILING_FROM_THE_START:
                    self._stop(trouble)
                    return False
            return True

    def stop(self, trouble: Trouble) -> None:
        """Stop the run; the first reason counts."""
        with self._lock:
            self._stop(trouble)

    def fail(self, error: BaseException) -> None:
        """Keep what ended a thread for `execute` to raise, and stop the others."""
        with self._lock:
            self.error = self.error or error
            self.cancelled.set()

    def note_left(self, pids: list[int]) -> None:
        with self._lock:
            self._left += pids

    def summarize(self) -> Summary:
        """Counts what is on disk."""
        counts = self._job.run.count_statuses()
        expected = sum(len(scene.samples) for scene in self._job.scenes)
        remaining = expected - counts.total()
        state: Literal["complete", "failed", "cancelled"] = "complete"
        if remaining:
            cancelled = self._stopped_by is None or self._stopped_by.kind == "cancelled"
            state = "cancelled" if cancelled else "failed"
        return Summary(
            state=state,
            ok=counts["ok"],
            failed=counts["failed"],
            remaining=remaining,
            retries=self._retries,
            stopped_by=self._stopped_by if remaining else None,
            troubles=tuple(self._troubles.values()),
            left=self._left,
        )

    def _stop(self, trouble: Trouble) -> None:
        self._troubles.setdefault(trouble.kind, trouble)
        if self._stopped_by is None:
            self._stopped_by = trouble
            self._news.put(Progress(kind="stop", trouble=trouble))
        self.cancelled.set()
