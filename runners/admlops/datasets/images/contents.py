"""What a form of data set gives: pictures in scenes, labels or counts of them, splits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from admlops.datasets.annotations import ImageAnnotation

PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))
VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg"))

TOP_SCENE = "pictures"
"""The scene of pictures that lie in no folder."""
SCENE_PICTURES = 100
"""A folder with more pictures is several scenes: a scene is what one worker gets, and what a stopped run does again."""

Size = tuple[int, int]
"""Width and height [pixels]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        name: what the data set calls it: its path below the data set with forward slashes, or its address. The sample's
            token is made of it, so it does not depend on where the data set is mounted.
        path: where the file is; None for one that is to be fetched from `name`.
        size_bytes: of the file, which is part of the token; 0 if it is not there or not fetched.
        sha256: of the content, where the data set says it.
    """

    name: str
    path: Path | None
    size_bytes: int = 0
    timestamp_us: int = 0
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Box:
    """One annotated object: x1, y1, x2, y2 [pixels, x2 and y2 exclusive]; its area is the box's if it is None."""

    xyxy: tuple[float, float, float, float]
    class_name: str
    ignore: bool = False
    area: float | None = None


class Labels(Protocol):
    """The annotated boxes of a data set."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    def boxes(self, name: str, size: Callable[[], Size]) -> Sequence[Box] | None:
        """The boxes of a picture; None if nobody annotated it.

        Args:
            size: reads the picture's size, turned upright, for forms that need it.

        Raises:
            DataError: they cannot be read.
        """

    def stated_size(self, name: str) -> Size | None:
        """The size that the labels give the picture; None where they give none."""

    def sha256(self) -> str:
        """Over the content of all labels."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a data set holds.

    Attributes:
        files_root: the folder that holds the pictures; their paths on the wire are relative to it.
        scenes: by name, in their order.
        counts: by a picture's name the number of its objects by class.
        splits: by name the scenes of each.
        default_split: the one that models are judged on.
        calibrations: by a picture's name what is known of its camera: `intrinsic`, `sensor2ego`.
    """

    files_root: Path
    scenes: Mapping[str, Sequence[Picture]]
    labels: Labels | None = None
    counts: Mapping[str, Mapping[str, int]] | None = None
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    default_split: str = "all"
    calibrations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def to_annotation(boxes: Sequence[Box]) -> ImageAnnotation:
    """Return boxes as arrays."""
    corners = np.array([one.xyxy for one in boxes], dtype=np.float64).reshape(-1, 4)
    sides = np.prod(corners[:, 2:] - corners[:, :2], axis=1)
    own = np.array([np.nan if one.area is None else one.area for one in boxes], dtype=np.float64)
    return ImageAnnotation(
        boxes=corners,
        classes=tuple(one.class_name for one in boxes),
        ignore=np.array([one.ignore for one in boxes], dtype=np.bool_),
        areas=np.where(np.isnan(own), sides, own),
    )


def tidy_classes(names: Iterable[str]) -> dict[str, str]:
    """Return for each class its name in lower case, in which models name theirs too; unchanged where two would meet."""
    unchanged = list(dict.fromkeys(names))
    lower = {name: " ".join(name.lower().split()) for name in unchanged}
    return lower if len(set(lower.values())) == len(unchanged) else {name: name for name in unchanged}


def group_by_folder(pictures: Iterable[Picture]) -> dict[str, list[Picture]]:
    """Return pictures by scene: a folder is one, and a large folder several."""
    folders: dict[str, list[Picture]] = {}
    for picture in pictures:
        folders.setdefault(folder_of(picture.name), []).append(picture)
    return {name: part for folder, own in folders.items() for name, part in _parts(folder, own)}


def folder_of(name: str) -> str:
    """Return the folder of a picture's name, without the scheme of an address; `TOP_SCENE` where it has none."""
    above = name.partition("?")[0].rpartition("/")[0] if is_address(name) else name.rpartition("/")[0]
    return above.removeprefix("https://").removeprefix("http://").strip("/") or TOP_SCENE


def is_address(name: str) -> bool:
    """Tell whether a picture is named by a web address."""
    return name.startswith(("https://", "http://"))


def natural_order(name: str) -> tuple[tuple[int, str, int], ...]:
    """Return a key that sorts frame9 before frame10."""
    return tuple((1, "", int(part)) if part.isdecimal() else (0, part, 0) for part in re.split(r"(\d+)", name) if part)


def is_picture(path: str) -> bool:
    """Tell by a file's name whether it is a picture."""
    return suffix_of(path) in PICTURE_SUFFIXES


def suffix_of(name: str) -> str:
    """Return a file name's ending in lower case with its point; text, because Path takes its time over thousands."""
    stem, _, ending = name.rpartition(".")
    return f".{ending.lower()}" if stem else ""


def _parts(folder: str, pictures: list[Picture]) -> Iterator[tuple[str, list[Picture]]]:
    if len(pictures) <= SCENE_PICTURES:
        yield folder, pictures
        return
    count = -(-len(pictures) // SCENE_PICTURES)
    for number in range(count):
        part = pictures[number * SCENE_PICTURES : (number + 1) * SCENE_PICTURES]
        yield f"{folder}#{number + 1:0{len(str(count))}}", part
