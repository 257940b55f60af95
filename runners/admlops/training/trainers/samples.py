"""The trainer of a program in the model's own folder that reads samples as its adapter does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from admlops.catalog import Model
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.datasets.base import Scene
from admlops.training.trainer import Place, own_program


class SamplesTrainer:
    """Gives the program `samples` and `held_out`, as `worker.samples.form` has them."""

    id = "samples"
    takes_processes = False

    def program(self, layout: Layout, model: Model) -> Path:
        return own_program(model)

    def prepare(self, place: Place, *, say: Say) -> dict[str, Any]:
        """List the samples of both splits."""

        def list_samples(scenes: Sequence[Scene]) -> list[Any]:
            return [place.data.sample(token) for scene in scenes for token in scene.samples]

        return {"samples": list_samples(place.scenes), "held_out": list_samples(place.held_out)}


TRAINER = SamplesTrainer()
