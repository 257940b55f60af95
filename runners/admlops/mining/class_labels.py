"""Corrected class labels on a data set: the same files with another `class_labels/<task>.csv`, as a new version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from admlops.conversion.placing import Mode, Placer
from admlops.core.errors import DataError, UsageError
from admlops.core.storage import whole_folder
from admlops.core.types import Watch
from admlops.datasets.base import Dataset
from admlops.datasets.class_labels import (
    ClassLabels,
    format_class_labels,
    labels_path,
    read_class_labels,
    require_samples,
)
from admlops.mining.difference import Change, What
from admlops.mining.labels import Imported, count_changes
from admlops.mining.versions import Version, write_version
from admlops.publications.manifest import list_files


def import_class_labels(
    data: Dataset,
    classes: Mapping[str, ClassLabels],
    out: Path,
    *,
    file: Path,
    mode: Mode,
    workers: int,
    watch: Watch,
) -> Imported:
    """Write a new version of a data set with corrected class labels: whole, or not at all.

    Cameras that are labelled get the new label, the others keep theirs. Every other file of the data set is shared.

    Raises:
        UsageError: the data set is no folder.
        DataError: labels are of a sample or a camera that the data set does not have, or its own are damaged.
        StorageError: `out` cannot be written.
    """
    if not data.root.is_dir():
        raise UsageError(f"{data.root} is no folder, so it holds no class labels", hint="admlops data list")
    merged: dict[str, ClassLabels] = {}
    changes: list[Change] = []
    for task, new in classes.items():
        _require_known(data, new, file)
        merged[task], own = merge_class_labels(read_class_labels(data.root, task) or {}, new)
        changes += own
    out = out.absolute()
    with whole_folder(out) as staging:
        _fill(staging, data.root, merged, mode)
        version = _note(staging, data.root, changes, file, workers, watch)
    seen = {token for new in classes.values() for token in new}
    return Imported(
        out=str(out), digest=version.digest, parent=version.parent, samples=len(seen), changes=changes, conversion=None
    )


def merge_class_labels(old: ClassLabels, new: ClassLabels) -> tuple[dict[str, dict[str, str]], list[Change]]:
    """Return the old labels with the new ones in their place, and what changed."""
    merged = {token: dict(own) for token, own in old.items()}
    changes = []
    for token, own in new.items():
        kept = merged.setdefault(token, {})
        for camera, name in own.items():
            before = kept.get(camera, "")
            if before != name:
                what: What = "relabelled" if before else "added"
                changes.append(Change(sample=token, place=camera, what=what, class_name=name, before=before))
            kept[camera] = name
    return merged, changes


def _require_known(data: Dataset, labels: ClassLabels, file: Path) -> None:
    require_samples(labels, {token for scene in data.scenes() for token in scene.samples}, file)
    for token, own in labels.items():
        cameras = data.sample(token)["cameras"]
        unknown = next((camera for camera in own if camera not in cameras), None)
        if unknown is not None:
            raise DataError(
                f"{file} labels {unknown!r} of sample {token}, which has no such camera",
                hint=f"its cameras are {', '.join(cameras)}",
            )


def _fill(staging: Path, root: Path, merged: Mapping[str, ClassLabels], mode: Mode) -> None:
    placer = Placer(staging, mode)
    own = {labels_path(root, task).relative_to(root).as_posix() for task in merged}
    for path in list_files(root):
        if path not in own:
            placer.place(root / path, path)
    for task, labels in merged.items():
        target = labels_path(staging, task)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(format_class_labels(task, labels))


def _note(staging: Path, root: Path, changes: list[Change], file: Path, workers: int, watch: Watch) -> Version:
    rows = [one.to_json() for one in changes]
    return write_version(
        staging, root, file=file, counts=count_changes(changes), changes=rows, workers=workers, watch=watch
    )
