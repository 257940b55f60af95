"""What the pipeline asks of any data set, what a data kind is, and opening the data set that lies in a folder.

A data kind is registered in `catalog.registries.DATA_KINDS`: it recognises a root, opens it, and says which split
models are judged on. What a data set can give beside its samples are its capabilities; each one that has methods of its
own is a protocol below, such as `HasBoxes3D`.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from admlops.catalog.registries import DATA_KINDS
from admlops.core.errors import DataError
from admlops.core.paths import user_path
from admlops.core.types import Say, Watch
from admlops.datasets.annotations import Annotations, GroundTruthBox, ImageAnnotation, LaneAnnotation, SampleScene

BOXES_3D = "boxes_3d"
BOXES_2D = "boxes_2d"
MAP = "map"
LANES = "lanes"
LIDAR = "lidar"
CAN_BUS = "can_bus"
CONTEXT = "context"
COUNTS = "counts"
STREAM = "stream_12hz"

IMAGE = "IMAGE"
"""The one camera of a sample that is a single picture."""
ANY_CLASS = "*"
"""The class of a region that is ignored for every class."""

MAX_LISTED = 200
"""Folders of a root that are looked into for a data set one folder deeper."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An ordered sequence of samples on one map."""

    name: str
    token: str
    location: str
    samples: tuple[str, ...]


class Dataset(Protocol):
    """A data set root and version, as the pipeline sees it: scenes in order, each an ordered list of samples."""

    root: Path
    version: str

    @property
    def kind(self) -> str:
        """The id of its data kind."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What it can give beside its samples: BOXES_3D, BOXES_2D, COUNTS, MAP, LANES, CONTEXT, …, or others."""

    @property
    def is_synthetic(self) -> bool:
        """Tell whether `admlops data synthesize` made it."""

    def scenes(self, names: Iterable[str] | None = None) -> list[Scene]:
        """The named scenes in that order, or all. Raises DataError for an unknown name."""

    def scenes_of_split(self, split: str) -> list[Scene]:
        """The scenes of a split; `all` is one of every data set. Raises DataError for an unknown split."""

    def sample(self, token: str) -> dict[str, Any]:
        """Return what an adapter gets for one sample; see docs/architecture.md."""

    def missing_files(self, token: str) -> list[Path]:
        """The files of a sample that are not there or empty."""

    def count_annotations(self, tokens: Iterable[str]) -> dict[str, int]:
        """Count the annotations of each kind in these samples."""


@runtime_checkable
class HasSplits(Protocol):
    """A data set that names its splits; `admlops data list` shows them."""

    def splits(self) -> dict[str, int]:
        """How many scenes of each split are here; splits without any are left out."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong with a file or its labels: its name in the data set, what kind of problem, and what exactly.

    What is not an error is only information, such as two equal pictures.
    """

    name: str
    kind: str
    what: str
    is_error: bool


@runtime_checkable
class HasProblems(Protocol):
    """A data set that looks into its files; `admlops data check` shows what it finds."""

    def problems(self, watch: Watch) -> Iterator[Problem]:
        """Give every problem; `watch` gets the files done and their total."""


@runtime_checkable
class HasContext(Protocol):
    """Capability CONTEXT: what lies around a sample, for models that look back."""

    @property
    def has_context(self) -> bool:
        """Tell whether it is at hand, or an index must be built first."""

    def context(self, token: str) -> dict[str, Any]:
        """Neighbouring samples, earlier frames, the map's name, by what the data set has."""


@runtime_checkable
class HasBoxes3D(Protocol):
    """Capability BOXES_3D: annotated objects."""

    def ground_truth(self, token: str) -> list[GroundTruthBox]:
        """The annotated boxes of a sample, in its ego frame."""

    def annotations(self, tokens: Sequence[str], *, following: int = 0) -> Annotations:
        """The annotated objects of the samples `tokens`, in that order, in the global frame.

        Args:
            following: also those of so many samples after each; samples that are not in `tokens` come last.

        Raises:
            DataError: an annotation is missing or damaged, or a token is of no sample.
        """

    def sample_scenes(self) -> Mapping[str, SampleScene]:
        """Every scene by its name, as its annotators described it. Raises DataError."""


@runtime_checkable
class HasStream(Protocol):
    """Capability STREAM: samples are the inputs of a camera that goes on, and objects are annotated at its rate."""

    def stream_truth(self, scenes: Sequence[str]) -> Annotations:
        """The annotated objects of the named scenes at 12 moments a second, scene by scene, in the global frame.

        Raises:
            DataError: an annotation is missing or damaged, or there is no such scene.
        """


