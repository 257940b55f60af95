"""Which data set to take where none is named, and how a person gets the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from admlops.catalog import Model
from admlops.core.paths import Layout

Say = Callable[[str], None]

SCENES, SAMPLES, SCALE, SEED = 2, 12, 0.5, 1
"""Of the synthetic scenes that are made here: two short scenes of half size, the same on every machine."""


@dataclass(frozen=True, kw_only=True)
class DataKind:
    """A kind of data set, as a model's `dataset` names it. `real` and `synthetic` are folders below `data/`."""

    title: str
    real: str
    synthetic: str
    instructions: str


DATA_KINDS = {
    "nuscenes": DataKind(
        title="nuScenes",
        real="nuscenes",
        synthetic="synthetic",
        instructions="register at https://www.nuscenes.org/nuscenes, accept its licence (not for commercial use), and "
        "unpack v1.0-mini or v1.0-trainval, the map expansion 1.3 (into maps/) and the CAN bus expansion to {folder}",
    ),
    "openlanev2": DataKind(
        title="OpenLane-V2",
        real="OpenLane-V2",
        synthetic="synthetic-openlane",
        instructions="accept its terms at https://github.com/OpenDriveLab/OpenLane-V2 and unpack it to {folder}",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What only a person can fetch: its `kind` ("data" or "weights"), for which models, and how to get it."""

    kind: str
    name: str
    models: tuple[str, ...]
    how: str


def kind_of(root: Path) -> str:
    """The kind of the data set in `root`: `openlanev2` where its lists of frames lie, else `nuscenes`."""
    from worker.samples import openlane

    return "openlanev2" if openlane.list_versions(str(root.expanduser())) else "nuscenes"


def is_set_up(kind: str, root: Path) -> bool:
    """Whether a data set of this kind lies in `root`, whole or not: at least one version's tables or list of frames."""
    from admlops.datasets.nuscenes.tables import tables as nuscenes
    from worker.samples import openlane

    return bool(openlane.list_versions(str(root)) if kind == "openlanev2" else nuscenes.list_versions(root))


def ensure_data(layout: Layout, kind: str, *, say: Say) -> Path:
    """The root of the real data set of this kind if it is set up, else of synthetic scenes, made now if need be.

    Raises:
        UsageError: the folder of the synthetic scenes holds something else.
        StorageError: it cannot be written.
    """
    real, made = layout.data / DATA_KINDS[kind].real, layout.data / DATA_KINDS[kind].synthetic
    if is_set_up(kind, real):
        return real
    if not is_set_up(kind, made):
        say(f"{real} holds no data set; making synthetic scenes in {made}")
        _synthesize(kind, made, say)
    return made


def _synthesize(kind: str, target: Path, say: Say) -> None:
    from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane
    from admlops.synthetic.options import SynthesisOptions
    from admlops.synthetic.writer import synthesize

    def show(done: int, total: int) -> None:
        if done % (total // 4) == 0:
            say(f"synthetic scenes: {done} of {total} key frames")

    if kind == "openlanev2":
        lanes = OpenLaneOptions(scenes=SCENES, samples=SAMPLES, scale=SCALE, seed=SEED)
        synthesize_openlane(target, lanes, on_progress=show)
    else:
        scenes = SynthesisOptions(scenes=SCENES, samples=SAMPLES, scale=SCALE, seed=SEED, camera_sweeps=0)
        synthesize(target, scenes, on_progress=show)


def find_missing(layout: Layout, models: Iterable[Model]) -> list[Missing]:
    """The data sets and default weights that these models want and that are not there."""
    chosen = list(models)
    found = []
    for kind, facts in DATA_KINDS.items():
        readers = tuple(model.name for model in chosen if model.dataset == kind)
        folder = layout.data / facts.real
        if readers and not is_set_up(kind, folder):
            how = facts.instructions.format(folder=folder)
            found.append(Missing(kind="data", name=facts.title, models=readers, how=how))
    lacking = tuple(model.name for model in chosen if lacks_weights(layout, model))
    if lacking:
        how = (
            "Google Drive lets a file be downloaded only so often a day and some networks not at all: run "
            f"'admlops checkpoints fetch {lacking[0]}' tomorrow, or download in a browser and "
            f"'admlops checkpoints add {lacking[0]} NAME FILE' (admlops checkpoints list {lacking[0]})"
        )
        found.append(Missing(kind="weights", name="published weights", models=lacking, how=how))
    return found


def lacks_weights(layout: Layout, model: Model) -> bool:
    """Whether the model has default weights in the catalogue and they were not fetched."""
    from admlops.checkpoints import path_of

    return model.default_checkpoint is not None and not path_of(layout, model, model.default_checkpoint).is_file()
