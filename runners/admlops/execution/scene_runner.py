"""One thread that keeps one worker busy, and carries out the failure policies scene by scene."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from msgspec import UNSET, UnsetType, structs

from admlops.execution.coordinator import Board
from admlops.execution.failures import POLICIES, Trouble, WorkerError, recognise
from admlops.execution.messages import Failed, Result
from admlops.execution.scene_job import Job, Progress, SceneJob
from admlops.execution.worker import Worker, trouble_of
from admlops.execution.worker_log import WorkerLog
from admlops.results.record import FailureClass, Metadata, Outputs, Precision, make_record
from admlops.results.run_folder import SceneWriter

PATIENCE_S = 1.0
"""What a worker that has failed gets of each: time to heed `stop`, and time to heed TERM."""


class StopRun(Exception):  # noqa: N818  the way out of a thread, not an error
    """The run is being stopped; the scene in hand stays unfinished."""


class Driver:
    """Runs scenes in a worker, which it starts when there is work and replaces when a policy says so."""

    def __init__(self, job: Job, board: Board, number: int) -> None:
        self._job = job
        self._board = board
        self._number = number
        self._log = WorkerLog(job.run.logs_path / f"worker-{number}.log")
        self._worker: Worker | None = None
        self._shrink = 0
        self._starts = 0
        self._fixes: list[str] = []
        self._precision: Precision | UnsetType = UNSET

    def run(self) -> None:
        """The thread's whole life: scenes until there are no more, then the worker's end."""
        try:
            try:
                while (scene := self._board.next_scene()) is not None:
                    self._run_scene(scene)
            except StopRun:
                pass
            finally:
                self._end_worker(grace_s=self._job.grace_s)
        except BaseException as error:  # noqa: BLE001  a thread's edge: execute raises it in the main thread
            self._board.fail(error)

    def _run_scene(self, scene: SceneJob) -> None:
        tries: Counter[FailureClass] = Counter()
        shrink = 0
        while True:
            trouble = self._attempt(scene, shrink, tries)
            if trouble is None:
                return
            shrink += POLICIES[trouble.kind].shrink

    def _attempt(self, scene: SceneJob, shrink: int, tries: Counter[FailureClass]) -> Trouble | None:
        """The scene from its first sample. Returns the trouble if it is to be done again, None when it is on disk."""
        with self._job.run.scene_writer(scene.name) as writer:
            sheet = _Sheet(self._job, scene, writer)
            try:
                worker = self._worker_for(shrink)
                sheet.fixes, sheet.precision = self._fixes, self._precision
                for answer in worker.run_scene(scene.name, scene.samples):
                    self._take(answer, sheet, tries)
            except WorkerError as error:
                # A little patience even now: a model may have files to close.
                self._end_worker(grace_s=min(PATIENCE_S, self._job.grace_s))
                trouble = self._recognise(error.trouble)
                if self._board.allow_retry(trouble, tries):
                    self._note(trouble, "retry", scene)
                    self._tell("retry", scene, samples=-sheet.done, trouble=trouble)
                    return trouble
                self._give_up(trouble, sheet)
            writer.commit()
        self._job.run.append_event("scene", scene=scene.name, samples=sheet.done, failed=sheet.failed)
        self._tell("scene", scene)
        return None

    def _take(self, answer: Result | Failed, sheet: _Sheet, tries: Counter[FailureClass]) -> None:
        """Write one answer down, unless it asks for a fresh worker."""
        trouble = None
        if isinstance(answer, Result):
            sheet.add(answer)
        else:
            trouble = self._recognise(trouble_of(answer))
            if POLICIES[trouble.kind].retries > tries[trouble.kind]:
                raise WorkerError(trouble)
            self._note(trouble, "skip_sample", sheet.scene, sample_token=answer.sample_token)
            sheet.fail(trouble)
        self._board.tell(
            Progress(
                kind="sample",
                worker=self._number,
                scene=sheet.scene.name,
                sample_token=answer.sample_token,
                samples=1,
                inference_time=answer.inference_time if isinstance(answer, Result) else None,
                trouble=trouble,
            )
        )
        if not self._board.note_answer(trouble):
            raise StopRun

    def _give_up(self, trouble: Trouble, sheet: _Sheet) -> None:
        """There is no further try: fail the rest of the scene, or stop the run. A model that cannot start stops it."""
        if trouble.starting or POLICIES[trouble.kind].then == "stop":
            self._board.stop(trouble)
        if self._board.cancelled.is_set():
            self._note(trouble, "stop", sheet.scene)
            raise StopRun
        self._note(trouble, "skip_scene", sheet.scene)
        skipped = len(sheet.scene.samples) - sheet.done
        for _ in range(skipped):
            sheet.fail(trouble)
        self._tell("skip", sheet.scene, samples=skipped, trouble=trouble)
        if not self._board.note_answer(trouble):
            raise StopRun

    def _worker_for(self, shrink: int) -> Worker:
        """The worker, started if there is none. One that runs with another `shrink` would give other records."""
        if self._worker is not None and self._shrink == shrink:
            return self._worker
        self._end_worker(grace_s=self._job.grace_s)
        job = self._job
        self._starts += 1
        self._shrink = shrink
        worker = self._worker = Worker(
            job.command,
            log=self._log,
            deadlines=job.deadlines,
            cancelled=self._board.cancelled,
            title=f"worker {self._number}, start {self._starts}",
        )
        job.run.append_event("worker_started", worker=self._number, pid=worker.pid, mark=worker.mark, shrink=shrink)
        self._board.tell(Progress(kind="worker", worker=self._number, pid=worker.pid))
        hello, ready = worker.start(model=job.model, load=self._settings(shrink))
        self._fixes, self._precision = ready.fixes, ready.precision
        job.run.append_event(
            "worker_ready",
            worker=self._number,
            pid=worker.pid,
            python=hello.python,
            libraries=hello.libraries,
            digest=hello.digest,
            device_name=ready.device_name,
            fixes=ready.fixes,
            precision=None if ready.precision is UNSET else structs.asdict(ready.precision),
        )
        return worker

    def _settings(self, shrink: int) -> dict[str, Any]:
        job = self._job
        settings = {**job.settings, "variant": job.variant, "shrink": shrink}
        if job.devices:
            settings["device"] = job.devices[self._number % len(job.devices)]
        return settings

    def _end_worker(self, *, grace_s: float) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        ending = worker.stop(grace_s=grace_s)
        self._board.note_left(ending.left)
        self._job.run.append_event(
            "worker_stopped",
            worker=self._number,
            pid=worker.pid,
            mark=worker.mark,
            exit_code=ending.exit_code,
            left=ending.left,
        )

    def _recognise(self, trouble: Trouble) -> Trouble:
        return recognise(trouble, model=self._job.model, python=self._job.command.python)

    def _note(self, trouble: Trouble, action: str, scene: SceneJob, sample_token: str | None = None) -> None:
        self._job.run.append_event(
            "failure",
            worker=self._number,
            **{"class": trouble.kind},
            message=trouble.message,
            detail=trouble.detail,
            starting=trouble.starting,
            rule=trouble.diagnosis.rule if trouble.diagnosis else None,
            hint=trouble.hint,
            action=action,
            scene=scene.name,
            sample_token=sample_token,
        )

    def _tell(
        self,
        kind: Literal["retry", "scene", "skip"],
        scene: SceneJob,
        *,
        samples: int = 0,
        trouble: Trouble | None = None,
    ) -> None:
        self._board.tell(Progress(kind=kind, worker=self._number, scene=scene.name, samples=samples, trouble=trouble))


class _Sheet:
    """The records of one scene as they come in: each knows which sample it is for by its turn."""

    def __init__(self, job: Job, scene: SceneJob, writer: SceneWriter) -> None:
        self.scene = scene
        self.done = 0
        self.failed = 0
        self.fixes: list[str] = []
        self.precision: Precision | UnsetType = UNSET
        self._job = job
        self._writer = writer

    def add(self, result: Result) -> None:
        """The record of a sample that went well."""
        metadata = self._metadata(
            status="ok",
            inference_time=result.inference_time,
            end_to_end_time=result.end_to_end_time,
            gpu_memory_used=result.gpu_memory_used,
            fixes=self.fixes,
        )
        self._writer.append(make_record(metadata, result.outputs))
        self.done += 1

    def fail(self, trouble: Trouble) -> None:
        """The record of a sample without outputs."""
        metadata = self._metadata(status="failed", failure=trouble.for_record(), fixes=self.fixes)
        self._writer.append(make_record(metadata, Outputs()))
        self.done += 1
        self.failed += 1

    def _metadata(self, **facts: Any) -> Metadata:
        sample = self.scene.samples[self.done]
        return Metadata(
            model_name=self._job.model,
            variant=self._job.variant,
            run=self._job.run.header.run,
            sample_token=str(sample["sample_token"]),
            scene=self.scene.name,
            index_in_scene=int(sample["index_in_scene"]),
            precision=self.precision,
            **facts,
        )
