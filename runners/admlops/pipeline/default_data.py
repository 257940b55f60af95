"""Find the data set to take where none is named, and what only a person can fetch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from admlops.catalog import Model
from admlops.catalog.registries import DATA_KINDS
from admlops.core.errors import DataError
from admlops.core.paths import Layout
from admlops.core.registry import resolve
from admlops.core.types import Planned, Say
from admlops.datasets.base import DataKind


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What only a person can fetch: its `kind` ("data" or "weights"), for which models, and how to get it."""

    kind: str
    name: str
    models: tuple[str, ...]
    how: str


def plan_data(layout: Layout, kind: str) -> tuple[Path, Planned | None]:
    """Return the root that `ensure_data` would return, and what it would make, None if it is there."""
    facts: DataKind = DATA_KINDS.get(kind)
    folders = [layout.data / name for name in facts.folders]
    found = next((folder for folder in folders if _is_set_up(facts, folder)), None)
    if found is not None:
        return found, None
    return folders[-1], Planned(action="make", target=str(folders[-1]), detail="synthetic scenes")


def ensure_data(layout: Layout, kind: str, *, say: Say) -> Path:
    """Return the root of a data set of this kind: the real one if it is set up, else synthetic scenes, made if need be.

    Raises:
        DataError: none is set up, and nothing makes synthetic scenes of this kind.
        UsageError: the folder of the synthetic scenes holds something else.
        StorageError: it cannot be written.
    """
    facts: DataKind = DATA_KINDS.get(kind)
    folders = [layout.data / name for name in facts.folders]
    found = next((folder for folder in folders if _is_set_up(facts, folder)), None)
    if found is not None:
        return found
    if facts.make_small is None:
        how = facts.how_to_get.format(folder=folders[0]) or "pass --data with its root"
        raise DataError(f"{folders[0]} holds no {facts.title} data set", hint=how)
    say(f"{folders[0]} holds no data set; making synthetic scenes in {folders[-1]}")
    resolve(facts.make_small)(folders[-1], say)
    return folders[-1]


def has_data(layout: Layout, kind: str) -> bool:
    """Tell whether a data set of this kind is set up, real or synthetic."""
    facts: DataKind = DATA_KINDS.get(kind)
    return any(_is_set_up(facts, layout.data / name) for name in facts.folders)


def _is_set_up(kind: DataKind, root: Path) -> bool:
    """Tell whether a data set of this kind lies in `root`, whole or not."""
    return root.is_dir() and kind.recognise(root)


def find_missing(layout: Layout, models: Iterable[Model]) -> list[Missing]:
    """List the data sets and default weights that these models want and that are not there."""
    chosen = list(models)
    found = []
    kinds: Iterable[DataKind] = DATA_KINDS.values()
    for kind in kinds:
        readers = tuple(model.name for model in chosen if model.reads[0] == kind.id)
        if not kind.folders:  # the same files as another kind
            continue
        folder = layout.data / kind.folders[0]
        if readers and kind.how_to_get and not _is_set_up(kind, folder):
            how = kind.how_to_get.format(folder=folder)
            found.append(Missing(kind="data", name=kind.title, models=readers, how=how))
    lacking = [model for model in chosen if lacks_weights(layout, model) and not _is_trained(model)]
    for from_drive in (True, False):
        names = tuple(model.name for model in lacking if _is_on_drive(model) is from_drive)
        if names:
            found.append(
                Missing(kind="weights", name="published weights", models=names, how=_how_to_fetch(names[0], from_drive))
            )
    return found


def _is_trained(model: Model) -> bool:
    """Tell whether the model's default weights are made on this machine: nobody need fetch them."""
    return model.checkpoints[str(model.default_checkpoint)].trained_by is not None


def _is_on_drive(model: Model) -> bool:
    """Tell whether the model's default weights are fetched from Google Drive."""
    return model.checkpoints[str(model.default_checkpoint)].google_drive is not None


def _how_to_fetch(name: str, from_drive: bool) -> str:
    fetch = f"'admlops checkpoints fetch {name}'"
    by_hand = f"download in a browser and 'admlops checkpoints add {name} NAME FILE' (admlops checkpoints list {name})"
    if from_drive:
        often = "Google Drive lets a file be downloaded only so often a day and some networks not at all"
        return f"{often}: run {fetch} tomorrow, or {by_hand}"
    return f"run {fetch} where the network reaches them, or {by_hand}"


def lacks_weights(layout: Layout, model: Model) -> bool:
    """Tell whether the model has default weights in the catalogue and they were not fetched."""
    from admlops.checkpoints import path_of

    return model.default_checkpoint is not None and not path_of(layout, model, model.default_checkpoint).is_file()
