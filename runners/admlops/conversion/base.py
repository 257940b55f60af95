"""What a form of driving data is: how it is recognised, read and written, and what it holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from admlops.conversion.features import Loss
from admlops.conversion.frames import Recording, SceneFrames
from admlops.conversion.placing import Placer
from admlops.conversion.projection import Rule
from admlops.core.errors import UsageError
from admlops.core.nuscenes_classes import CATEGORY_CLASSES, CLASSES

Names = Literal["category", "detection"]
NAMES: tuple[Names, ...] = ("category", "detection")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a root is read: which version of it, and whether the files between key frames are wanted."""

    version: str | None = None
    sweeps: bool = False


@dataclass(frozen=True, kw_only=True)
class WriteOptions:
    """How a form is written.

    Attributes:
        rule: how boxes in space become boxes in pictures.
        names: full categories, or detection classes; None for what the form takes by itself.
        camera: the one of a form that has only one.
        tables: what nuScenes' layout calls its folder of tables.
        generation: of mmdet3d's infos: `1.x` or `0.x`.
        split: what files of mmdet3d are named for.
    """

    rule: Rule = "clip"
    names: Names | None = None
    camera: str = "CAM_FRONT"
    tables: str | None = None
    generation: Literal["1.x", "0.x"] = "1.x"
    split: str = "all"


@dataclass(kw_only=True)
class Target:
    """Where a form is written to: an empty folder, how files get there, and what could not be held."""

    folder: Path
    options: WriteOptions
    placer: Placer
    names: Names
    losses: dict[tuple[str, str], int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def lose(self, what: str, why: str, count: int = 1) -> None:
        """Note that something could not be held."""
        if count:
            self.losses[what, why] = self.losses.get((what, why), 0) + count

    def list_losses(self) -> list[Loss]:
        """Return what was noted."""
        return [Loss(what=what, count=count, why=why) for (what, why), count in self.losses.items()]

    def class_of(self, category: str) -> str | None:
        """Return what a category is called in the result; None, and a loss, where it is in no detection class."""
        if self.names == "category":
            return category
        name = category if category in CLASSES else CATEGORY_CLASSES.get(category)
        if name is None:
            self.lose("categories", f"{category} is in none of the ten detection classes; --names category keeps it")
        return name

    def write(self, name: str, content: bytes) -> Path:
        """Write a file of the result."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


class Writer(Protocol):
    """Writes scenes one after the other."""

    def add(self, scene: SceneFrames) -> None:
        """Write a scene. Raises DataError where it cannot be held at all."""

    def finish(self) -> None:
        """Write what belongs to all scenes."""


@dataclass(frozen=True, kw_only=True)
class DataFormat:
    """A form of driving data.

    Attributes:
        id: as `--to` takes it.
        title: what a person calls it.
        holds: ids of `features.FEATURES`: what a round trip through it keeps.
        recognise: whether a file or folder is in it; None where it is only written.
        read: what is there. Raises DataError.
        write: a writer into an empty folder; None where it is only read.
        names: what boxes are called in it by default.
        wants_sweeps: whether its writer takes the files between key frames.
        options: those of `WriteOptions` that mean something to it alone.
    """

    id: str
    title: str
    holds: frozenset[str]
    recognise: Callable[[Path], bool] | None = None
    read: Callable[[Path, ReadOptions], Recording] | None = None
    write: Callable[[Target, Recording], Writer] | None = None
    names: Names = "category"
    wants_sweeps: bool = False
    options: frozenset[str] = frozenset()

    def require_options(self, given: Mapping[str, str]) -> None:
        """Raise UsageError for an option that means nothing to this form, or is no name."""
        for name, value in given.items():
            if name not in self.options:
                raise UsageError(f"--{name} {value!r} means nothing to --to {self.id}", hint=f"leave --{name} out")
            if not re.fullmatch(r"[\w.-]{1,64}", value):
                raise UsageError(f"--{name} {value[:80]!r} is no name", hint="letters, digits, '.', '-' and '_'")
