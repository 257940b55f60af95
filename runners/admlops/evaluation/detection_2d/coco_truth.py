"""Ground truth of boxes in images from a COCO file, for the images of a run.

nuScenes annotates boxes in space. Their projections are no ground truth of boxes in images: they frame a cuboid, not
what is seen of an object, and an object behind a wall has one too. So the boxes come from a file in COCO's form
(`datasets.images.coco_file`), such as nuImages' or one made with an annotation tool. An image belongs to the camera
whose picture of the data set has the same file name; of several, to the one that shares most of its folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from admlops.core.counting import count_of
from admlops.core.errors import DataError
from admlops.core.storage import file_sha256
from admlops.datasets.images.coco_file import CocoAnnotation, CocoFile, not_coco, read_coco_file
from admlops.datasets.images.finder import count_shared
from admlops.evaluation.detection_2d.scores import Image, ImageTruth


@dataclass(frozen=True, kw_only=True)
class CocoTruth:
    """The images of a run that the file has, by sample token and camera, in the order of their ids.

    That order decides between equal scores in pycocotools.

    Attributes:
        places: for each image of the file, by its id, its sample and camera; None where it is no picture of the run's.
        categories: the file's categories by id.
        classes: the file's categories.
        cameras: how many pictures the run's samples have in all.
        sha256: of the file; numbers compare only where it is the same.
    """

    images: Mapping[Image, ImageTruth]
    places: Mapping[int | str, Image | None]
    categories: Mapping[int | str, str]
    classes: tuple[str, ...]
    cameras: int
    sha256: str


def read_coco(path: Path, names: Mapping[Image, str]) -> CocoTruth:
    """Read the ground truth of pictures: by sample token and camera, the path or the name of each.

    Raises:
        DataError: the file cannot be read, is not COCO's form, refers to what it does not have, names a picture twice,
            or has none of the pictures.
    """
    file = read_coco_file(path)
    pictures = Pictures(names)
    found: dict[int | str, Image] = {}
    taken: set[Image] = set()
    for image in file.images:
        place = pictures.find(image.file_name, where=path)
        if place is not None and place in taken:
            raise not_coco(path, f"the picture {image.file_name} is there twice")
        if place is not None:
            found[image.id] = place
            taken.add(place)
    if not found:
        raise DataError(
            f"{path} has nothing of the run's {count_of(len(names), 'picture')}",
            hint="check that file_name in `images` ends in the name of the picture, as in the data set's samples/",
        )
    order = sorted(found, key=lambda number: (isinstance(number, str), number))
    return CocoTruth(
        images=_by_image(file, {number: found[number] for number in order}),
        places={image.id: found.get(image.id) for image in file.images},
        categories={category.id: category.name for category in file.categories},
        classes=tuple(category.name for category in file.categories),
        cameras=len(names),
        sha256=file_sha256(path),
    )


class Pictures:
    """The pictures of samples, found by the end of their paths."""

    def __init__(self, names: Mapping[Image, str]) -> None:
        self._by_name: dict[str, list[tuple[tuple[str, ...], Image]]] = {}
        for image, name in names.items():
            parts = Path(name).parts
            self._by_name.setdefault(parts[-1] if parts else "", []).append((parts, image))

    def find(self, file_name: str, *, where: Path) -> Image | None:
        """Return the picture of that name, None if there is none; of several, the one that shares most of its folders.

        Raises:
            DataError: several share equally many of them.
        """
        parts = Path(file_name).parts
        there = self._by_name.get(parts[-1] if parts else "", [])
        if len(there) < 2:
            return there[0][1] if there else None
        shared = [(count_shared(parts, own), image) for own, image in there]
        most = max(count for count, _ in shared)
        best = [image for count, image in shared if count == most]
        if len(best) > 1:
            raise not_coco(where, f"{len(best)} of the pictures are called {file_name}; name their folders as well")
        return best[0]


def _by_image(file: CocoFile, found: Mapping[int | str, Image]) -> dict[Image, ImageTruth]:
    names = {category.id: category.name for category in file.categories}
    listed: dict[int | str, list[CocoAnnotation]] = {image: [] for image in found}
    for annotation in file.annotations:
        if annotation.image_id in listed:
            listed[annotation.image_id].append(annotation)
    return {
        found[image]: ImageTruth(
            boxes=np.array([(x, y, x + w, y + h) for x, y, w, h in (one.bbox for one in own)]).reshape(-1, 4),
            classes=tuple(names[one.category_id] for one in own),
            crowd=np.array([bool(one.iscrowd) for one in own], dtype=np.bool_),
            areas=np.array([one.bbox[2] * one.bbox[3] if one.area is None else one.area for one in own], dtype=float),
        )
        for image, own in listed.items()
    }
