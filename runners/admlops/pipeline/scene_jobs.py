"""The work of a run as executors get it: scenes by their tokens, samples read when a scene begins, expected outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from admlops.catalog import Model
from admlops.catalog.registries import TASKS
from admlops.datasets.base import Dataset, HasContext, Scene, files_root
from admlops.execution.output_check import ExpectedOutputs, Vocabulary
from admlops.execution.scene_job import SampleRef, SceneJob
from admlops.worker.corruptions.fault import RIG, Fault
from admlops.worker.corruptions.rig import corrupt_rig
from admlops.worker.samples.form import make_paths_relative


class DataSetSamples:
    """The samples of a data set, with their context for models that look back. Paths are relative to `files_root`."""

    def __init__(self, data: Dataset, *, with_context: bool, fault: Fault | None = None) -> None:
        self._data = data
        self._with_context = with_context
        self._fault = fault if fault is not None and fault.name in RIG else None
        self._scene: Scene | None = None

    def read(self, token: str) -> Mapping[str, Any]:
        """Return one sample. Raises DataError if the tables do not hold it whole."""
        sample = self._data.sample(token)
        if self._with_context:
            assert isinstance(self._data, HasContext), "checked before the run"
            sample = sample | {"context": self._data.context(token)}
        if self._fault is not None:
            sample = self._with_fault(sample, self._fault)
        return make_paths_relative(sample, str(files_root(self._data)))

    def _with_fault(self, sample: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
        """Return a sample whose rig has a fault: the samples before it in its scene are the data set's."""
        if self._scene is None or self._scene.name != sample["scene"]:
            (self._scene,) = self._data.scenes([sample["scene"]])
        tokens, place = self._scene.samples, int(sample["index_in_scene"])

        def before() -> dict[str, Any] | None:
            return self._data.sample(tokens[place - 1]) if place else None

        return corrupt_rig(sample, fault, before=before, first=lambda: self._data.sample(tokens[0]))


def list_scene_jobs(data: Dataset, scenes: Iterable[Scene]) -> Iterator[SceneJob]:
    """Yield a job for each scene; a sample is named by its token and its place in the whole scene."""
    for scene in scenes:
        (whole,) = data.scenes([scene.name])
        place = {token: index for index, token in enumerate(whole.samples)}
        yield SceneJob(name=scene.name, samples=tuple(SampleRef(token, place[token]) for token in scene.samples))


def expect_outputs(model: Model) -> ExpectedOutputs:
    """Return what a model's records must and may hold: its tasks, and the classes that it lists for them."""
    tasks = [TASKS.get(name) for name in model.tasks]
    required = frozenset(task.output for task in tasks)
    classes = {
        task.output: Vocabulary(known=frozenset(model.classes[task.id]), names_in=task.names_in)
        for task in tasks
        if task.names_in is not None and model.classes.get(task.id)
    }
    return ExpectedOutputs(required=required, allowed=required, classes=classes)
