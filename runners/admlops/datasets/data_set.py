"""Any data set that models run on: what the pipeline asks of it, and opening the one that lies in a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from admlops.datasets.nuscenes import GroundTruthBox, NuScenes, Scene
from admlops.datasets.openlane import OpenLaneV2
from inside.openlane import list_versions

NUSCENES_VERSION = "v1.0-mini"


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


def default_split(root: Path) -> str:
    """The split to take where none is named: the one that models are judged on."""
    return "val" if list_versions(str(root.expanduser())) else "mini_val"


def open_data(root: Path, version: str | None = None) -> NuScenes | OpenLaneV2:
    """The data set in `root`: OpenLane-V2 where its lists of frames lie, else nuScenes (`v1.0-mini` if None).

    Raises:
        DataError: the root or the version is missing.
    """
    if list_versions(str(root.expanduser())):
        return OpenLaneV2(root, version)
    return NuScenes(root, version or NUSCENES_VERSION)
