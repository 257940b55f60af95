"""Own data, where a TOML says how they lie: plain folders here, or KITTI, T4, OpenLABEL, Scalabel under other names."""

from __future__ import annotations

from pathlib import Path

from admlops.conversion.base import DataFormat, ReadOptions
from admlops.conversion.formats.folders import FoldersRecording
from admlops.conversion.formats.kitti import KittiRecording
from admlops.conversion.formats.openlabel import OpenLabelRecording
from admlops.conversion.formats.own_toml import read_own_toml
from admlops.conversion.formats.scalabel import ScalabelRecording
from admlops.conversion.formats.t4 import open_t4
from admlops.conversion.frames import Recording
from admlops.core.errors import DataError


def _recognise(root: Path) -> bool:
    return root.is_file() and root.suffix == ".toml"


def _read(path: Path, options: ReadOptions) -> Recording:
    own, root = read_own_toml(path)
    if own.form == "kitti":
        return KittiRecording(root=root, camera=own.camera, categories=own.categories)
    if own.form == "t4":
        return open_t4(root, sweeps=options.sweeps, channels=own.channels, categories=own.categories)
    if own.form == "openlabel":
        return OpenLabelRecording(root=root, channels=own.channels, categories=own.categories)
    if own.form == "scalabel":
        if not own.labels:
            raise DataError(f"{path} has no key labels", hint='labels = "labels.json"   # below root, Scalabel\'s file')
        return ScalabelRecording(root=root, own=own)
    return FoldersRecording(root=root, own=own, toml=path)


FORMAT = DataFormat(id="own", title="own data", holds=frozenset(), recognise=_recognise, read=_read)
