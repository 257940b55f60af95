"""A file in COCO's form, decoded and checked: `images`, `categories` and `annotations`.

`images` (id, file_name), `categories` (id, name) and `annotations` (image_id, category_id, bbox as x, y, width, height
[pixels of the original picture], iscrowd, and area [pixels²] where an object is no rectangle).

Source: https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from admlops.core.errors import DataError


class Pose(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Where something is [m] and how it is turned, a unit quaternion w, x, y, z."""

    translation: tuple[float, float, float]
    rotation_wxyz: tuple[float, float, float, float]


Row3 = tuple[float, float, float]


class CocoImage(msgspec.Struct, gc=False):
    """A picture; `width` and `height` [pixels] are those that the boxes are of.

    `intrinsic` (3x3, pixels) and `sensor2ego` are no part of COCO's form: the camera's calibration, where it is known,
    as a sample has it (docs/architecture.md).
    """

    id: int | str
    file_name: str
    width: int | None = None
    height: int | None = None
    intrinsic: tuple[Row3, Row3, Row3] | None = None
    sensor2ego: Pose | None = None

    @property
    def calibration(self) -> dict[str, Any] | None:
        """Return the camera's calibration by the keys of a sample's camera; None where not all of it is stated."""
        if self.intrinsic is None or self.sensor2ego is None:
            return None
        return {
            "intrinsic": [list(row) for row in self.intrinsic],
            "sensor2ego": {
                "translation": list(self.sensor2ego.translation),
                "rotation_wxyz": list(self.sensor2ego.rotation_wxyz),
            },
        }


class CocoCategory(msgspec.Struct, gc=False):
    """A class."""

    id: int | str
    name: str


class CocoAnnotation(msgspec.Struct, gc=False):
    """An object: its box is x, y, width, height."""

    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0
    area: float | None = None


class CocoFile(msgspec.Struct):
    """The whole file."""

    images: list[CocoImage]
    categories: list[CocoCategory]
    annotations: list[CocoAnnotation]


def read_coco_file(path: Path) -> CocoFile:
    """Return a file's content; what it refers to is there, and no box is inside out.

    Raises:
        DataError: it cannot be read, or is not COCO's form.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=CocoFile)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    except msgspec.DecodeError as error:
        raise not_coco(path, str(error)) from error
    for what, values in (("id", [one.id for one in file.categories]), ("name", [one.name for one in file.categories])):
        repeated = next((value for value, count in Counter(values).items() if count > 1), None)
        if repeated is not None:
            raise not_coco(path, f"more than one category has the {what} {repeated!r}")
    images, categories = {one.id for one in file.images}, {one.id for one in file.categories}
    for one in file.annotations:
        if one.image_id not in images or one.category_id not in categories:
            what = "image" if one.image_id not in images else "category"
            raise not_coco(path, f"an annotation refers to {what} {getattr(one, f'{what}_id')!r}, which it lacks")
        if min(one.bbox[2:]) < 0:
            raise not_coco(path, f"a box of image {one.image_id!r} has a negative width or height")
    return file


def not_coco(path: Path, what: str) -> DataError:
    """The error of a file that is not in COCO's form."""
    return DataError(
        f"{path} is not COCO ground truth: {what}", hint="docs/metrics.md, '2D boxes', says what the file holds"
    )
