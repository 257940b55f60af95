"""What a tool is: how samples go to annotators, and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from admlops.conversion.base import Target, WriteOptions
from admlops.conversion.frames import Box2D, Cuboid, Frame, SceneFrames, SensorFile
from admlops.conversion.placing import Mode, Placer
from admlops.conversion.seen import list_seen
from admlops.datasets.class_labels import ClassLabels


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What annotators say: boxes by a picture's name, objects in space by sample token, class labels by task. What they
    did not see is absent; what they saw and left empty has an empty list.
    """

    pictures: Mapping[str, tuple[Box2D, ...]] = field(default_factory=dict)
    samples: Mapping[str, tuple[Cuboid, ...]] = field(default_factory=dict)
    classes: Mapping[str, ClassLabels] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AnnotationTool:
    """A tool.

    Attributes:
        id: as `--to` takes it.
        title: what a person calls it.
        write: scenes to a folder, with their annotations or predictions in place.
        recognise: whether a file is one of its own.
        read: what such a file says. Raises DataError.
    """

    id: str
    title: str
    write: Callable[[Target, Iterable[SceneFrames]], None]
    recognise: Callable[[Path], bool]
    read: Callable[[Path], Labels]


def make_target(folder: Path, *, mode: Mode) -> Target:
    """Return where a tool writes to."""
    return Target(folder=folder, options=WriteOptions(), placer=Placer(folder, mode), names="category")


def list_pictures(scenes: Iterable[SceneFrames]) -> Iterable[tuple[Frame, SensorFile, list[Box2D]]]:
    """Give every picture with its boxes; in space they are projected."""
    for scene in scenes:
        for frame in scene.frames:
            for camera in frame.cameras.values():
                yield frame, camera, [one.box for one in list_seen(frame, camera, rule="clip") or []]
