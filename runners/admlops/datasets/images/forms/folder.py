"""A folder of pictures and videos: each folder below it is a scene, and so is each video. There are no labels."""

from __future__ import annotations

from admlops.core.errors import DataError
from admlops.datasets.images.contents import Contents, Picture, group_by_folder, is_picture, natural_order
from admlops.datasets.images.finder import has_pictures, list_files
from admlops.datasets.images.forms.base import Form, Survey
from admlops.datasets.images.videos import is_video, list_frames

DEPTH = 2
"""How deep below its root the first picture may lie; what lies deeper looks like another data set."""
FOREIGN = ("sweeps", "v1.0-mini", "v1.0-trainval", "v1.0-test", "can_bus")
"""Folders of nuScenes: a root with one of them is a damaged one of these, and not a folder of pictures."""


def _claim(survey: Survey) -> list[str]:
    root = survey.root
    if survey.is_file:
        return [FORM.id] if is_picture(root.name) or is_video(root.name) else []
    if any((root / name).is_dir() for name in FOREIGN):
        return []
    return [FORM.id] if has_pictures(root, depth=DEPTH) else []


def _open(survey: Survey, version: str) -> Contents:
    root = survey.root
    if survey.is_file:
        base, files = root.parent, [(root.name, root, root.stat().st_size)]
    else:
        base, files = root, list(list_files(root))
    if not files:
        raise DataError(f"{root} holds no picture", hint=f"ls -R {root} | head   # or pass another --data")
    files.sort(key=lambda file: natural_order(file[0]))
    pictures = [Picture(name=name, path=path, size_bytes=size) for name, path, size in files if is_picture(name)]
    scenes = group_by_folder(pictures)
    for name, path, _ in files:
        if is_video(name):
            scenes[name] = list_frames(path, name)
    return Contents(files_root=base, scenes=scenes)


FORM = Form(id="pictures", title="a folder of pictures", claim=_claim, open=_open, is_plain=True)
