"""Writing the records of one scene as the answers come in, in the order of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from admlops.execution.failures import WorkerFailure
from admlops.execution.messages import Ready, Result
from admlops.execution.scene_job import Job, SampleRef, SceneJob
from admlops.results.record import BatchShare, Metadata, Outputs
from admlops.results.record_json import make_record
from admlops.results.scene_writer import SceneWriter


class SceneRecorder:
    """The records of one scene: an answer belongs to the next sample that has none.

    Args:
        job: the run's work, for the facts of a record.
        scene: the scene.
        kept: records from before by token, written as they are; the worker is not asked for them.
        ready: how the worker's model was loaded: with which corrections, in which arithmetic.
        shrink: how often the scene ran out of GPU memory, so that the model lowered what it could.
        attempt: the number of this attempt among those that go on at the same time.
    """

    def __init__(
        self,
        job: Job,
        scene: SceneJob,
        *,
        kept: Mapping[str, bytes],
        ready: Ready,
        shrink: int = 0,
        attempt: int = 1,
    ) -> None:
        self.scene = scene
        self.done = 0
        self.failed = 0
        self.ready = ready
        self._shrink = shrink
        self._job = job
        self._kept = kept
        self._next = 0
        self._writer: SceneWriter = job.run.scene_writer(scene.name, attempt=attempt)
        self._writer.open()

    def expected(self) -> SampleRef | None:
        """Write the kept records before the next sample that has none; return it, or None if the scene is whole."""
        while self._next < len(self.scene.samples):
            sample = self.scene.samples[self._next]
            line = self._kept.get(sample.token)
            if line is None:
                return sample
            self._writer.append_line(line)
            self._next += 1
        return None

    def add(self, result: Result) -> None:
        """Write the record of a sample that went well."""
        facts = {
            "status": "ok",
            "gpu_memory_used": result.gpu_memory_used,
            "graphs": result.graphs,
            **_times(result),
        }
        self._write(facts, result.outputs)

    def fail(self, failure: WorkerFailure) -> None:
        """Write the record of a sample without outputs."""
        self._write({"status": "failed", "failure": failure.for_record()}, Outputs())
        self.failed += 1

    def fail_rest(self, failure: WorkerFailure) -> int:
        """Write a failed record for every sample that has no answer; return how many."""
        count = 0
        while self.expected() is not None:
            self.fail(failure)
            count += 1
        return count

    def commit(self) -> None:
        """Put the scene in place. Raises StorageError."""
        self._writer.commit()

    def close(self) -> None:
        """Close the file; what was not committed does not count."""
        self._writer.close()

    def discard(self) -> None:
        """Close the file and remove it, unless it is in place. Raises StorageError."""
        self._writer.discard()

    def _write(self, facts: Mapping[str, Any], outputs: Outputs) -> None:
        sample = self.expected()
        assert sample is not None, "an answer for a scene that is whole"
        metadata = Metadata(
            model_name=self._job.model,
            variant=self._job.variant,
            run=self._job.run.header.run,
            sample_token=sample.token,
            scene=self.scene.name,
            index_in_scene=sample.index_in_scene,
            fixes=self.ready.fixes,
            precision=self.ready.precision,
            shrink=self._shrink,
            **facts,
        )
        self._writer.append(make_record(metadata, outputs))
        self._next += 1
        self.done += 1


def _times(result: Result) -> dict[str, Any]:
    """Return the sample's times; for a batch, its share, which is not the time that a sample takes."""
    if result.batch is UNSET:
        return {"inference_time": result.inference_time, "end_to_end_time": result.end_to_end_time}
    share = BatchShare(
        size=result.batch, inference_share=result.inference_time, end_to_end_share=result.end_to_end_time
    )
    return {"batch": share}
