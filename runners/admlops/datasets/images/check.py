"""What is wrong with the pictures and labels of a data set, by name."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

from PIL import Image, ImageFile, UnidentifiedImageError

from admlops.core.errors import DataError
from admlops.core.types import Watch
from admlops.datasets.base import ANY_CLASS, Problem
from admlops.datasets.images.contents import Box, Contents, Picture
from admlops.datasets.images.headers import UPRIGHT, Header
from admlops.datasets.images.remote import is_whole

WIDE_MODES = frozenset(("I", "I;16", "I;16B", "I;16L", "F"))
TOLERANCE_PX = 1.0
"""How far a box may reach out of its picture: rounding, and x2 that counts from 1."""


class Inspected(Protocol):
    """What is asked of a data set of pictures; `pictures.Images` is one."""

    @property
    def contents(self) -> Contents: ...
    def file_of(self, picture: Picture) -> Path: ...
    def header(self, picture: Picture) -> Header | None: ...
    def read_boxes(self, picture: Picture) -> list[Box] | None: ...


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What one picture's file showed."""

    picture: Picture
    sha256: str | None
    problems: list[Problem]


def find_problems(data: Inspected, watch: Watch) -> Iterator[Problem]:
    """Decode every picture and read every label; `watch` gets the pictures done and their total."""
    pictures = [picture for own in data.contents.scenes.values() for picture in own]
    first: dict[str, str] = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # decoding leaves Python's lock
        for number, seen in enumerate(pool.map(lambda picture: _look_at(data, picture), pictures), 1):
            yield from seen.problems
            name = seen.picture.name
            if seen.sha256 is not None:
                earlier = first.setdefault(seen.sha256, name)
                if earlier != name:
                    yield _warning(name, "duplicate", f"the same content as {earlier}")
            yield from _check_labels(data, seen.picture)
            watch(number, len(pictures))


def _look_at(data: Inspected, picture: Picture) -> _Seen:
    path = data.file_of(picture)
    try:
        content = path.read_bytes()
    except OSError as error:
        what = "not fetched" if picture.path is None else f"{error.strerror}"
        return _Seen(picture=picture, sha256=None, problems=[_error(picture.name, "missing", what)])
    if not content:
        return _Seen(picture=picture, sha256=None, problems=[_error(picture.name, "broken", "the file is empty")])
    problems = list(_decode(picture.name, content))
    header = data.header(picture)
    if header is not None and header.orientation != UPRIGHT:
        what = f"EXIF's orientation is {header.orientation}: models get a copy turned upright"
        problems.append(_warning(picture.name, "turned", what))
    if picture.path is None and not is_whole(picture):
        problems.append(_error(picture.name, "broken", f"{path} is not what was fetched: remove it, fetch again"))
    return _Seen(picture=picture, sha256=hashlib.sha256(content).hexdigest(), problems=problems)


def _decode(name: str, content: bytes) -> Iterator[Problem]:
    try:
        with warnings.catch_warnings(), Image.open(BytesIO(content)) as picture:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield from _describe(name, picture)
            assert not ImageFile.LOAD_TRUNCATED_IMAGES, "a cut picture must not pass"
            picture.load()
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        said = "not a picture that is known" if isinstance(error, UnidentifiedImageError) else str(error)
        yield _error(name, "broken", said)


def _describe(name: str, picture: Image.Image) -> Iterator[Problem]:
    """Name what is unusual, and what libraries read in different ways."""
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        yield _warning(name, "animated", f"{frames} frames, of which the first counts")
    if picture.mode == "CMYK":
        yield _warning(name, "CMYK", "colours for print, which libraries turn into RGB in different ways")
    if picture.mode in WIDE_MODES:
        yield _warning(name, "16 bit", "more than 8 bits a channel, which libraries cut off in different ways")


def _check_labels(data: Inspected, picture: Picture) -> Iterator[Problem]:
    if data.contents.labels is None:
        return
    try:
        boxes = data.read_boxes(picture)
    except DataError as error:
        if data.header(picture) is not None:  # else the picture is broken
            yield _error(picture.name, "label", error.message)
        return
    known = {*data.contents.labels.classes, ANY_CLASS}
    for box in boxes or ():
        yield from _check_box(data, picture, box, known)


def _check_box(data: Inspected, picture: Picture, box: Box, known: set[str]) -> Iterator[Problem]:
    x1, y1, x2, y2 = box.xyxy
    shown = f"{box.class_name} {x1:g}, {y1:g}, {x2:g}, {y2:g}"
    if not all(map(math.isfinite, box.xyxy)):
        yield _error(picture.name, "label", f"{shown}: a number is not finite")
        return
    if x2 - x1 <= 0 or y2 - y1 <= 0:
        yield _error(picture.name, "empty box", f"{shown} has no area")
    if box.class_name not in known:
        yield _error(picture.name, "class", f"{shown}: the class is not one of the data set's")
    header = data.header(picture)
    if header is not None:
        width, height = header.upright
        if min(x1, y1) < -TOLERANCE_PX or x2 > width + TOLERANCE_PX or y2 > height + TOLERANCE_PX:
            yield _warning(picture.name, "box outside", f"{shown} reaches out of the {width}x{height} pixels")


def _error(name: str, kind: str, what: str) -> Problem:
    return Problem(name=name, kind=kind, what=what, is_error=True)


def _warning(name: str, kind: str, what: str) -> Problem:
    return Problem(name=name, kind=kind, what=what, is_error=False)
