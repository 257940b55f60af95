"""The work of a run as executors get it: scenes by their tokens, samples read when a scene begins, expected outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from admlops.catalog import Model
from admlops.datasets.base import DataSet
from admlops.datasets.nuscenes.tables import Scene
from admlops.execution.output_check import ExpectedOutputs
from admlops.execution.scene_job import SampleRef, SceneJob
from admlops.results.record import Outputs
from worker.samples.form import make_paths_relative

RECORD_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "detection_3d": "detections_3d",
        "motion": "detections_3d",
        "detection_2d": "detections_2d",
        "vector_map": "map_elements",
        "lane_graph": "lane_graph",
        "planning": "plan",
    }
)
"""Task → the key of a record that holds its outputs."""


class DataSetSamples:
    """The samples of a data set, with their context for models that look back. Paths are relative to its root."""

    def __init__(self, data: DataSet, *, with_context: bool) -> None:
        self._data = data
        self._with_context = with_context

    def read(self, token: str) -> Mapping[str, Any]:
        """Return one sample. Raises DataError if the tables do not hold it whole."""
        sample = self._data.sample(token)
        if self._with_context:
            sample = sample | {"context": self._data.context(token)}
        return make_paths_relative(sample, str(self._data.root))


def list_scene_jobs(data: DataSet, scenes: Iterable[Scene]) -> Iterator[SceneJob]:
    """Yield a job for each scene; a sample is named by its token and its place in the whole scene."""
    for scene in scenes:
        (whole,) = data.scenes([scene.name])
        place = {token: index for index, token in enumerate(whole.samples)}
        yield SceneJob(name=scene.name, samples=tuple(SampleRef(token, place[token]) for token in scene.samples))


def expect_outputs(model: Model) -> ExpectedOutputs:
    """Return what a model's records must and may hold: its tasks, and the classes that it lists for them.

    A model with a task that records have no key for may use any key.
    """
    every = frozenset(Outputs.__struct_fields__)
    keys = {task: RECORD_KEYS[task] for task in model.tasks if task in RECORD_KEYS}
    required = frozenset(keys.values())
    classes = {key: frozenset(names) for task, key in keys.items() if (names := getattr(model.classes, task, ()))}
    return ExpectedOutputs(
        required=required, allowed=required if len(keys) == len(model.tasks) else every, classes=classes
    )
