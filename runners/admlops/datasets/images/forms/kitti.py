"""KITTI's object detection: `image_2/` with pictures, and `label_2/` with a text file for each.

A line is: type, truncated, occluded, alpha, then left, top, right, bottom [pixels, from 0], then the box in space. What
is `DontCare` is ignored for every class. A Van is not a Car. Class names are KITTI's in lower case, or nuScenes'
detection classes, which nuscenes-devkit's export to this form writes.

Source: the object development kit's readme.txt.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import CLASSES
from admlops.datasets.base import ANY_CLASS
from admlops.datasets.images.contents import Box, Contents, Picture, Size, group_by_folder
from admlops.datasets.images.finder import list_pictures
from admlops.datasets.images.forms.base import Form, Survey, read_text

PICTURES, LABELS = "image_2", "label_2"
PLACES = ("", "training", "data_object_image_2/training", "testing")
TYPES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
DONT_CARE = "DontCare"
FIELDS = (15, 16)
"""Numbers of fields of a line: of ground truth, and of results, which end with a score."""


def _claim(survey: Survey) -> list[str]:
    if survey.is_file:
        return []
    return [FORM.id] if any((survey.root / place / PICTURES).is_dir() for place in PLACES) else []


def _open(survey: Survey, version: str) -> Contents:
    pictures: list[Picture] = []
    files: dict[str, Path] = {}
    for place in PLACES:
        folder = survey.root / place / PICTURES
        for found in list_pictures(folder) if folder.is_dir() else []:
            name = f"{place}/{PICTURES}/{found.name}".lstrip("/")
            pictures.append(Picture(name=name, path=found.path, size_bytes=found.size_bytes))
            files[name] = _label_folder(survey.root, place) / Path(found.name).with_suffix(".txt")
    if not pictures:
        raise DataError(f"{survey.root} holds no picture in {PICTURES}/", hint="unpack data_object_image_2.zip there")
    labelled = any((survey.root / place / LABELS).is_dir() for place in (*PLACES, "data_object_label_2/training"))
    labels = KittiLabels(files) if labelled else None
    return Contents(files_root=survey.root, scenes=group_by_folder(pictures), labels=labels)


def _label_folder(root: Path, place: str) -> Path:
    own = root / place / LABELS
    apart = root / place.replace(PICTURES, LABELS) / LABELS
    return own if own.is_dir() or not apart.is_dir() else apart


class KittiLabels:
    """The label files of pictures, read when they are asked for. A picture without one is not annotated."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """KITTI's, and those of nuScenes that labels have besides."""
        own = tuple(name.lower() for name in TYPES)
        others: set[str] = set()
        for path in self._files.values():
            if path.exists():
                others.update(line.partition(" ")[0] for line in read_text(path).splitlines())
        return (*own, *(name for name in CLASSES if name in others and name not in own))

    def boxes(self, name: str, size: Callable[[], Size]) -> Sequence[Box] | None:
        """The boxes of a picture."""
        path = self._files[name]
        if not path.exists():
            return None
        lines = enumerate(read_text(path).splitlines(), 1)
        return [_parse(line, path, number) for number, line in lines if line.strip()]

    def stated_size(self, name: str) -> Size | None:
        """Nothing: label files do not say it."""
        return None

    def sha256(self) -> str:
        """Over every label file, in the order of the pictures' names."""
        digest = hashlib.sha256()
        for name in sorted(self._files):
            path = self._files[name]
            content = path.read_bytes() if path.is_file() else b"-"
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()


def _parse(line: str, path: Path, number: int) -> Box:
    try:
        return _read_fields(line.split())
    except ValueError as error:
        raise DataError(f"{path}, line {number}, is not KITTI's: {error}", hint=f"sed -n {number}p {path}") from error


def _read_fields(fields: list[str]) -> Box:
    """Return the box of a line. Raises ValueError, which says what is wrong."""
    if len(fields) not in FIELDS:
        raise ValueError(f"it has {len(fields)} fields, not {FIELDS[0]}")
    kind = fields[0]
    if kind != DONT_CARE and kind not in TYPES and kind not in CLASSES:
        raise ValueError(f"its type is {kind!r}, and types are {', '.join(TYPES)}, {DONT_CARE}")
    left, top, right, bottom = (float(value) for value in fields[4:8])
    if not all(map(math.isfinite, (left, top, right, bottom))) or right < left or bottom < top:
        raise ValueError("left, top, right, bottom are not a box")
    ignore = kind == DONT_CARE
    return Box(xyxy=(left, top, right, bottom), class_name=ANY_CLASS if ignore else kind.lower(), ignore=ignore)


FORM = Form(id="kitti", title="KITTI (image_2 and label_2)", claim=_claim, open=_open)
