"""`trained.json`: the weights of a model that were trained here, by their names, and what they came from.

`checkpoints/<Model>/trained/` holds it, the files, `hashes.json`, and the configurations that they were trained with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from admlops.catalog import Model
from admlops.core.errors import CheckpointError
from admlops.core.paths import Layout
from admlops.core.storage import write_atomically

FILE_NAME = "trained.json"


class Trained(Struct, frozen=True, forbid_unknown_fields=True):
    """Weights that were trained here.

    `config` is the file of the configuration beside the weights, `config_name` the one in the catalogue, for models
    whose training writes none. `parent` is what they began as: {kind, name, sha256}. `data` has the samples' digest,
    `sources` the commits of the model's code. `metric` is the best value by which this checkpoint was chosen, None
    where none was evaluated.
    `teacher` is what they were distilled from: {name, sha256, temperature, soft_share}. `pruned` is the share of
    channels that was taken out of the parent.
    """

    model: str
    file: str
    sha256: str
    config: str | None
    training: str
    iteration: int
    parent: dict[str, Any]
    data: dict[str, Any]
    commit: str | None
    sources: dict[str, str]
    created: str
    metric: dict[str, Any] | None = None
    config_name: str | None = None
    teacher: dict[str, Any] | None = None
    pruned: float | None = None


def trained_folder(layout: Layout, model: Model) -> Path:
    """Where the trained weights of a model lie."""
    return layout.checkpoints / model.name / "trained"


def read_trained(layout: Layout, model: Model) -> dict[str, Trained]:
    """Name → weights; empty where nothing was trained. Raises CheckpointError: the list is damaged."""
    path = trained_folder(layout, model) / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Trained])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint=f"mv {path} {path}.damaged") from error


def write_trained(layout: Layout, model: Model, name: str, trained: Trained) -> None:
    """Add weights to the list, or replace those of that name."""
    names = {**read_trained(layout, model), name: trained}
    content = msgspec.json.format(msgspec.json.encode(names), indent=1)
    write_atomically(trained_folder(layout, model) / FILE_NAME, content + b"\n")
