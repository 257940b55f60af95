"""nuScenes as a data kind."""

from __future__ import annotations

from pathlib import Path

from admlops.datasets.base import DataKind
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.datasets.nuscenes.versions import choose_version, list_versions

JUDGED_ON = {"v1.0-trainval": "val", "v1.0-test": "test"}


def _open(root: Path, version: str | None) -> NuScenes:
    return NuScenes(root, version or choose_version(root))


def _default_split(root: Path, version: str | None) -> str:
    return JUDGED_ON.get(version or choose_version(root), "mini_val")


KIND = DataKind(
    id="nuscenes",
    title="nuScenes",
    folders=("nuscenes", "synthetic"),
    synthesize=(),
    looks_for="a folder of tables such as v1.0-mini/ with a sample.json",
    recognise=lambda root: bool(list_versions(root)),
    open=_open,
    default_split=_default_split,
)
