"""Which entry of the catalogue a file of weights is, by its content: never by its name."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from admlops.catalog import Model, list_models, load_model
from admlops.checkpoints.inspection import Inspection
from admlops.checkpoints.register import Entry, read_register
from admlops.checkpoints.weights import Weights
from admlops.core.errors import CatalogError, CheckpointError
from admlops.core.paths import Layout

_STAMP = re.compile(r"_\d{8}_\d{6}$")
"""What mmengine appends to a configuration's name to name an experiment."""


class Owner(NamedTuple):
    """An entry of the catalogue that a file belongs to, and how that is known."""

    model: str
    name: str
    reason: str


class FoundConfig(NamedTuple):
    """A config of the catalogue that weights were trained with, and how that is known."""

    name: str
    reason: str


def find_name(layout: Layout, model: Model, sha256: str, inspection: Inspection) -> str | None:
    """The checkpoint of the model that the file is: the same file, or the same weights in another form."""
    entries = _entries(layout, model)
    for name, checkpoint in model.checkpoints.items():
        if sha256 in (checkpoint.sha256, entries[name].sha256 if name in entries else None):
            return name
    tensors = inspection.tensors_sha256
    same = [name for name, entry in entries.items() if tensors and entry.tensors_sha256 == tensors]
    return same[0] if same else None


def find_owner(layout: Layout, model: Model, name: str, inspection: Inspection) -> Owner | None:
    """The other entry of the catalogue that a file about to become `name` belongs to; None where nothing says so."""
    wanted = model.checkpoints[name].config
    if config_of_name(model, inspection.weights) == wanted:
        return None
    for other in _all_models(layout, model):
        for known, entry in _entries(layout, other).items():
            same = inspection.tensors_sha256 and entry.tensors_sha256 == inspection.tensors_sha256
            if same and other.name != model.name:
                return Owner(other.name, known, f"its weights are those of {other.name} {known}")
    for other in _all_models(layout, model):
        config = config_of_name(other, inspection.weights)
        if config is None:
            continue
        named = [one for one, checkpoint in other.checkpoints.items() if checkpoint.config == config]
        if named:
            known = named[0]
            reason = (
                f"it says that it was trained with {inspection.weights.config_name}, the config of {other.name} {known}"
            )
            return Owner(other.name, known, reason)
    return None


def find_config(layout: Layout, model: Model, weights: Weights) -> FoundConfig | None:
    """The config that weights of one's own were trained with: as they say, or by the shapes of recorded weights.

    Raises:
        CheckpointError: they have the shapes of several configs, and not of the default one.
    """
    said = config_of_name(model, weights)
    if said is not None:
        return FoundConfig(said, f"the weights say that they were trained with {weights.config_name}")
    entries = _entries(layout, model)
    same = [name for name, entry in entries.items() if entry.signature and entry.signature == weights.signature]
    configs = list(dict.fromkeys(model.checkpoints[name].config for name in same))
    usual = model.checkpoints[model.default_checkpoint].config if model.default_checkpoint else None
    if usual in configs or len(configs) == 1:
        config = usual if usual in configs else configs[0]
        assert config is not None, "one of the lists above holds it"
        rest = [one for one in configs if one != config]
        also = f", and of {' and '.join(rest)}: --config chooses" if rest else ""
        return FoundConfig(config, f"the weights have the names and shapes of those of {config}{also}")
    if configs:
        raise CheckpointError(
            f"the weights have the names and shapes of several configs of {model.name}: {', '.join(configs)}",
            hint=f"pass --config {configs[0]}   # or another of them: the one that they were trained with",
        )
    return None


def config_of_name(model: Model, weights: Weights) -> str | None:
    """The model's config whose file has the name that the trainer kept."""
    said = PurePosixPath(weights.config_name.replace("\\", "/")).name
    said = _STAMP.sub("", said.removesuffix(".py"))
    found = [name for name, path in model.configs.items() if said and PurePosixPath(path).stem == said]
    return found[0] if len(found) == 1 else None


def _entries(layout: Layout, model: Model) -> dict[str, Entry]:
    """Return what is recorded of the model's checkpoints, by their names in the catalogue."""
    recorded = read_register(layout.checkpoints / model.name)
    return {name: recorded[one.file] for name, one in model.checkpoints.items() if one.file in recorded}


def _all_models(layout: Layout, first: Model) -> list[Model]:
    """The model, then the others; those whose catalogue entry is broken are left out."""
    models = [first]
    for name in list_models(layout):
        if name != first.name:
            try:
                models.append(load_model(layout, name))
            except CatalogError:
                continue
    return models
