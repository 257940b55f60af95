"""What is wrong with the LiDAR files of nuScenes: for `admlops data check`.

Detectors that look at LiDAR take the key frame and the sweeps between key frames before it. Only the files' sizes are
checked, not their content: the whole data set has hundreds of thousands.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from admlops.core.counting import count_of
from admlops.core.types import Watch
from admlops.datasets.base import Problem
from admlops.datasets.nuscenes.table_rows import Calibrated, SampleData, Sensor
from admlops.datasets.nuscenes.table_stream import stream_rows
from admlops.worker.samples.nuscenes import LIDAR

VALUES = 5
"""What a file holds of each point: x, y, z, intensity, ring."""
POINT_BYTES = VALUES * 4
STAND_IN = bytes(POINT_BYTES)
"""One point at the sensor: the stand-in of a key frame without LiDAR, because every nuScenes sample has a file."""
FEWEST_POINTS = 1000
"""A turn of nuScenes' LiDAR gives some 35,000; what holds fewer than this was cut off at a point's end."""


def find_lidar_problems(root: Path, folder: Path, watch: Watch) -> Iterator[Problem]:
    """Name every LiDAR file of a strange size; count stand-ins, and the sweeps between key frames that are not there.

    Missing or empty key frames are reported elsewhere: they are among a sample's files.
    """
    sensors = {row.token for row in stream_rows(folder, "sensor", Sensor) if row.channel == LIDAR}
    lidars = {row.token for row in stream_rows(folder, "calibrated_sensor", Calibrated) if row.sensor_token in sensors}
    rows = [row for row in stream_rows(folder, "sample_data", SampleData) if row.calibrated_sensor_token in lidars]
    absent: list[str] = []
    stand_ins = 0
    for done, row in enumerate(rows):
        watch(done, len(rows))
        size = _size(root / row.filename)
        if not size:
            absent += [] if row.is_key_frame else [row.filename]
        elif row.is_key_frame and size == POINT_BYTES and (root / row.filename).read_bytes() == STAND_IN:
            stand_ins += 1
        elif size % POINT_BYTES or size < FEWEST_POINTS * POINT_BYTES:
            yield Problem(name=row.filename, kind="LiDAR file not whole", what=_describe(size), is_error=True)
    sweeps = sum(not row.is_key_frame for row in rows)
    if stand_ins:
        keys = len(rows) - sweeps
        what = f"{count_of(stand_ins, 'key frame')} of {keys} had no LiDAR: one point at the sensor stands for it"
        yield Problem(name=f"samples/{LIDAR}/", kind="no LiDAR", what=what, is_error=False)
    if stand_ins == len(rows):
        return
    if absent:
        what = (
            f"{count_of(len(absent), 'LiDAR sweep')} of {sweeps} between key frames missing or empty, first {absent[0]}"
            f"; models that look at LiDAR need them"
        )
        yield Problem(name="sweeps/", kind="no LiDAR sweeps", what=what, is_error=False)
    elif not sweeps:
        what = "the tables list no LiDAR sweep between key frames; models that look at LiDAR need them"
        yield Problem(name="sample_data.json", kind="no LiDAR sweeps", what=what, is_error=False)


def _describe(size: int) -> str:
    if size % POINT_BYTES:
        return f"{size} bytes are no whole number of points of {POINT_BYTES}"
    return f"it holds {count_of(size // POINT_BYTES, 'point')}, and a turn of the LiDAR gives some 35,000"


def _size(path: Path) -> int:
    """The size of a file in bytes; 0 where there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0
