"""OpenLane-V2 as a data kind."""

from __future__ import annotations

from pathlib import Path

from admlops.datasets.base import DataKind
from admlops.datasets.openlane.frames import OpenLaneV2
from admlops.worker.samples.openlane import list_versions


def _recognise(root: Path) -> bool:
    """By the lists of frames, or by the pickle that the devkit makes of them: then opening it says what is missing."""
    return bool(list_versions(str(root))) or any(root.glob("data_dict_*.pkl"))


KIND = DataKind(
    id="openlanev2",
    title="OpenLane-V2",
    folders=("OpenLane-V2", "synthetic-openlane"),
    synthesize=("--format", "openlane-v2"),
    looks_for="data_dict_subset_A.json or data_dict_subset_B.json",
    recognise=_recognise,
    open=OpenLaneV2,
    default_split=lambda root, version: "val",
    how_to_get="accept its terms at https://github.com/OpenDriveLab/OpenLane-V2 and unpack it to {folder}",
    versions=lambda root: list_versions(str(root)),
    make_small="admlops.synthetic.small:make_openlane",
)
