"""A table of class labels for spreadsheets and editors: a line a camera, `sample,camera,<task>`.

The same form is a data set's own, in `class_labels/`. A line whose class is emptied says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from admlops.conversion.base import Target
from admlops.conversion.frames import SceneFrames
from admlops.core.errors import DataError, UsageError
from admlops.datasets.class_labels import find_labelled_task, format_class_labels, parse_class_labels
from admlops.mining.tools.base import AnnotationTool, Labels


def _write(target: Target, scenes: Iterable[SceneFrames]) -> None:
    found: dict[str, dict[str, dict[str, str]]] = {}
    for scene in scenes:
        for frame in scene.frames:
            for task, own in frame.classes.items():
                found.setdefault(task, {})[frame.token] = dict(own)
    if not found:
        raise UsageError(
            "the chosen samples have no class labels to be written as a table",
            hint="--to takes cvat and labelstudio for boxes in pictures, openlabel for objects in space",
        )
    for task, labels in found.items():
        target.write(f"{task}.csv", format_class_labels(task, labels))


def _recognise(path: Path) -> bool:
    return path.is_file() and find_labelled_task(path) is not None


def _read(path: Path) -> Labels:
    task, labels = parse_class_labels(path)
    if not labels:
        raise DataError(f"{path} holds no label", hint=f"fill in its column {task}")
    return Labels(classes={task: labels})


TOOL = AnnotationTool(id="csv", title="class labels as CSV", write=_write, recognise=_recognise, read=_read)