@runtime_checkable
class HasBoxes2D(Protocol):
    """Capability BOXES_2D: annotated objects in pictures."""

    def image_annotations(self, token: str) -> Mapping[str, ImageAnnotation]:
        """The annotations of a sample's pictures, by camera. A picture that nobody annotated is not there; one that was
        looked at and holds nothing has no boxes.

        Raises:
            DataError: an annotation cannot be read, or is not what its form says.
        """

    def classes_2d(self) -> tuple[str, ...]:
        """The classes that annotations may have, in the data set's order. Raises DataError as `image_annotations`."""

    def truth_sha256(self) -> str:
        """The sha256 over the content of all annotations; numbers compare only where it is the same."""


@runtime_checkable
class HasFilesRoot(Protocol):
    """A data set whose root is not the folder that holds its files."""

    @property
    def files_root(self) -> Path:
        """That folder."""


@runtime_checkable
class HasRemoteFiles(Protocol):
    """A data set that names files by their addresses."""

    def fetch(self, say: Say) -> None:
        """Fetch those that are not here, and tell how far it is. Raises DownloadError, StorageError."""


@runtime_checkable
class HasPictureNames(Protocol):
    """A data set whose samples may name a copy of a picture, turned upright or fetched."""

    def picture_name(self, token: str, camera: str) -> str:
        """The original's path relative to the data set, or its address: what files with ground truth call it."""


@runtime_checkable
class HasCocoFile(Protocol):
    """A data set that may lie in COCO's form, whose numbers of images and categories results files use."""

    @property
    def coco_file(self) -> Path | None:
        """The file with these numbers; None where it is in another form."""


@runtime_checkable
class HasCounts(Protocol):
    """Capability COUNTS: how many objects a picture holds, without where they are."""

    def object_counts(self, token: str) -> Mapping[str, int] | None:
        """The number of objects of a sample by class; None where nobody counted."""


@runtime_checkable
class HasResamplingUnits(Protocol):
    """A data set whose scenes need not be sequences: single pictures in a folder are unrelated."""

    def resampling_unit(self, token: str) -> str:
        """What is drawn with a sample when samples are resampled: its scene, or the sample itself."""


@runtime_checkable
class HasMap(Protocol):
    """Capability MAP: the root's `maps/` holds vector maps."""

    def location(self, token: str) -> str:
        """The name of the map that a sample lies on."""


@runtime_checkable
class HasTrainingPlaces(Protocol):
    """A data set that knows where the scenes lie that models are trained on."""

    def training_places(self) -> Mapping[str, Mapping[str, NDArray[np.float64]]]:
        """By map and scene of the training split, the vehicle's positions at its samples, (N, 2) [m], global frame.

        Raises:
            DataError: a table is not whole.
        """


@runtime_checkable
class HasLanes(Protocol):
    """Capability LANES: annotated lane graphs."""

    def lane_annotation(self, token: str) -> LaneAnnotation:
        """The ground truth of a frame. Raises DataError: it has none."""


@dataclass(frozen=True, kw_only=True)
class DataKind:
    """A kind of data set.

    Attributes:
        id: as in `reads` of a model.toml.
        title: what a person calls it.
        folders: below `data/` of the repository folder, the ones looked into where no `--data` is given; the first
            one is for real data.
        synthesize: the options of `admlops data synthesize` that make one; None where nothing does.
        looks_for: what `recognise` looks for in a root, for messages.
        recognise: whether a root holds such a data set.
        open: the data set of a root; the version is the only one there if None. Raises DataError.
        default_split: the split that models are judged on.
        how_to_get: how a person gets a real one; `{folder}` stands for where it goes. Empty if not known.
        versions: the versions that a root holds; None where a root holds one without a name.
        make_small: "module:function" that writes two short synthetic scenes to a folder and tells how far it is; None
            where nothing makes any.
        takes_files: whether a root may be a file, such as a list of pictures.
        is_general: whether it takes what other kinds describe more closely: where another kind recognises the root too,
            this one must be asked for by a model that reads it.
    """

    id: str
    title: str
    folders: tuple[str, ...]
    synthesize: tuple[str, ...] | None
    looks_for: str
    recognise: Callable[[Path], bool]
    open: Callable[[Path, str | None], Dataset]
    default_split: Callable[[Path, str | None], str]
    how_to_get: str = ""
    versions: Callable[[Path], list[str]] | None = None
    make_small: str | None = None
    takes_files: bool = False
    is_general: bool = False


