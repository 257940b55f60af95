"""YOLO's text files: one line an object, `class cx cy w h`, shares of the picture's width and height.

`data.yaml` says what the numbers of classes mean, and where the pictures of `train`, `val` and `test` lie. The labels
of `…/images/a.jpg` lie in `…/labels/a.txt`; a picture without such a file has no objects. A line with more corners is
an outline, whose bounding box counts.

Source: https://docs.ultralytics.com/datasets/detect/ and ultralytics/data/utils.py (`img2label_paths`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from admlops.core.errors import DataError
from admlops.datasets.images.contents import (
    Box,
    Contents,
    Picture,
    Size,
    group_by_folder,
    tidy_classes,
)
from admlops.datasets.images.finder import file_size, list_pictures
from admlops.datasets.images.forms.base import Form, Survey, read_text

SPLITS = ("train", "val", "test")
IMAGES, LABELS = "images", "labels"
TRIED = 3
EXAMPLE = "names: [car, truck]\ntrain: images/train\nval: images/val"


def _claim(survey: Survey) -> list[str]:
    found = [survey.named(path) for path in survey.files if path.suffix.lower() in (".yaml", ".yml") and _is_ours(path)]
    if found or survey.is_file:
        return found
    return [UNNAMED] if _has_labels(survey.root) else []


UNNAMED = "yolo"
"""The version of labels without a data.yaml: opening it says that this is missing."""


def _is_ours(path: Path) -> bool:
    try:
        content = yaml.safe_load(read_text(path))
    except (DataError, yaml.YAMLError):
        return False
    return isinstance(content, dict) and "names" in content and any(split in content for split in SPLITS)


def _has_labels(root: Path) -> bool:
    """Tell whether text files in `labels/`, or beside the pictures of a folder without others, look like labels."""
    folder = root / LABELS
    texts = folder.rglob("*.txt") if folder.is_dir() else root.glob("*.txt")
    try:
        first = list(islice(texts, TRIED))
    except OSError:
        return False
    return bool(first) and all(_looks_like_labels(path) for path in first)


def _looks_like_labels(path: Path) -> bool:
    try:
        lines = read_text(path).splitlines()
        return any(lines) and all(_parse(line, path, number) for number, line in enumerate(lines, 1) if line.strip())
    except DataError:
        return False


def _open(survey: Survey, version: str) -> Contents:
    if version == UNNAMED:
        raise DataError(
            f"{survey.root} holds YOLO's labels and no data.yaml, without which the numbers of classes mean nothing",
            hint=f"write {survey.root / 'data.yaml'} with, for example: {EXAMPLE!r}",
        )
    path = survey.path_of(version)
    content = _read(path)
    names = _class_names(content, path)
    base = _base(content, path)
    by_split = {split: _list_split(content[split], base, path) for split in SPLITS if content.get(split)}
    files_root = base if survey.is_file else survey.root
    pictures: dict[Path, Picture] = {}
    scenes: dict[str, list[Picture]] = {}
    splits: dict[str, list[str]] = {}
    for split, found in by_split.items():
        own = [_name(picture, files_root) for picture in found if picture.path not in pictures]
        pictures.update((picture.path, picture) for picture in own if picture.path is not None)
        grouped = group_by_folder(own)
        splits[split] = [name if name not in scenes else f"{split}/{name}" for name in grouped]
        scenes.update(zip(splits[split], grouped.values(), strict=True))
    if not pictures:
        raise DataError(f"{path} leads to no picture", hint=f"check `path`, `train` and `val` in {path}")
    labels = YoloLabels(path, names, {picture.name: own for own, picture in pictures.items()})
    default = next((split for split in ("val", "test", "train") if splits.get(split)), "all")
    return Contents(files_root=files_root, scenes=scenes, labels=labels, splits=splits, default_split=default)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        said = str(error).splitlines()[0]
        raise DataError(f"{path} is not YAML: {said}", hint=f"it looks, for example, like this: {EXAMPLE!r}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no keys", hint=f"it looks, for example, like this: {EXAMPLE!r}")
    return content


def _class_names(content: dict[str, Any], path: Path) -> dict[int, str]:
    names = content.get("names")
    pairs = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(pairs, dict) or not pairs or not all(isinstance(number, int) for number in pairs):
        raise DataError(f"{path}: names must be a list, or number: name", hint=f"for example: {EXAMPLE!r}")
    given = {number: str(name) for number, name in pairs.items()}
    repeated = next((name for name in given.values() if list(given.values()).count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{path}: two classes are called {repeated!r}", hint="give each class its own name")
    tidy = tidy_classes(given.values())
    return {number: tidy[name] for number, name in given.items()}


def _base(content: dict[str, Any], path: Path) -> Path:
    """Return what the paths of the splits are relative to: `path` if there is such a folder, else the file's folder."""
    stated = Path(str(content.get("path") or ""))
    found = next((one for one in (path.parent / stated, path.parent / stated.name) if one.is_dir()), path.parent)
    return found.resolve()


