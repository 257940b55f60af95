"""Lists of pictures: a text file with a path or address a line, or JSON with `image_path` and numbers of objects.

An entry of the JSON is `{"image_path": …, "car_count": 3, "description": …}`; every `<class>_count` is the number of
objects of that class, and `sha256` may pin the content. Paths are relative to the list, or absolute.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from admlops.core.errors import DataError
from admlops.datasets.images.contents import Contents, Picture, group_by_folder, is_address, is_picture
from admlops.datasets.images.finder import file_size
from admlops.datasets.images.forms.base import Form, Survey, read_text

KEY = re.compile(r'^\s*(\[\s*\{|\{\s*"images"\s*:\s*\[\s*\{)[^}]*"image_path"\s*:')
COUNT = "_count"
EXAMPLE = '[{"image_path": "street.jpg", "car_count": 3, "description": "a street"}]'


def _claim_json(survey: Survey) -> list[str]:
    files = [path for path in survey.files if path.suffix.lower() == ".json"]
    return [survey.named(path) for path in files if KEY.match(survey.head(path))]


def _open_json(survey: Survey, version: str) -> Contents:
    path = survey.path_of(version)
    entries = _read(path)
    names = [_text(entry, "image_path", path, index) for index, entry in enumerate(entries)]
    root, pictures = _locate(names, path)
    pictures = [_pinned(picture, entry.get("sha256")) for picture, entry in zip(pictures, entries, strict=True)]
    counts = {
        picture.name: _counts(entry, path, index)
        for index, (picture, entry) in enumerate(zip(pictures, entries, strict=True))
    }
    known = {name: own for name, own in counts.items() if own}
    return Contents(files_root=root, scenes=group_by_folder(pictures), counts=known or None)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        content = msgspec.json.decode(read_text(path))
    except msgspec.DecodeError as error:
        raise DataError(f"{path} is not JSON: {error}", hint=f"it looks, for example, like this: {EXAMPLE}") from error
    if isinstance(content, dict):
        content = content.get("images")
    if not isinstance(content, list) or not content or not all(isinstance(one, dict) for one in content):
        raise DataError(f"{path} is not a list of pictures", hint=f"it looks, for example, like this: {EXAMPLE}")
    return content


def _text(entry: dict[str, Any], key: str, path: Path, index: int) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{path}, entry {index}: {key} is not a text", hint=f"for example: {EXAMPLE}")
    return value.strip()


def _counts(entry: dict[str, Any], path: Path, index: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key, value in entry.items():
        if not key.endswith(COUNT) or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise DataError(
                f"{path}, entry {index}: {key} is {value!r}, not a whole number from 0 on",
                hint="leave the key out where nobody counted",
            )
        counts[key.removesuffix(COUNT).replace("_", " ").lower()] = value
    return counts


def _pinned(picture: Picture, sha256: Any) -> Picture:
    if not isinstance(sha256, str):
        return picture
    return Picture(name=picture.name, path=picture.path, size_bytes=picture.size_bytes, sha256=sha256.lower())


def _claim_text(survey: Survey) -> list[str]:
    if not survey.is_file or survey.root.suffix.lower() not in (".txt", ".lst", ".list"):
        return []
    lines = [line.strip() for line in survey.head(survey.root).splitlines() if _is_entry(line)]
    return [survey.root.name] if lines and all(is_address(line) or is_picture(line) for line in lines[:20]) else []


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _open_text(survey: Survey, version: str) -> Contents:
    path = survey.path_of(version)
    names = [line.strip() for line in read_text(path).splitlines() if _is_entry(line)]
    if not names:
        raise DataError(f"{path} lists no picture", hint="write one path or address a line")
    root, pictures = _locate(names, path)
    return Contents(files_root=root, scenes=group_by_folder(pictures))


def _locate(names: Iterable[str], path: Path) -> tuple[Path, list[Picture]]:
    """Return the folder that all files lie below, and the pictures, named by their paths below it."""
    listed = list(names)
    repeated = next((name for name, count in Counter(listed).items() if count > 1), None)
    if repeated is not None:
        raise DataError(f"{path} lists {repeated} twice", hint="take one of the two away: each picture counts once")
    files = {name: Path(os.path.normpath(path.parent / name)) for name in listed if not is_address(name)}
    root = Path(os.path.commonpath([file.parent for file in files.values()])) if files else path.parent
    if all(file.is_relative_to(path.parent) for file in files.values()):
        root = path.parent
    return root, [_picture(name, files.get(name), root) for name in listed]


def _picture(name: str, file: Path | None, root: Path) -> Picture:
    if file is None:
        return Picture(name=name, path=None)
    return Picture(name=file.relative_to(root).as_posix(), path=file, size_bytes=file_size(file))


JSON_FORM = Form(id="list", title="a list of pictures (JSON)", claim=_claim_json, open=_open_json)
TEXT_FORM = Form(id="text", title="a list of pictures (text)", claim=_claim_text, open=_open_text)