def find_kind(root: Path, wanted: Iterable[str] = ()) -> DataKind:
    """The kind of the data set in `root`.

    Where no kind recognises it, return the first of `wanted`, or nuScenes: opening it then says what is missing.

    Args:
        wanted: ids of kinds that are preferred where several recognise the root.
    """
    preferred = list(wanted)
    kinds: list[DataKind] = [*DATA_KINDS.values()]
    is_general_wanted = any(kind.is_general for kind in kinds if kind.id in preferred[:1])
    recognised = _recognise(kinds, user_path(root), look_below=not is_general_wanted)
    if not recognised:
        first: DataKind = DATA_KINDS.get(preferred[0] if preferred else "nuscenes")
        return first
    return min(recognised, key=lambda kind: (kind.id not in preferred, kind.is_general))


def _recognise(kinds: Iterable[DataKind], root: Path, *, look_below: bool) -> list[DataKind]:
    """The kinds that take `root` for theirs.

    Where none does, or only one that takes what others describe more closely, `look_below` looks one folder deeper.

    Raises:
        DataError: the root is a file or cannot be read, or the data set lies one folder deeper.
    """
    kinds = list(kinds)
    try:
        if not root.exists():
            return []
        if not root.is_dir():
            return _recognise_file([kind for kind in kinds if kind.takes_files], root)
        recognised = [kind for kind in kinds if kind.recognise(root)]
        special = [kind for kind in kinds if not kind.is_general]
        is_known = not look_below or any(kind in special for kind in recognised)
        below = [] if is_known else [path for path in sorted(root.iterdir())[:MAX_LISTED] if path.is_dir()]
        deeper = [(path, kind) for path in below for kind in special if kind.recognise(path)]
    except OSError as error:
        raise DataError(
            f"the data set root {root} cannot be read: {error.strerror}", hint=f"ls -ld {root}   # whose is it?"
        ) from error
    if deeper:
        path, kind = deeper[0]
        raise DataError(f"{root} is no data set, but {path} is {kind.title}", hint=f"pass --data {path}")
    return recognised


def _recognise_file(kinds: Iterable[DataKind], root: Path) -> list[DataKind]:
    """The kinds that take a file for theirs. Raises DataError: there is none."""
    recognised = [kind for kind in kinds if kind.recognise(root)]
    if not recognised:
        raise DataError(
            f"{root} is a file, and not one of a data set that is known",
            hint=f"pass --data {root.parent}   # or a list of pictures, COCO's JSON or YOLO's data.yaml: docs/data.md",
        )
    return recognised


def files_root(data: Dataset) -> Path:
    """The folder that paths of a sample's files are relative to on the wire: the root, if the data set names none."""
    return data.files_root if isinstance(data, HasFilesRoot) else data.root


def fetch_files(data: Dataset, say: Say) -> None:
    """Fetch what the data set names by an address and is not here. Raises DownloadError, StorageError."""
    if isinstance(data, HasRemoteFiles):
        data.fetch(say)


def open_data(root: Path, version: str | None = None, *, wanted: Iterable[str] = ()) -> Dataset:
    """The data set in `root`, of whatever kind; see `find_kind`.

    Raises:
        DataError: the root or the version is missing.
    """
    return find_kind(root, wanted).open(root, version)


def default_split(root: Path, version: str | None = None, *, wanted: Iterable[str] = ()) -> str:
    """The split to take where none is named: the one that models are judged on; for `wanted` see `find_kind`."""
    return find_kind(root, wanted).default_split(root, version)


def check_scene_names(names: Iterable[str], known: Iterable[str], where: Path) -> None:
    """Raise DataError for the first of `names` that is not `known`, with the known ones that are most like it."""
    there = list(known)
    unknown = next((name for name in names if name not in there), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, there, n=5, cutoff=0) or there[:5]
        raise DataError(
            f"{where} has no scene {unknown!r}", hint=f"pass --scene with one of its own: {', '.join(near)}"
        )


def tokens_digest(tokens: Iterable[str]) -> str:
    """The sha256 over sample tokens, sorted: two runs saw the same data when this is equal."""
    return hashlib.sha256("\n".join(sorted(tokens)).encode()).hexdigest()
