"""Any data set that models run on: what the pipeline asks of it, and opening the one that lies in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from admlops.datasets.nuscenes import tables as nuscenes
from admlops.datasets.nuscenes.tables import GroundTruthBox, NuScenes, Scene
from admlops.datasets.openlane.frames import OpenLaneV2
from worker.samples import openlane

NUSCENES_VERSION = "v1.0-mini"
JUDGED_ON = {"v1.0-trainval": "val", "v1.0-test": "test"}


class DataSet(Protocol):
    """`NuScenes` and `OpenLaneV2` are two; see their methods."""

    root: Path
    version: str

    @property
    def kind(self) -> str:
        """`nuscenes` or `openlanev2`, as a model's `dataset`."""

    @property
    def is_synthetic(self) -> bool: ...
    @property
    def has_context(self) -> bool: ...
    def scenes(self, names: Iterable[str] | None = None) -> list[Scene]: ...
    def scenes_of_split(self, split: str) -> list[Scene]: ...
    def sample(self, token: str) -> dict[str, Any]: ...
    def context(self, token: str) -> dict[str, Any]: ...
    def location(self, token: str) -> str: ...
    def ground_truth(self, token: str) -> list[GroundTruthBox]: ...
    def missing_files(self, token: str) -> list[Path]: ...


def default_split(root: Path, version: str | None = None) -> str:
    """The split to take where none is named: the one that models are judged on."""
    if openlane.list_versions(str(root.expanduser())):
        return "val"
    return JUDGED_ON.get(version or nuscenes_version(root), "mini_val")


def open_data(root: Path, version: str | None = None) -> NuScenes | OpenLaneV2:
    """The data set in `root`: OpenLane-V2 where its lists of frames lie, else nuScenes.

    Without `version` it is the only one there; of several versions of nuScenes, `v1.0-mini`.

    Raises:
        DataError: the root or the version is missing.
    """
    if openlane.list_versions(str(root.expanduser())):
        return OpenLaneV2(root, version)
    return NuScenes(root, version or nuscenes_version(root))


def nuscenes_version(root: Path) -> str:
    """The version of nuScenes to take where none is named: the only one that is there, else `v1.0-mini`."""
    there = nuscenes.list_versions(root.expanduser())
    return there[0] if len(there) == 1 else NUSCENES_VERSION
