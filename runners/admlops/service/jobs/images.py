"""Pictures that an input lists itself: they become a list in the data folder, named by its content.

So the same pictures are the same data set, in every attempt of a job and in every job: a comparison finds its runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.datasets.images.contents import is_address
from admlops.service.jobs.inputs import ListedImage

FOLDER = "lists"


def check_images(images: Sequence[ListedImage], find: Callable[[str], Path]) -> None:
    """Refuse pictures that are not there. `find` returns the place of a path, or raises UsageError."""
    for one in images:
        if not is_address(one.image_path):
            find(one.image_path)


def write_list(layout: Layout, images: Sequence[ListedImage], find: Callable[[str], Path]) -> Path:
    """Write the list and return its path. Raises as `find` does, and StorageError."""
    entries = [
        {
            "image_path": one.image_path if is_address(one.image_path) else str(find(one.image_path)),
            **({} if one.car_count is None else {"car_count": one.car_count}),
            **({} if one.description is None else {"description": one.description}),
            **({} if one.sha256 is None else {"sha256": one.sha256}),
        }
        for one in images
    ]
    content = msgspec.json.encode(entries)
    path = layout.data / FOLDER / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    return path
