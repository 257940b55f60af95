"""nuScenes' layout: tables, `samples/`, `sweeps/`, `maps/`, `can_bus/`; what every model here runs on."""

from __future__ import annotations

from pathlib import Path

from admlops.conversion.base import DataFormat, ReadOptions
from admlops.conversion.features import FEATURES
from admlops.conversion.formats.nuscenes_tables import TableRecording
from admlops.conversion.formats.nuscenes_writer import NuScenesWriter
from admlops.core.errors import DataError
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.datasets.nuscenes.versions import choose_version, list_versions


def _recognise(root: Path) -> bool:
    return bool(list_versions(root))


def _read(root: Path, options: ReadOptions) -> TableRecording:
    version = options.version or choose_version(root)
    known = NuScenes(root, version)  # it says what is missing
    if not (known.root / version / "sample_annotation.json").is_file():
        raise DataError(f"{known.root / version} has no sample_annotation.json", hint="unpack the tables again")
    return TableRecording(root=known.root, tables=known.root / version, sweeps=options.sweeps)


FORMAT = DataFormat(
    id="nuscenes",
    title="nuScenes' layout",
    holds=frozenset(FEATURES) - {"boxes_2d", "ignored"},
    recognise=_recognise,
    read=_read,
    write=NuScenesWriter,
    wants_sweeps=True,
    options=frozenset({"tables"}),
)
