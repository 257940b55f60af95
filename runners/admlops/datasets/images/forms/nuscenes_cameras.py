"""nuScenes' cameras: each picture of a key frame is a sample of its own.

There is no ground truth: nuScenes annotates boxes in space, whose projections frame a cuboid and not what is seen.
`--boxes-2d FILE` gives some.
"""

from __future__ import annotations

import msgspec

from admlops.datasets.images.contents import Contents, Picture, is_picture
from admlops.datasets.images.finder import file_size
from admlops.datasets.images.forms.base import Form, Survey
from admlops.datasets.nuscenes.kind import KIND as NUSCENES
from admlops.datasets.nuscenes.table_stream import stream_rows
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.datasets.nuscenes.versions import list_versions


class _Sample(msgspec.Struct, gc=False):
    token: str
    scene_token: str


class _Scene(msgspec.Struct, gc=False):
    token: str
    name: str


class _Data(msgspec.Struct, gc=False):
    sample_token: str
    is_key_frame: bool
    filename: str
    timestamp: int


def _claim(survey: Survey) -> list[str]:
    return [] if survey.is_file else list_versions(survey.root)


def _open(survey: Survey, version: str) -> Contents:
    data, tables = NuScenes(survey.root, version), survey.root / version
    names = {row.token: row.name for row in stream_rows(tables, "scene", _Scene)}
    scene_of = {row.token: names.get(row.scene_token, "") for row in stream_rows(tables, "sample", _Sample)}
    rows = [row for row in stream_rows(tables, "sample_data", _Data) if row.is_key_frame and is_picture(row.filename)]
    scenes: dict[str, list[Picture]] = {name: [] for name in names.values()}
    for row in sorted(rows, key=lambda row: (row.timestamp, row.filename)):
        path = survey.root / row.filename
        picture = Picture(name=row.filename, path=path, size_bytes=file_size(path), timestamp_us=row.timestamp)
        scenes.setdefault(scene_of.get(row.sample_token, ""), []).append(picture)
    splits = {split: [scene.name for scene in data.scenes_of_split(split)] for split in data.splits()}
    default = NUSCENES.default_split(survey.root, version)
    return Contents(
        files_root=survey.root, scenes=scenes, splits=splits, default_split=default if default in splits else "all"
    )


FORM = Form(id="nuscenes", title="the cameras of nuScenes", claim=_claim, open=_open)
