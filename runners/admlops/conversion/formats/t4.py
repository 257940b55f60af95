"""T4, the data sets of TIER IV: nuScenes' tables in `annotation/`, files in `data/`, points in the vehicle's frame.

Source: tier4_perception_dataset, docs/t4_format_3d_detailed.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from admlops.conversion.base import DataFormat, ReadOptions
from admlops.conversion.formats.nuscenes_tables import TableRecording

TABLES = "annotation"


def _recognise(root: Path) -> bool:
    return (root / TABLES / "sample.json").is_file() and (root / "data").is_dir()


def open_t4(root: Path, *, sweeps: bool, channels: Mapping[str, str], categories: Mapping[str, str]) -> TableRecording:
    """Read a T4 data set, with other names for channels and categories."""
    return TableRecording(
        root=root,
        tables=root / TABLES,
        form="t4",
        sweeps=sweeps,
        points_in_ego=True,
        channels=channels,
        categories=categories,
    )


def _read(root: Path, options: ReadOptions) -> TableRecording:
    return open_t4(root, sweeps=options.sweeps, channels={}, categories={})


FORMAT = DataFormat(id="t4", title="T4", holds=frozenset(), recognise=_recognise, read=_read)