def _list_split(entry: Any, base: Path, where: Path) -> list[Picture]:
    found: list[Picture] = []
    for one in entry if isinstance(entry, list) else [entry]:
        place = _locate(str(one), base)
        if place is None:
            raise DataError(
                f"{where} names {one}, which is not in {base}", hint=f"check `path` and the splits in {where}"
            )
        found += _list_text(place) if place.is_file() else _list_folder(place)
    return found


def _locate(name: str, base: Path) -> Path | None:
    """Return the folder or list of a split; exports often name `../train/images` for what is `train/images`."""
    candidates = [base / name, *([base / name[3:]] if name.startswith("../") else [])]
    return next((path.resolve() for path in candidates if path.exists()), None)


def _list_folder(folder: Path) -> list[Picture]:
    above = folder.as_posix()
    return [
        Picture(name=f"{above}/{picture.name}", path=picture.path, size_bytes=picture.size_bytes)
        for picture in list_pictures(folder)
    ]


def _list_text(path: Path) -> list[Picture]:
    paths = [path.parent / line.strip() for line in read_text(path).splitlines() if line.strip()]
    return [Picture(name=one.as_posix(), path=one, size_bytes=file_size(one)) for one in paths]


def _name(picture: Picture, root: Path) -> Picture:
    """Return the picture with its name below the data set in place of its whole path."""
    name = picture.name.removeprefix(f"{root.as_posix().rstrip('/')}/").lstrip("/")
    return Picture(name=name, path=picture.path, size_bytes=picture.size_bytes)


class YoloLabels:
    """The label files of pictures, read when they are asked for."""

    def __init__(self, path: Path, names: dict[int, str], files: dict[str, Path]) -> None:
        self.path = path
        self._names = names
        self._files = files
        self.classes = tuple(names.values())

    def boxes(self, name: str, size: Callable[[], Size]) -> Sequence[Box] | None:
        """The boxes of a picture; none where it has no file."""
        path = label_path(self._files[name])
        if not path.exists():
            return []
        lines = enumerate(read_text(path).splitlines(), 1)
        rows = [_parse(line, path, number) for number, line in lines if line.strip()]
        return [self._to_box(row, size(), path) for row in rows]

    def _to_box(self, row: tuple[int, float, float, float, float], size: Size, path: Path) -> Box:
        number, x1, y1, x2, y2 = row
        if number not in self._names:
            raise DataError(
                f"{path} has an object of class {number}, which {self.path} does not name",
                hint=f"add it to names in {self.path}, or take the line away",
            )
        width, height = size
        return Box(xyxy=(x1 * width, y1 * height, x2 * width, y2 * height), class_name=self._names[number])

    def stated_size(self, name: str) -> Size | None:
        """Nothing: the boxes are shares."""
        return None

    def sha256(self) -> str:
        """Over the names of classes and every label file, in the order of the pictures' names."""
        digest = hashlib.sha256(repr(sorted(self._names.items())).encode())
        for name in sorted(self._files):
            path = label_path(self._files[name])
            content = path.read_bytes() if path.is_file() else b""
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()


def label_path(picture: Path) -> Path:
    """Return where a picture's labels lie: the last folder `images` of its path is `labels`, if it has one."""
    parts = list(picture.with_suffix(".txt").parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == IMAGES:
            parts[index] = LABELS
            break
    return Path(*parts)


def _parse(line: str, path: Path, number: int) -> tuple[int, float, float, float, float]:
    """Return the class and x1, y1, x2, y2 as shares of the picture."""
    try:
        return _read_fields(*line.split())
    except ValueError as error:
        raise DataError(
            f"{path}, line {number}: {error}; a line is `class cx cy w h`, shares of the picture's sides",
            hint=f"sed -n {number}p {path}",
        ) from error


def _read_fields(kind: str, *values: str) -> tuple[int, float, float, float, float]:
    """As `_parse`. Raises ValueError, which says what is wrong."""
    shares = [float(value) for value in values]
    if not all(map(math.isfinite, shares)):
        raise ValueError("a number is not finite")
    if len(shares) == 4:
        x, y, width, height = shares
        if width < 0 or height < 0:
            raise ValueError("a side is negative")
        return int(kind), x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(shares) >= 6 and len(shares) % 2 == 0:
        return int(kind), min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2])
    raise ValueError(f"{len(shares)} numbers follow the class")


FORM = Form(id="yolo", title="YOLO (data.yaml and text files)", claim=_claim, open=_open)
