"""Corrected labels on a data set: the same scenes with other boxes, written as a new version of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from admlops.catalog.registries import ANNOTATION_TOOLS
from admlops.conversion.base import WriteOptions
from admlops.conversion.convert import Chosen, Conversion, convert, find_format
from admlops.conversion.frames import Box2D, Frame, MapMask, Recording, SceneFrames
from admlops.conversion.placing import Mode
from admlops.core.errors import DataError, UsageError
from admlops.core.types import Watch
from admlops.mining.difference import Change, change_boxes, change_cuboids
from admlops.mining.tools.base import AnnotationTool, Labels
from admlops.mining.versions import write_version

KINDS = ("added", "removed", "moved", "relabelled")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What became of the labels: the new version, and what changed. `conversion` is None where only classes did."""

    out: str
    digest: str
    parent: str
    samples: int
    changes: Sequence[Change]
    conversion: Conversion | None

    @property
    def counts(self) -> dict[str, int]:
        """How many changes there are of each kind."""
        return count_changes(self.changes)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the changes by sample."""
        by_sample: dict[str, list[dict[str, Any]]] = {}
        for one in self.changes:
            by_sample.setdefault(one.sample, []).append(one.to_json())
        losses = [] if self.conversion is None else self.conversion.to_json()["losses"]
        head = {"out": self.out, "digest": self.digest, "parent": self.parent, "samples": self.samples}
        return {**head, "counts": self.counts, "changes": by_sample, "losses": losses}


def count_changes(changes: Sequence[Change]) -> dict[str, int]:
    """Return how many changes there are of each kind."""
    found = Counter(one.what for one in changes)
    return {kind: found[kind] for kind in KINDS}  # type: ignore[index]  # the literal's own words


def read_labels(path: Path) -> tuple[AnnotationTool, Labels]:
    """Read a tool's file, in whatever tool's form it is.

    Raises:
        UsageError: it is not there.
        DataError: it is in no form that is known, or damaged.
    """
    if not path.exists():
        raise UsageError(f"{path} is not there", hint=f"ls {path.parent}")
    for tool in ANNOTATION_TOOLS.values():
        if tool.recognise(path):
            return tool, tool.read(path)
    known = ", ".join(tool.title for tool in ANNOTATION_TOOLS.values())
    raise DataError(f"{path} is no file of labels that is known: {known}", hint="export it from the tool again")


@dataclass(frozen=True, kw_only=True)
class Relabelled:
    """A recording with other labels; `changes` and `seen` fill as scenes are read."""

    source: Recording
    labels: Labels
    changes: list[Change] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    @property
    def root(self) -> Path:
        """The source's root."""
        return self.source.root

    @property
    def form(self) -> str:
        """The source's form."""
        return self.source.form

    @property
    def version(self) -> str:
        """The source's version."""
        return self.source.version

    @property
    def scene_names(self) -> Sequence[str]:
        """The source's scenes."""
        return self.source.scene_names

    def find_categories(self) -> Sequence[str]:
        """The source's categories."""
        return self.source.find_categories()

    def find_maps(self) -> Sequence[MapMask]:
        """The source's maps."""
        return self.source.find_maps()

    def find_folders(self) -> Mapping[str, Path]:
        """The source's folders."""
        return self.source.find_folders()

    def scenes(self, names: Sequence[str]) -> Iterator[SceneFrames]:
        """Give the scenes with the new labels."""
        for scene in self.source.scenes(names):
            yield replace(scene, frames=[self._frame(frame) for frame in scene.frames])

    def _frame(self, frame: Frame) -> Frame:
        if frame.token in self.labels.samples:
            self.seen.add(frame.token)
            cuboids, changes = change_cuboids(frame, self.labels.samples[frame.token])
            self.changes.extend(changes)
            frame = replace(frame, cuboids=cuboids)
        boxes: dict[str, tuple[Box2D, ...]] = dict(frame.boxes_2d)
        for channel, camera in frame.cameras.items():
            if camera.name in self.labels.pictures:
                self.seen.add(camera.name)
                new = self.labels.pictures[camera.name]
                boxes[channel], changes = change_boxes(frame.token, channel, boxes.get(channel, ()), new)
                self.changes.extend(changes)
        return replace(frame, boxes_2d=boxes)

    def require_all_seen(self) -> None:
        """Raise DataError for labels of something that the data set does not have."""
        missing = [name for name in (*self.labels.samples, *self.labels.pictures) if name not in self.seen]
        if missing:
            raise DataError(
                f"{self.root} has no sample or picture {missing[0]!r} ({len(missing)} of the labels are of such)",
                hint="pass --data with the data set that the labels are of",
            )


def import_labels(
    recording: Recording, labels: Labels, out: Path, *, file: Path, mode: Mode, workers: int, watch: Watch
) -> Imported:
    """Write a new version of a data set with corrected labels: whole, or not at all.

    A set in nuScenes' layout stays one, with its tokens; pictures become a set in COCO's form, with their names.

    Raises:
        UsageError: `out` is there, or boxes in pictures are meant for a data set of boxes in space.
        DataError: labels are of something that the data set does not have.
        StorageError: `out` cannot be written.
    """
    is_space = bool(labels.samples)
    if not is_space and recording.form == "nuscenes":
        raise UsageError(
            f"{recording.root} is annotated in space, and the labels are boxes in pictures",
            hint=f"admlops data convert --to coco --from {recording.root} --out DIR   # a set of pictures to correct",
        )
    relabelled = Relabelled(source=recording, labels=labels)
    told: dict[str, str] = {}

    def finish(staging: Path, done: Conversion) -> None:
        relabelled.require_all_seen()
        counts = count_changes(relabelled.changes)
        rows = [one.to_json() for one in relabelled.changes]
        version = write_version(
            staging, recording.root, file=file, counts=counts, changes=rows, workers=workers, watch=watch
        )
        told.update(digest=version.digest, parent=version.parent)

    done = convert(
        relabelled,
        find_format("nuscenes" if is_space else "coco"),
        out,
        options=WriteOptions(),
        chosen=Chosen(),
        mode=mode,
        watch=lambda _done, _total: None,
        finish=finish,
    )
    return Imported(
        out=done.out,
        digest=told["digest"],
        parent=told["parent"],
        samples=len(relabelled.seen),
        changes=relabelled.changes,
        conversion=done,
    )
