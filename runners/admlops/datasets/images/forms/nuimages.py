"""nuImages: key frames of six cameras with amodal boxes, in tables as nuScenes has them.

A box is xmin, ymin, xmax, ymax [pixels]. Categories are called as nuScenes' detection classes where they are one of
them, else by their last part. A scene is a log.

Source: nuscenes-devkit, docs/schema_nuimages.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.core.storage import file_sha256
from admlops.datasets.images.contents import Box, Contents, Picture, Size
from admlops.datasets.images.finder import file_size
from admlops.datasets.images.forms.base import Form, Survey
from admlops.datasets.nuscenes.table_stream import stream_rows

BOXES = "object_ann"
TABLES = ("sample", "sample_data", "log", "category", BOXES)


class _Sample(msgspec.Struct, gc=False):
    token: str
    log_token: str


class _Log(msgspec.Struct, gc=False):
    token: str
    logfile: str


class _Data(msgspec.Struct, gc=False):
    token: str
    sample_token: str
    is_key_frame: bool
    filename: str
    timestamp: int
    width: int
    height: int


class _Category(msgspec.Struct, gc=False):
    token: str
    name: str


class _Object(msgspec.Struct, gc=False):
    sample_data_token: str
    category_token: str
    bbox: tuple[float, float, float, float]


def list_tables(root: Path) -> list[str]:
    """Return the folders of nuImages' tables in a root."""
    try:
        return sorted(
            path.parent.name for path in root.glob(f"*/{BOXES}.json") if (path.parent / "sample.json").is_file()
        )
    except OSError:
        return []


def _claim(survey: Survey) -> list[str]:
    return [] if survey.is_file else list_tables(survey.root)


def _open(survey: Survey, version: str) -> Contents:
    tables = survey.root / version
    missing = next((name for name in TABLES if not (tables / f"{name}.json").is_file()), None)
    if missing is not None:
        raise DataError(
            f"{tables / missing}.json is missing", hint=f"unpack {version} of nuImages in {survey.root} again"
        )
    log_of = {row.token: row.log_token for row in stream_rows(tables, "sample", _Sample)}
    logs = {row.token: row.logfile for row in stream_rows(tables, "log", _Log)}
    rows = sorted(
        (row for row in stream_rows(tables, "sample_data", _Data) if row.is_key_frame),
        key=lambda row: (row.timestamp, row.filename),
    )
    scenes: dict[str, list[Picture]] = {}
    for row in rows:
        path = survey.root / row.filename
        log = log_of.get(row.sample_token, "")
        picture = Picture(name=row.filename, path=path, size_bytes=file_size(path), timestamp_us=row.timestamp)
        scenes.setdefault(logs.get(log, log) or version, []).append(picture)
    if not rows:
        raise DataError(f"{tables} has no key frame", hint=f"unpack {version} of nuImages in {survey.root} again")
    return Contents(files_root=survey.root, scenes=scenes, labels=NuImagesLabels(tables, rows))


class NuImagesLabels:
    """The boxes of the tables by picture."""

    def __init__(self, tables: Path, rows: Sequence[_Data]) -> None:
        self._tables = tables
        self._sizes = {row.filename: (row.width, row.height) for row in rows}
        categories = {row.token: _name(row.name) for row in stream_rows(tables, "category", _Category)}
        self.classes = tuple(dict.fromkeys(categories.values()))
        names = {row.token: row.filename for row in rows}
        self._boxes: dict[str, list[Box]] = {row.filename: [] for row in rows}
        for one in stream_rows(tables, BOXES, _Object):
            if one.sample_data_token in names:
                kind = categories.get(one.category_token)
                if kind is None:
                    raise DataError(
                        f"{tables / BOXES}.json names the category {one.category_token}, which category.json lacks",
                        hint=f"unpack {tables.name} of nuImages again",
                    )
                self._boxes[names[one.sample_data_token]].append(Box(xyxy=one.bbox, class_name=kind))

    def boxes(self, name: str, size: Callable[[], Size]) -> Sequence[Box] | None:
        """The boxes of a picture."""
        return self._boxes[name]

    def stated_size(self, name: str) -> Size | None:
        """What `sample_data` says."""
        return self._sizes[name]

    def sha256(self) -> str:
        """Of the tables with boxes and categories."""
        parts = [file_sha256(self._tables / f"{name}.json") for name in (BOXES, "category")]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _name(category: str) -> str:
    return CATEGORY_CLASSES.get(category) or category.removeprefix("vehicle.").removeprefix("human.")


FORM = Form(id="nuimages", title="nuImages", claim=_claim, open=_open)
