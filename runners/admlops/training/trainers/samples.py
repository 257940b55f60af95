"""The trainer of a program in the model's own folder that reads samples as its adapter does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from admlops.catalog import Model
from admlops.core.counting import count_of
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.datasets.base import Scene
from admlops.datasets.class_labels import labels_path, read_class_labels, require_samples
from admlops.training.trainer import Place, own_program


class SamplesTrainer:
    """Gives the program `samples` and `held_out`, as `worker.samples.form` has them, and `labels`.

    `labels` has the class labels of the data set by task, sample and camera; a task without a file is not there.
    """

    id = "samples"
    takes_processes = False

    def program(self, layout: Layout, model: Model) -> Path:
        return own_program(model)

    def prepare(self, place: Place, *, say: Say) -> dict[str, Any]:
        """List the samples of both splits. Raises DataError: labels are damaged, or of samples that are not there."""

        def list_samples(scenes: Sequence[Scene]) -> list[Any]:
            return [place.data.sample(token) for scene in scenes for token in scene.samples]

        both = {"samples": list_samples(place.scenes), "held_out": list_samples(place.held_out)}
        return {**both, "labels": _read_labels(place, say=say)}


def _read_labels(place: Place, *, say: Say) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for task in place.model.tasks:
        labels = read_class_labels(place.data.root, task)
        if labels is None:
            continue
        path = labels_path(place.data.root, task)
        require_samples(labels, {token for scene in place.data.scenes() for token in scene.samples}, path)
        own = sum(len(labels.get(token, ())) for scene in place.scenes for token in scene.samples)
        say(f"labels of {task} from {path}: {count_of(own, 'camera')} of the training samples")
        found[task] = labels
    return found


TRAINER = SamplesTrainer()
