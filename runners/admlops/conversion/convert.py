"""Converting: find the form of what is there, read it scene by scene, write another form, and say what is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from admlops.catalog.registries import DATA_FORMATS
from admlops.conversion.base import DataFormat, ReadOptions, Target, WriteOptions
from admlops.conversion.features import Loss, count_features, count_folders, find_losses
from admlops.conversion.frames import Recording, SceneFrames
from admlops.conversion.placing import Mode, Placer
from admlops.core.errors import DataError, UsageError
from admlops.core.paths import user_path
from admlops.core.storage import whole_folder
from admlops.core.types import Watch
from admlops.datasets.class_labels import FOLDER, format_class_labels, list_labelled, read_class_labels

NOTE = "conversion.json"
SYNTHETIC = "synthetic.json"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The scenes to convert, and of them the frames; None for all."""

    scenes: tuple[str, ...] | None = None
    tokens: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was converted, and what the result lacks."""

    source: str
    source_form: str
    form: str
    out: str
    options: dict[str, Any]
    scenes: int
    frames: int
    found: dict[str, int]
    written: dict[str, int]
    losses: list[Loss]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as `conversion.json` has them."""
        return asdict(self)


def list_targets() -> list[str]:
    """Return the ids of the forms that can be written."""
    return [name for name in DATA_FORMATS.ids() if DATA_FORMATS.get(name).write is not None]


def find_format(name: str) -> DataFormat:
    """Return the form with this id. Raises UsageError for an unknown one."""
    found: DataFormat = DATA_FORMATS.get(name)
    return found


def open_recording(root: Path, options: ReadOptions) -> Recording:
    """Read what is in `root`, in whatever form.

    Raises:
        DataError: it is not there, or in no form that is known.
    """
    path = user_path(root)
    if not path.exists():
        raise DataError(f"{path} is not there", hint=f"ls {path.parent}   # name a data set, or a TOML that says where")
    for name in DATA_FORMATS.ids():
        form = find_format(name)
        if form.read is not None and form.recognise is not None and form.recognise(path):
            return form.read(path.resolve(), options)
    raise DataError(
        f"{path} is in no form that can be converted",
        hint="docs/data-convert.md lists the forms, and the TOML of others",
    )


def convert(
    recording: Recording,
    form: DataFormat,
    out: Path,
    *,
    options: WriteOptions,
    chosen: Chosen,
    mode: Mode,
    watch: Watch,
    finish: Callable[[Path, Conversion], None] | None = None,
) -> Conversion:
    """Write a form to `out`, whole or not at all; `watch` gets the scenes done and their total.

    `finish` adds what goes beside the form to the folder before it is moved into place.

    Raises:
        UsageError: `out` is there already, or nothing is chosen.
        DataError: something of the source cannot be read, or not be held at all.
        StorageError: `out` cannot be written.
    """
    out = out.absolute()
    names = check_target(recording, form, out, chosen)
    with whole_folder(out) as staging:
        target = Target(
            folder=staging, options=options, placer=Placer(staging, mode), names=options.names or form.names
        )
        writing = _Writing(recording=recording, form=form, target=target, chosen=chosen)
        writing.write(names, watch)
        _carry_class_labels(recording, target, writing.tokens, is_kept=recording.form == form.id == "nuscenes")
        result = writing.describe(out)
        target.write(NOTE, msgspec.json.format(msgspec.json.encode(result.to_json()), indent=2) + b"\n")
        _mark_synthetic(recording.root, target)
        if finish is not None:
            finish(staging, result)
    return result


def _carry_class_labels(recording: Recording, target: Target, tokens: Set[str], *, is_kept: bool) -> None:
    """Copy class labels where the form keeps tokens; else note them as lost."""
    for task in list_labelled(recording.root):
        labels = read_class_labels(recording.root, task) or {}
        own = {token: labels[token] for token in labels if token in tokens}
        if is_kept:
            target.write(f"{FOLDER}/{task}.csv", format_class_labels(task, own))
        else:
            target.lose("class_labels", f"{task} is said of tokens, which this form does not keep", len(own))


def _mark_synthetic(root: Path, target: Target) -> None:
    """Mark a conversion of generated scenes as synthetic, but not as a data set that `data synthesize` made."""
    if (root / SYNTHETIC).is_file():
        target.write(SYNTHETIC, msgspec.json.encode({"synthetic": True, "converted_from": str(root)}) + b"\n")


def check_target(recording: Recording, form: DataFormat, out: Path, chosen: Chosen) -> Sequence[str]:
    """Return the scenes to convert. Raises UsageError: `out` is there, or the form is only read."""
    if form.write is None:
        raise UsageError(f"{form.title} is read, and not written", hint=f"--to takes {', '.join(list_targets())}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already", hint="pass another --out, or remove it first")
    known = recording.scene_names
    if not known:
        raise DataError(f"{recording.root} holds no scene", hint=f"admlops data check {recording.root}")
    return known if chosen.scenes is None else chosen.scenes


@dataclass(kw_only=True)
class _Writing:
    """One conversion as it goes."""

    recording: Recording
    form: DataFormat
    target: Target
    chosen: Chosen
    found: Counter[str] = field(default_factory=Counter)
    scenes: int = 0
    frames: int = 0
    tokens: set[str] = field(default_factory=set)

    def write(self, names: Sequence[str], watch: Watch) -> None:
        assert self.form.write is not None
        writer = self.form.write(self.target, self.recording)
        watch(0, len(names))
        wanted = set(self.chosen.tokens or ())
        for done, scene in enumerate(self.recording.scenes(names), 1):
            taken = self._take(scene)
            own = {frame.token for frame in taken.frames}
            self.tokens |= own
            wanted -= own
            if taken.frames:
                self.scenes += 1
                self.frames += len(taken.frames)
                self.found += count_features(taken)
                writer.add(taken)
            watch(done, len(names))
        if wanted:
            raise DataError(
                f"{self.recording.root} has no sample {min(wanted)!r}",
                hint="pass --from with the data set that the tokens were taken from",
            )
        writer.finish()
        self.found += count_folders(self.recording)

    def _take(self, scene: SceneFrames) -> SceneFrames:
        if self.chosen.tokens is None:
            return scene
        return replace(scene, frames=[one for one in scene.frames if one.token in self.chosen.tokens])

    def describe(self, out: Path) -> Conversion:
        own = self.target.list_losses()
        lost = find_losses(self.found, self.form.holds, self.form.title)
        return Conversion(
            source=str(self.recording.root),
            source_form=self.recording.form,
            form=self.form.id,
            out=str(out),
            options={**asdict(self.target.options), "names": self.target.names, "pictures": self.target.placer.mode},
            scenes=self.scenes,
            frames=self.frames,
            found=dict(self.found),
            written={**self.target.counts, **self.target.placer.counts},
            losses=[*lost, *own],
        )
