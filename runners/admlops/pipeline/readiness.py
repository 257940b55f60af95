"""Find out whether a model can run here, without starting anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from admlops.catalog import Model
from admlops.core.paths import Layout
from admlops.environments import find_model

Part = Literal["lock", "source", "adapter", "environment", "weights"]


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Whether a model can run.

    Attributes:
        lacks: the first part that is missing, in the order in which they are set up; None if nothing is.
        reason: what is missing, for a person; empty if nothing is.
        hint: the command that brings it; empty if nothing is missing.
    """

    lacks: Part | None = None
    reason: str = ""
    hint: str = ""

    @property
    def ready(self) -> bool:
        return self.lacks is None

    def __str__(self) -> str:
        return "ready" if self.ready else f"not set up: {self.reason}"


def find_readiness(layout: Layout, model: Model, variant: str | None = None, *, weights: bool = True) -> Readiness:
    """Look at what a model needs in order: lock, source, adapter, environment, weights.

    Args:
        variant: the model's default one if None.
        weights: look for the default checkpoint too; a run with its own checkpoint or random weights needs none.

    Raises:
        CatalogError: the model has no such variant.
    """
    chosen = model.choose_variant(variant)
    set_up = f"make setup-{model.name}"
    if not model.variants[chosen].requirements.is_file():
        lock = f"admlops env lock {model.name} --variant {chosen}"
        return Readiness(lacks="lock", reason=f"no lock for the variant {chosen}", hint=lock)
    missing_source = _missing_source(layout, model)
    if missing_source is not None:
        return Readiness(lacks="source", reason=f"no source in submodules/{missing_source}", hint=set_up)
    if not model.adapter.is_file():
        return Readiness(lacks="adapter", reason="no adapter demo.py", hint="see docs/adding-a-model.md")
    if find_model(layout, model, chosen) is None:
        install = f"admlops env install {model.name} --variant {chosen}"
        reason = f"the environment of the variant {chosen} is not built"
        return Readiness(lacks="environment", reason=reason, hint=set_up if variant is None else install)
    return _find_weights(layout, model) if weights else Readiness()


def _missing_source(layout: Layout, model: Model) -> str | None:
    """The first folder below `submodules/` that the model's code needs and that is absent or empty."""
    own = (model.source.folder or model.name,) if model.source.kind == "git" else ()
    folders: tuple[str, ...] = (*own, *model.source.requires)
    for folder in folders:
        source = layout.submodules / folder
        if not source.is_dir() or not any(source.iterdir()):
            return folder
    return None


def _find_weights(layout: Layout, model: Model) -> Readiness:
    if model.default_checkpoint is None:
        return Readiness()
    file = layout.checkpoints / model.name / model.checkpoints[model.default_checkpoint].file
    if file.is_file():
        return Readiness()
    trained = model.checkpoints[model.default_checkpoint].trained_by is not None
    hint = model.weights_command(model.default_checkpoint) if trained else f"admlops checkpoints fetch {model.name}"
    return Readiness(lacks="weights", reason=f"no weights {file.name}", hint=hint)
