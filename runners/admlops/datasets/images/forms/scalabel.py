"""BDD100K's labels in Scalabel's form: a list of frames with `labels`, each with a `category` and a `box2d`.

`x2` and `y2` of a box are inclusive: its width is x2 - x1 + 1. A label that is marked as crowd or to be ignored is so.
A frame without labels has no objects, as in Scalabel's own evaluation.

Source: bdd100k, doc/source/format.rst; scalabel, label/transforms.py (`box2d_to_bbox`) and label/to_coco.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from admlops.core.errors import DataError
from admlops.core.storage import file_sha256
from admlops.datasets.images.contents import Box, Contents, Size, group_by_folder, tidy_classes
from admlops.datasets.images.finder import PictureFinder, find_base
from admlops.datasets.images.forms.base import Form, Survey

KEYS = re.compile(r'"(labels|videoName|frameIndex|box2d)"\s*:')
IGNORED = ("crowd", "ignored")


class _Box2D(msgspec.Struct, gc=False):
    x1: float
    y1: float
    x2: float
    y2: float


class _Label(msgspec.Struct, gc=False):
    category: str | None = None
    box2d: _Box2D | None = None
    attributes: dict[str, bool | int | float | str | list[str] | None] | None = None


class _Size(msgspec.Struct, gc=False):
    width: int
    height: int


class _Frame(msgspec.Struct, gc=False):
    name: str
    videoName: str | None = None  # noqa: N815  the file's own key
    labels: list[_Label] | None = None
    size: _Size | None = None


class _Whole(msgspec.Struct):
    frames: list[_Frame]


def _claim(survey: Survey) -> list[str]:
    found = []
    for path in survey.files:
        if path.suffix.lower() == ".json":
            head = survey.head(path)
            is_list = head.startswith("[") and '"name"' in head and KEYS.search(head)
            if is_list or re.match(r'\{\s*"frames"\s*:\s*\[', head):
                found.append(survey.named(path))
    return found


def _open(survey: Survey, version: str) -> Contents:
    path = survey.path_of(version)
    frames = _read(path)
    if not frames:
        raise DataError(f"{path} lists no frame", hint="pass --data with another file")
    base = find_base(path, [frame.name for frame in frames]) if survey.is_file else survey.root
    finder = PictureFinder(base)
    pictures = [finder.find_or_name(_named(frame), where=path) for frame in frames]
    names = [picture.name for picture in pictures]
    repeated = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if repeated is not None:
        raise DataError(f"{path} lists the picture {repeated} twice", hint="give each picture one frame")
    return Contents(
        files_root=base,
        scenes=group_by_folder(pictures),
        labels=ScalabelLabels(path, dict(zip(names, frames, strict=True))),
    )


def _named(frame: _Frame) -> str:
    return f"{frame.videoName}/{frame.name}" if frame.videoName else frame.name


def _read(path: Path) -> list[_Frame]:
    try:
        content = path.read_bytes()
        if content.lstrip()[:1] == b"{":
            return msgspec.json.decode(content, type=_Whole).frames
        return msgspec.json.decode(content, type=list[_Frame])
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    except msgspec.DecodeError as error:
        raise DataError(
            f"{path} is not a list of frames in Scalabel's form: {error}",
            hint="a frame has name and labels, a label category and box2d with x1, y1, x2, y2",
        ) from error


class ScalabelLabels:
    """The boxes of frames by picture; labels without a `box2d`, such as lanes, are none."""

    def __init__(self, path: Path, frames: dict[str, _Frame]) -> None:
        self.path = path
        self._frames = frames
        self._tidy = tidy_classes(
            sorted({one.category or "" for frame in frames.values() for one in frame.labels or () if one.box2d})
        )
        self.classes = tuple(self._tidy.values())

    def boxes(self, name: str, size: Callable[[], Size]) -> Sequence[Box] | None:
        """The boxes of a picture."""
        return [self._to_box(one, one.box2d, name) for one in self._frames[name].labels or () if one.box2d is not None]

    def _to_box(self, label: _Label, box: _Box2D, name: str) -> Box:
        if label.category is None or box.x2 < box.x1 or box.y2 < box.y1:
            what = "has no category" if label.category is None else "is inside out"
            raise DataError(f"{self.path}: a box of {name} {what}", hint=f"mend the labels of {name} in the file")
        marks = label.attributes or {}
        return Box(
            xyxy=(box.x1, box.y1, box.x2 + 1, box.y2 + 1),
            class_name=self._tidy[label.category],
            ignore=any(bool(marks.get(mark)) for mark in IGNORED),
        )

    def stated_size(self, name: str) -> Size | None:
        """What the frame says."""
        size = self._frames[name].size
        return None if size is None else (size.width, size.height)

    def sha256(self) -> str:
        """Of the file."""
        return file_sha256(self.path)


FORM = Form(id="scalabel", title="BDD100K or Scalabel (JSON)", claim=_claim, open=_open)
