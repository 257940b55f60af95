"""COCO's JSON: `images`, `categories`, `annotations` with boxes x, y, width, height [pixels]; crowds are ignored.

Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from admlops.core.counting import count_of
from admlops.core.errors import DataError
from admlops.core.storage import file_sha256
from admlops.datasets.images.coco_file import CocoAnnotation, CocoFile, CocoImage, read_coco_file
from admlops.datasets.images.contents import Box, Contents, Size, group_by_folder, tidy_classes
from admlops.datasets.images.finder import PictureFinder, find_base
from admlops.datasets.images.forms.base import Form, Survey
from admlops.datasets.images.forms.lists import KEY as LIST

KEYS = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')


def _claim(survey: Survey) -> list[str]:
    files = [path for path in survey.files if path.suffix.lower() == ".json"]
    heads = {path: survey.head(path) for path in files}
    return [
        survey.named(path)
        for path, head in heads.items()
        if head.startswith("{") and KEYS.search(head) and not LIST.match(head)
    ]


def _open(survey: Survey, version: str) -> Contents:
    path = survey.path_of(version)
    file = read_coco_file(path)
    if not file.images:
        raise DataError(f"{path} names no picture in `images`", hint="pass --data with another file")
    base = find_base(path, [one.file_name for one in file.images]) if survey.is_file else survey.root
    finder = PictureFinder(base)
    named = {image.id: finder.find_or_name(image.file_name, where=path) for image in file.images}
    pictures = list({picture.name: picture for picture in named.values()}.values())
    if len(pictures) != len(file.images):
        raise DataError(
            f"{path} names {count_of(len(file.images) - len(pictures), 'picture')} twice",
            hint="give each picture one entry in `images`, with its folder in file_name",
        )
    labels = CocoLabels(path, file, {number: picture.name for number, picture in named.items()})
    stated = {named[one.id].name: one.calibration for one in file.images}
    calibrations = {name: one for name, one in stated.items() if one is not None}
    return Contents(files_root=base, scenes=group_by_folder(pictures), labels=labels, calibrations=calibrations)


class CocoLabels:
    """The boxes of a COCO file by picture."""

    def __init__(self, path: Path, file: CocoFile, names: dict[int | str, str]) -> None:
        self.path = path
        tidy = tidy_classes(one.name for one in file.categories)
        category = {one.id: tidy[one.name] for one in file.categories}
        self.classes = tuple(category.values())
        self._images: dict[str, CocoImage] = {names[one.id]: one for one in file.images}
        self._category = category
        self._rows: dict[str, list[CocoAnnotation]] = {name: [] for name in names.values()}
        for one in file.annotations:
            self._rows[names[one.image_id]].append(one)

    def boxes(self, name: str, size: Callable[[], Size]) -> Sequence[Box] | None:
        """The boxes of a picture."""
        rows = self._rows.get(name)
        return None if rows is None else [self._to_box(one) for one in rows]

    def _to_box(self, one: CocoAnnotation) -> Box:
        x, y, width, height = one.bbox
        return Box(
            xyxy=(x, y, x + width, y + height),
            class_name=self._category[one.category_id],
            ignore=bool(one.iscrowd),
            area=one.area,
        )

    def stated_size(self, name: str) -> Size | None:
        """What `images` says."""
        image = self._images[name]
        return (image.width, image.height) if image.width and image.height else None

    def sha256(self) -> str:
        """Of the file."""
        return file_sha256(self.path)


FORM = Form(id="coco", title="COCO (JSON)", claim=_claim, open=_open)
