"""Class labels of a data set's samples, which its tables have no place for: `class_labels/<task>.csv` in its root.

A line is `sample,camera,<task>`: the sample's token, the camera's channel, and the class. What is not listed has no
label. Without a file a task's own rule gives the truth: the data set's calibrations, for instance, count as right.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from pathlib import Path

from admlops.core.errors import DataError

FOLDER = "class_labels"
SAMPLE, CAMERA = "sample", "camera"
LABELLED: Mapping[str, tuple[str, ...]] = {"calibration_status": ("miscalibrated", "calibrated")}
"""The classes of each task that can be labelled, in the order of the network's outputs."""

ClassLabels = Mapping[str, Mapping[str, str]]
"""By sample token and camera, the class."""


def labels_path(root: Path, task: str) -> Path:
    """Where the labels of a task lie, if there are any."""
    return root / FOLDER / f"{task}.csv"


def list_labelled(root: Path) -> dict[str, Path]:
    """Return the files of labels in a data set's root by task."""
    paths = {task: labels_path(root, task) for task in LABELLED}
    return {task: path for task, path in paths.items() if path.is_file()}


def read_class_labels(root: Path, task: str) -> dict[str, dict[str, str]] | None:
    """Return the labels of a task, None where the data set has no file of them.

    Raises:
        DataError: the file cannot be read, or a line of it is wrong.
    """
    path = labels_path(root, task)
    if not path.is_file():
        return None
    found, labels = parse_class_labels(path)
    if found != task:
        raise DataError(
            f"{path}: its column is {found}, and its name says {task}", hint=f"mv {path} {path.with_stem(found)}"
        )
    return labels


def find_labelled_task(path: Path) -> str | None:
    """Return the task that a file of labels is of by its header, None where it is no such file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    tasks = [name for name in columns if name in LABELLED]
    return tasks[0] if {SAMPLE, CAMERA} <= set(columns) and len(tasks) == 1 else None


def parse_class_labels(path: Path) -> tuple[str, dict[str, dict[str, str]]]:
    """Return a file's task and labels. Columns beside the three are passed over, and so are lines without a class.

    Raises:
        DataError: it cannot be read, its header is wrong, a line names an unknown class, or two contradict.
    """
    task = find_labelled_task(path)
    if task is None:
        raise DataError(
            f"{path} is no file of class labels: its first line must be {SAMPLE},{CAMERA},TASK",
            hint=f"head -n 2 {path}   # TASK is one of {', '.join(LABELLED)}",
        )
    labels: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                _take(labels, row, task, f"{path} line {reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}", hint=f"head -n 2 {path}") from error
    return task, labels


def _take(labels: dict[str, dict[str, str]], row: Mapping[str, str | None], task: str, where: str) -> None:
    token, camera, name = ((row.get(key) or "").strip() for key in (SAMPLE, CAMERA, task))
    if not name:
        return
    if not token or not camera:
        raise DataError(f"{where}: {SAMPLE if not token else CAMERA} is empty", hint="name both, or remove the line")
    if name not in LABELLED[task]:
        raise DataError(f"{where}: {task} is {name!r}", hint=f"it is one of {', '.join(LABELLED[task])}")
    before = labels.setdefault(token, {}).setdefault(camera, name)
    if before != name:
        raise DataError(f"{where}: {token}, {camera} is {name!r}, and was {before!r} before", hint="remove one line")


def format_class_labels(task: str, labels: ClassLabels) -> bytes:
    """Return the content of a file of labels."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow((SAMPLE, CAMERA, task))
    writer.writerows((token, camera, name) for token, own in labels.items() for camera, name in own.items())
    return made.getvalue().encode()


def require_samples(labels: ClassLabels, tokens: Collection[str], where: Path) -> None:
    """Raise DataError for labels of samples that are not among those of the data set."""
    unknown = [token for token in labels if token not in tokens]
    if unknown:
        raise DataError(
            f"{where} labels the sample {unknown[0]!r}, which the data set does not have "
            f"({len(unknown)} of its {len(labels)} samples are such)",
            hint="take the labels of this data set, or remove these lines",
        )
