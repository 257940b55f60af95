"""nuScenes as a data kind."""

from __future__ import annotations

from pathlib import Path

from admlops.datasets.base import DataKind
from admlops.datasets.nuscenes.stream import NuScenes12Hz
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.datasets.nuscenes.versions import MINI, choose_version, list_versions

CONVERTED = "conversion.json"
"""What `admlops data convert` leaves beside the tables."""
JUDGED_ON = {"v1.0-trainval": "val", "v1.0-test": "test"}


def _open(root: Path, version: str | None) -> NuScenes:
    return NuScenes(root, version or choose_version(root))


def _default_split(root: Path, version: str | None) -> str:
    """The split that models are judged on; of a converted set with scenes of its own, all of it."""
    name = version or choose_version(root)
    own = "all" if name != MINI and (root / CONVERTED).is_file() else "mini_val"
    return JUDGED_ON.get(name, own)


KIND = DataKind(
    id="nuscenes",
    title="nuScenes",
    folders=("nuscenes", "synthetic"),
    synthesize=(),
    looks_for="a folder of tables such as v1.0-mini/ with a sample.json",
    recognise=lambda root: bool(list_versions(root)),
    open=_open,
    default_split=_default_split,
    how_to_get="register at https://www.nuscenes.org/nuscenes, accept its licence (not for commercial use), and unpack "
    "v1.0-mini or v1.0-trainval, the map expansion 1.3 (into maps/) and the CAN bus expansion to {folder}",
    versions=list_versions,
    make_small="admlops.synthetic.small:make_nuscenes",
)

STREAM_KIND = DataKind(
    id=NuScenes12Hz.kind,
    title="nuScenes at 12 Hz",
    folders=(),
    synthesize=None,
    looks_for=KIND.looks_for,
    recognise=KIND.recognise,
    open=lambda root, version: NuScenes12Hz(root, version or choose_version(root)),
    default_split=_default_split,
    how_to_get=KIND.how_to_get,
    versions=list_versions,
)
"""The same root, where `--stream` asks for it: registered after nuScenes, which is the default for a root."""
